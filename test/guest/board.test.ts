/** A board of two functions in one slot of a guest: Linux's e1000 binds both, each with its own line. */
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { loadPlugin } from '../../scripts/families/plugin.ts';
import { SocketFolder } from '../../scripts/rig/socket-folder.ts';
import { GuestSession } from '../../vm/guest.ts';
import { parts as partsWith } from './parts.ts';

// The catalogue is what it is once it is imported.
await loadPlugin(fileURLToPath(new URL('../util/dual-port.js', import.meta.url)));
const { findModel } = await import('../../scripts/catalogue.ts');
const { Network } = await import('../../scripts/rig/network.ts');

const parts = await partsWith(['e1000']);

const INTERRUPTS = "grep -cE 'IO-APIC.*eth[01]$' /proc/interrupts";
const PING = `ip netns add far
ip link set eth1 netns far
ip -n far addr add 10.0.0.2/24 dev eth1
ip -n far link set eth1 up
ip addr add 10.0.0.1/24 dev eth0
ip link set eth0 up
for i in $(seq 40); do ping -c 1 -W 1 10.0.0.2 && exit 0; done
exit 1`;

void tap.test('Linux binds both ports of a board in one slot, and they reach one another', async (t) => {
  const sockets = new SocketFolder();
  const socket = sockets.at('board');
  const network = await Network.open({ cards: [{ model: findModel('dual'), socket }] });
  let guest: GuestSession | undefined;
  try {
    t.same(network.socketsOf(socket), [socket, `${socket}.1`]);
    guest = await GuestSession.open({
      ...parts,
      nics: [{ kind: 'vfio-user', socket, functions: [`${socket}.1`] }],
    });
    const bound = await guest.run('cd /sys/bus/pci/drivers/e1000 && ls -d 0000:*');
    t.equal(bound.output.trim().split(/\s+/).join(' '), '0000:00:02.0 0000:00:02.1');
    const pins = await guest.run('for f in 0 1; do xxd -s 61 -l 1 -p /sys/bus/pci/devices/0000:00:02.$f/config; done');
    t.equal(pins.output.trim(), '01\n02');
    const ping = await guest.run(PING, 60);
    t.equal(ping.exitCode, 0, ping.output.slice(-300));
    t.equal((await guest.run(INTERRUPTS)).output, '2');
    t.equal((await guest.run("dmesg | grep -E 'WARNING|BUG|Oops|Tx Unit Hang'")).output, '');
  } finally {
    await guest?.close();
    await network.close();
    sockets.remove();
  }
});
