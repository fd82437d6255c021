/** Executables that FAUXNIC_QEMU may name in a test: none is a QEMU, but some look like one until they are started. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface FakeQemu {
  /** What it prints when asked for its version. */
  readonly version?: string;
  /** Shell commands for `-device vfio-user-pci,help`, and for a machine. */
  readonly help?: string;
  readonly machine?: string;
}

export const GOOD_VERSION = 'QEMU emulator version 11.1.3';

/** Writes it; returns its path. */
export function fakeQemu(folder: string, name: string, { version = GOOD_VERSION, help = '', machine = '' }: FakeQemu) {
  const path = join(folder, name);
  const script = `#!/bin/sh
case "$*" in
  *--version*) echo '${version}';;
  *help*) ${help || ':'};;
  *) ${machine || ':'};;
esac
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}
