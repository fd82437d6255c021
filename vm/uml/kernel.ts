/** Linux as a process: the one that make build-uml-kernel made, or another that somebody names. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../cache.ts';
import { VmError } from '../errors.ts';

export interface UmlKernel {
  readonly release: string;
  /** The program. */
  readonly image: string;
}

/** What the mends in vm/patches/uml leave in the program: without them a driver fails in ways that look like its own. */
const MENDS = ['UM virtio INTx', 'PCI I/O ports', 'random_seed='];

/** @param path where it is, if not in the cache. */
export function umlKernel(path = join(cacheFolder('kernel', 'uml'), 'linux')): UmlKernel {
  const inCache = path.startsWith(cacheFolder('kernel'));
  if (inCache && !existsSync(path))
    throw new VmError(
      'UNAVAILABLE',
      "Linux as a process has not been built here: make build-uml-kernel (minutes); QEMU's guests do without",
    );
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) throw new VmError('INVALID', `no kernel ${path}`);
  const program = readFileSync(path);
  const release = /Linux version (\S+)/.exec(textAt(program, 'Linux version '))?.[1];
  if (release === undefined) throw new VmError('INVALID', `${path} is no kernel`);
  const missing = MENDS.filter((mend) => !program.includes(mend));
  if (missing.length > 0)
    throw new VmError(
      'INVALID',
      `${path} lacks mends of vm/patches/uml (${missing.join(', ')}): make build-uml-kernel`,
    );
  return { release, image: path };
}

function textAt(program: Buffer, text: string): string {
  const at = program.indexOf(text);
  return at < 0 ? '' : program.toString('latin1', at, at + 200);
}
