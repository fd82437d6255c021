import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NAME = /^fauxnic-sockets-(\d+)-/;

/** A folder for sockets, of mode 0700: its maker's to remove. What processes that were killed left behind goes with the next one. */
export function privateFolder(): string {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = NAME.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {} // somebody else's
  }
  return mkdtempSync(join(tmpdir(), `fauxnic-sockets-${process.pid}-`));
}
