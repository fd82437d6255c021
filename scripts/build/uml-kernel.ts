#!/usr/bin/env node
/**
 * Builds Linux as a process (docs/uml.md) and prints where it is: make build-uml-kernel. It is made of the distribution's
 * source, vm/patches/uml/*.patch in the order of their names, and vm/kernel/uml.config; where neither has changed there
 * is nothing to do. --refresh gets the source that the distribution has now.
 */
import { join } from 'node:path';
import { fs } from 'zx';
import { umlKernel } from '../../vm/uml/kernel.ts';
import { buildAndPrint, type Recipe } from './kernel-build.ts';

const PROCESS: Recipe = {
  what: 'the kernel that is a process',
  name: 'uml',
  fragment: 'uml.config',
  patches: 'patches/uml/*.patch',
  arch: 'um',
  goals: ['vmlinux'],
  /** With its symbols, for gdb. */
  async install(built, into) {
    await fs.copy(join(built, 'vmlinux'), join(into, 'linux'));
  },
};

await buildAndPrint(PROCESS, () => umlKernel().image);
