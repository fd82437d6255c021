/** Serial lines of a PC; consoles over vhost-user (vm/uml/console.ts). */
export type Tty = 'ttyS' | 'hvc';

/**
 * A process that ends removes its virtio devices after their cards were shut down, and Linux's e1000, removed while it is
 * up and shut down, waits for itself for ever.
 */
const TAKE_DOWN = `for card in /sys/class/net/eth*; do ip link set "\${card##*/}" down; done
`;

/**
 * A guest's first process. The console is line 0; the command's output goes over line 1, as it is; line 2 tells how things
 * go: "started", then "exit N"; line 3, also called /dev/results, is for what a test has to report.
 */
export const init = (tty: Tty): string => `#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
# Kept open: what came for a closed line would be lost, and a console forgets its settings with its last user.
exec 3<>/dev/${tty}1 4<>/dev/${tty}2 5<>/dev/${tty}3
for tty in /dev/${tty}1 /dev/${tty}2 /dev/${tty}3; do stty -F $tty raw -echo; done
failed=
while read -r module; do
  insmod /modules/$module.ko || failed="$failed $module"
done < /modules/order
[ -z "$failed" ] || echo "could not load:$failed" > /dev/${tty}2
ip link set lo up
ln -s ${tty}3 /dev/results
cd /root
echo started > /dev/${tty}2
setsid sh -c 'exec /command < /dev/${tty}1 > /dev/${tty}1 2>&1'
code=$?
# What was written has left before the machine goes.
stty -F /dev/${tty}1 raw
echo "exit $code" > /dev/${tty}2
${tty === 'hvc' ? TAKE_DOWN : ''}poweroff -f
`;
