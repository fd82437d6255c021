#!/usr/bin/env node
/**
 * Builds a guest's initramfs and prints where its kernel and it are: make build-dev-initramfs, build/initramfs.js
 * [--kernel stock] [--module NAME]… [--program NAME]…
 */
import { argv, echo } from 'zx';
import { buildInitramfs, PROGRAMS } from '../../vm/initramfs.ts';
import { findKernel } from '../../vm/kernel.ts';
import { ANY_MODEL, linuxDriverOf } from '../catalogue.ts';
import { exitCodeOf, lineOf } from '../errors.ts';

/** What make run-dev-machine boots with. */
const MODULES = [linuxDriverOf(ANY_MODEL).module];
const note = (line: string) => void process.stderr.write(`${line}\n`);
/** What was given once, several times or not at all. */
const list = (given: unknown): string[] => (given === undefined ? [] : [given].flat().map(String));

try {
  const kernel = await findKernel(String(argv.kernel ?? 'dev'), note);
  const modules = list(argv.module);
  const initramfs = await buildInitramfs({
    kernel,
    modules: modules.length > 0 ? modules : MODULES,
    programs: [...PROGRAMS, ...list(argv.program)],
    progress: note,
  });
  echo(`${kernel.image}\n${initramfs}`);
} catch (error) {
  note(`fauxnic: ${lineOf(error)}`);
  process.exitCode = exitCodeOf(error);
}
