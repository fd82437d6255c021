import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'fauxnic-sockets-';

/** A folder of ours alone for sockets; removes first what processes that were killed have left. */
export class SocketFolder {
  readonly #path: string;

  constructor() {
    for (const name of readdirSync(tmpdir())) if (isStale(name)) rmSync(join(tmpdir(), name), { recursive: true });
    this.#path = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  }

  at(name: string): string {
    return join(this.#path, name);
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

function isStale(name: string): boolean {
  const owner = /^(\d+)-/.exec(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : '')?.[1];
  if (owner === undefined) return false;
  try {
    process.kill(Number(owner), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
