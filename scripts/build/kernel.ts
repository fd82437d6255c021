#!/usr/bin/env node
/**
 * Builds the guests' kernel of our own and prints where it is: make build-dev-kernel. It is made of the distribution's
 * source, vm/patches/*.patch in the order of their names, and vm/kernel/fauxnic.config; where neither has changed there
 * is nothing to do. --refresh gets the source that the distribution has now.
 */
import { join } from 'node:path';
import { $, fs, glob } from 'zx';
import { devKernel } from '../../vm/kernel.ts';
import { buildAndPrint, makeIn, type Recipe } from './kernel-build.ts';

const GUESTS: Recipe = {
  what: 'the kernel',
  name: 'dev',
  fragment: 'fauxnic.config',
  patches: 'patches/*.patch',
  goals: ['vmlinux', 'modules'],
  /** What a guest boots, with its modules, and nothing that only a debugger reads. */
  async install(built, into) {
    const modules = [`INSTALL_MOD_PATH=${into}`, 'INSTALL_MOD_STRIP=1', 'DEPMOD=true', 'modules_install'];
    await makeIn(GUESTS, built, "installing the kernel's modules", modules);
    for (const link of await glob('lib/modules/*/{build,source}', { cwd: into, absolute: true, onlyFiles: false }))
      await fs.remove(link);
    await $({ quiet: true })`strip -o ${join(into, 'vmlinux')} ${join(built, 'vmlinux')}`;
  },
};

await buildAndPrint(GUESTS, () => devKernel().image);
