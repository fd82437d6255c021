const STEP = 4; // columns a subtest is indented by
const TIME = / # time=.*/;
const MOST_LINES = 25; // kept of one failure

/** Counts the results of one depth in a TAP stream, and keeps what a person wants to read of it. */
export class Tally {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** What failed, with its diagnostics. */
  readonly failures: string[] = [];
  readonly skips: string[] = [];
  readonly #depth: number;
  #explained = false;
  #diagnostics = 0;

  /** @param depth 0 counts the outermost results; -1 counts nothing and keeps everything. */
  constructor(depth: number) {
    this.#depth = depth;
  }

  get text(): string {
    const parts = [`${this.passed} passed`, `${this.failed} failed`];
    if (this.skipped > 0) parts.push(`${this.skipped} skipped`);
    return this.#depth < 0 ? '' : parts.join(', ');
  }

  line(line: string): void {
    if (this.#depth < 0) {
      if (this.failures.length < MOST_LINES) this.failures.push(`  ${line}`);
      return;
    }
    const result = /^( *)(not )?ok\b(?: \d+)?(?: - )?(.*)$/.exec(line);
    if (result === null) {
      if (this.#diagnostics > 0) this.#keep(line);
      return;
    }
    const [, indent = '', not, about = ''] = result;
    this.#diagnostics = 0;
    this.#result(indent.length / STEP, not === undefined, about);
  }

  #result(depth: number, ok: boolean, about: string): void {
    const [name = '', directive] = about.split(/ # (?=skip|todo)/i);
    const skip = directive?.replace(/^skip\S*\s*/i, '');
    if (!ok && directive === undefined) this.#fail(depth, name);
    else if (depth === this.#depth && skip !== undefined) this.#skip(name, skip);
    else if (depth === this.#depth) this.passed++;
    else if (depth < this.#depth && skip !== undefined) this.#skip(name, skip); // a whole file
  }

  /** An outer failure that an inner one explains is the same one, and says no more. */
  #fail(depth: number, name: string): void {
    const explained = this.#explained;
    this.#explained = depth > 0;
    if (depth < this.#depth && explained) return;
    if (depth <= this.#depth) this.failed++;
    this.failures.push(`  not ok ${name.replace(TIME, '')}`);
    this.#diagnostics = depth === this.#depth && explained ? 0 : MOST_LINES;
  }

  #skip(name: string, why: string): void {
    this.skipped++;
    this.skips.push(`${name.replace(TIME, '')}${why ? `: ${why}` : ''}`);
  }

  #keep(line: string): void {
    this.#diagnostics = line.trim() === '...' ? 0 : this.#diagnostics - 1;
    this.failures.push(`  ${line}`);
  }
}
