/**
 * What this process started and must not outlive it, written down, so that the next start can remove what a SIGKILL
 * left. Children die with us by themselves (see namespaces.ts); this is for those that did not.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../vm/cache.ts';
import { processOf } from '../processes.ts';

/** A process, told from a later one with its number by when it started. */
interface Identity {
  readonly pid: number;
  /** Clock ticks since the machine booted. */
  readonly start: string;
}

interface Page {
  readonly owner: Identity;
  readonly children: readonly (Identity & { readonly what: string })[];
}

const folder = () => cacheFolder('run');

export class Ledger {
  readonly #owner = { pid: process.pid, start: processOf(process.pid)!.start };
  readonly #path = join(folder(), `${process.pid}.json`);
  #children: Page['children'] = [];

  add(pid: number, what: string): void {
    const child = processOf(pid);
    if (child === null) return; // it has ended already
    this.#children = [...this.#children, { pid, start: child.start, what }];
    this.#write();
  }

  remove(pid: number): void {
    this.#children = this.#children.filter((child) => child.pid !== pid);
    if (this.#children.length === 0) rmSync(this.#path, { force: true });
    else this.#write();
  }

  #write(): void {
    mkdirSync(folder(), { recursive: true });
    const page: Page = { owner: this.#owner, children: this.#children };
    writeFileSync(`${this.#path}.new`, JSON.stringify(page));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

/** Ends what runs that are no more have left, and returns what that was. */
export function sweep(): string[] {
  const swept: string[] = [];
  for (const name of pages()) {
    const path = join(folder(), name);
    const page = read(path);
    if (page !== null && alive(page.owner)) continue;
    for (const child of page?.children ?? []) {
      if (!alive(child)) continue;
      process.kill(child.pid, 'SIGKILL');
      swept.push(`${child.what} (process ${child.pid})`);
    }
    rmSync(path, { force: true });
  }
  return swept;
}

function pages(): string[] {
  try {
    return readdirSync(folder());
  } catch {
    return [];
  }
}

/** Null where it is half written or something else's. */
function read(path: string): Page | null {
  try {
    const page = JSON.parse(readFileSync(path, 'utf8')) as Page;
    return Array.isArray(page.children) && page.owner ? page : null;
  } catch {
    return null;
  }
}

function alive({ pid, start }: Identity): boolean {
  return processOf(pid)?.start === start;
}
