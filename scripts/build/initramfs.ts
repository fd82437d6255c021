#!/usr/bin/env node
/** Builds a guest's initramfs for the stock kernel and prints where both are: build/initramfs.js [MODULE]… */
import { argv, echo } from 'zx';
import { buildInitramfs } from '../../vm/initramfs.ts';
import { stockKernel } from '../../vm/kernel.ts';
import { lineOf } from '../errors.ts';

const MODULES = ['e1000', 'e1000e', 'igb', 'ixgbe', 'tg3', 'virtio_pci', 'virtio_net', 'vfio-pci'];
const note = (line: string) => void process.stderr.write(`${line}\n`);

try {
  const kernel = await stockKernel(note);
  const modules = argv._.length > 0 ? argv._.map(String) : MODULES;
  const initramfs = await buildInitramfs({ kernel, modules, progress: note });
  echo(`${kernel.image}\n${initramfs}`);
} catch (error) {
  note(`fauxnic: ${lineOf(error)}`);
  process.exitCode = 1;
}
