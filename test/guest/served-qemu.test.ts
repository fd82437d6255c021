/** Linux's drivers on QEMU's own devices, served to the guest by another QEMU. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { Network } from '../../scripts/rig/network.ts';
import { runGuest } from '../../vm/guest.ts';
import { parts } from './parts.ts';

/** Echo answers for every address. The drivers' warnings, and the kernel's traces, come last: there are none. */
const SCRIPT = `
set -e
for card in eth0 eth1; do
  readlink /sys/class/net/$card/device/driver | sed 's|.*/||'
  ip netns add $card
  ip link set $card netns $card
  run="ip netns exec $card"
  $run ip address add 10.0.0.1/24 dev $card
  $run ip link set $card up
  until [ "$($run cat /sys/class/net/$card/carrier)" = 1 ]; do sleep 0.1; done
  $run ping -q -c 20 -i 0.05 -s 1400 10.0.0.77 | grep -o '.* received'
done
grep -o 'MSI.*eth0.*' /proc/interrupts | wc -l
dmesg -r | grep -E '^<[0-4]>.*(e1000|eth[01])|WARNING:|BUG:|Call Trace' || true
`;
/** With five vectors e1000e has three: one for each queue, one for the rest. */
const SAID = 'e1000e\n20 packets transmitted, 20 received\ne1000\n20 packets transmitted, 20 received\n3\n';
const PARTS = await parts(['e1000e', 'e1000']);

void tap.test('ping, and no complaint of the drivers', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-served-'));
  const cards = ['e1000e', 'e1000'].map((qemu) => ({ qemu, socket: join(folder, qemu) }));
  const network = await Network.open({ cards, peer: { kind: 'echo' } });
  t.teardown(async () => {
    await network.close();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const time of ['once', 'again']) {
    const { exitCode, output } = await runGuest({
      ...PARTS,
      nics: cards.map(({ socket }) => ({ kind: 'vfio-user', socket })),
      command: [SCRIPT],
    });
    t.equal(exitCode, 0);
    t.equal(output, SAID, time);
  }
});
