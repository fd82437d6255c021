/**
 * A guest's first process. The console is ttyS0; the command's output goes over ttyS1, as it is; ttyS2 tells how things
 * go: "started", then "exit N"; ttyS3, also called /dev/results, is for what a test has to report.
 */
export const INIT = `#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
# Kept open: what came for a closed port would be lost.
exec 3<>/dev/ttyS1
for tty in /dev/ttyS1 /dev/ttyS2 /dev/ttyS3; do stty -F $tty raw -echo; done
failed=
while read -r module; do
  insmod /modules/$module.ko || failed="$failed $module"
done < /modules/order
[ -z "$failed" ] || echo "could not load:$failed" > /dev/ttyS2
ip link set lo up
ln -s ttyS3 /dev/results
cd /root
echo started > /dev/ttyS2
setsid sh -c 'exec /command < /dev/ttyS1 > /dev/ttyS1 2>&1'
code=$?
# What was written has left before the machine goes.
stty -F /dev/ttyS1 raw
echo "exit $code" > /dev/ttyS2
poweroff -f
`;
