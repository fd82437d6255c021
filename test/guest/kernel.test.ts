/**
 * The kernels that a guest boots, and the shell. To build ours takes minutes, so it is not built here: where
 * make build-dev-kernel has been run it is tried, else that is skipped.
 */

import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import tap from 'tap';
import { runGuest } from '../../vm/guest.ts';
import { buildInitramfs } from '../../vm/initramfs.ts';
import { devKernel } from '../../vm/kernel.ts';
import { IOMMU } from '../util/host-in-guest.ts';
import { parts } from './parts.ts';

const CARDS = ['e1000', 'e1000e', 'igb', 'ixgbe', 'tg3', 'virtio_net', 'vmxnet3'];
const AGAIN = `for name in ${CARDS.join(' ')}; do
  rmmod $name && [ ! -e /sys/module/$name ] && modprobe $name && [ -e /sys/module/$name ] || echo $name
done
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
dmesg | grep -E 'WARNING|BUG|Oops'
for file in /sys/module/8250/parameters/nr_uarts; do cat $file; done`;
const PARTS = await parts(CARDS);
const fauxnic = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

function built() {
  try {
    return devKernel();
  } catch {
    return null;
  }
}

void tap.test('the stock kernel: every card’s driver is taken out and loaded again', async (t) => {
  const result = await runGuest({
    ...PARTS,
    nics: [{ kind: 'qemu', device: 'e1000' }],
    command: [AGAIN],
  });
  t.same([result.output, result.notes], ['4\n', []]);
});

const kernel = built();
const skip = kernel === null && 'make build-dev-kernel has not been run';

void tap.test('the kernel of our own: the same', { skip }, async (t) => {
  const initramfs = await buildInitramfs({ kernel: kernel!, modules: CARDS });
  const nics = [{ kind: 'qemu', device: 'e1000' }] as const;
  const result = await runGuest({ ...PARTS, kernel: kernel!, initramfs, nics, command: [AGAIN] });
  t.same([result.output, result.notes], ['4\n', []]);
});

void tap.test('the kernel of our own passes a card on to user space', { skip }, async (t) => {
  const initramfs = await buildInitramfs({ kernel: kernel!, modules: [] });
  const command = `card=$(dirname $(grep -l 0x020000 /sys/bus/pci/devices/*/class))
echo vfio-pci > $card/driver_override; echo \${card##*/} > /sys/bus/pci/drivers_probe; ls -1 /dev/vfio`;
  const result = await runGuest({
    ...{ ...PARTS, kernel: kernel!, initramfs, command: [command] },
    nics: [{ kind: 'qemu', device: 'e1000e' }],
    append: ['intel_iommu=on'],
    qemuArguments: IOMMU,
  });
  t.match(result.output, /^\d+\nvfio\n$/);
});

void tap.test('a script from a pipe, its exit code, and cards that are up', async (t) => {
  const which = kernel ? 'dev' : 'stock';
  const args = ['vm', '--kernel', which, '--nic', 'sim:e1000', '--nic', 'sim:e1000'];
  const input = 'cat\nfor n in 0 1; do ip -br link show eth$n | grep -o "[<,]UP"; done\nexit 3\n';
  const { stdout, exitCode } = await execa(process.execPath, [fauxnic, ...args], { input, reject: false });
  t.equal(stdout, ',UP\n,UP');
  t.equal(exitCode, 3);
});
