const STEP = 4; // columns a subtest is indented by
const TIME = / # time=.*/;
const MOST_LINES = 25; // kept of one failure
const LAST_WORDS = 12; // lines of standard error, where no test explains how it ended

/** Counts the outermost results of a TAP stream, and keeps what a person wants to read of it. */
export class Tally {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** What failed, with its diagnostics. */
  readonly failures: string[] = [];
  readonly skips: string[] = [];
  readonly source: string;
  /** The test that has begun and not ended. */
  #current = '';
  #explained = false;
  #diagnostics = 0;
  readonly #complaints: string[] = [];

  /** @param source whose results they are: what is skipped as a whole goes by that name. */
  constructor(source: string) {
    this.source = source;
  }

  line(line: string): void {
    const all = /^1\.\.0 # (?:skip\S*\s*)?(.*)$/i.exec(line);
    if (all !== null) this.#skip(this.source, all[1]!);
    const result = /^( *)(not )?ok\b(?: \d+)?(?: - )?(.*)$/.exec(line);
    if (result === null) {
      if (this.#diagnostics > 0) this.#keep(line);
      this.#current = /^ *# Subtest: (.*)$/.exec(line)?.[1] ?? this.#current;
      return;
    }
    const [, indent = '', not, about = ''] = result;
    this.#diagnostics = 0;
    this.#result(indent.length / STEP, not === undefined, about);
  }

  /** Of a tool that reports no results: its first lines, for whoever wants to know why it failed. */
  remark(line: string): void {
    if (this.failures.length < MOST_LINES) this.failures.push(`  ${line}`);
  }

  /** A line of standard error, which counts where no test says what went wrong. */
  complaint(line: string): void {
    this.#complaints.push(line);
    if (this.#complaints.length > LAST_WORDS) this.#complaints.shift();
  }

  /** It ended so, null if well: what broke outside of any test counts as one. */
  end(how: string | null): void {
    if (how === null || this.failed > 0) return;
    this.failed++;
    this.failures.push(`  not ok ${this.source}: ${how}${this.#current && `, in "${this.#current}"`}`);
    this.failures.push(...this.#complaints.map((line) => `    ${line}`));
  }

  #result(depth: number, ok: boolean, about: string): void {
    this.#current = '';
    const [name = '', directive] = about.split(/ # (?=skip|todo)/i);
    const skip = directive?.replace(/^skip\S*\s*/i, '');
    if (!ok && directive === undefined) this.#fail(depth, name);
    else if (depth === 0 && skip !== undefined) this.#skip(name, skip);
    else if (depth === 0) this.passed++;
  }

  /** An outer failure that an inner one explains is the same one, and says no more. */
  #fail(depth: number, name: string): void {
    const explained = this.#explained;
    this.#explained = depth > 0;
    if (depth === 0) this.failed++;
    this.failures.push(`  not ok ${name.replace(TIME, '')}`);
    this.#diagnostics = depth === 0 && explained ? 0 : MOST_LINES;
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

/** What was skipped, a line a reason: AVA has it in the title's parentheses, tap behind the last colon. */
export function byReason(skips: readonly string[]): string[] {
  const groups = new Map<string, string[]>();
  for (const skip of skips) {
    const reason = / \((.*)\)$/.exec(skip)?.[1] ?? skip.split(': ').at(-1)!;
    groups.set(reason, [...(groups.get(reason) ?? []), skip]);
  }
  return Array.from(groups, ([reason, all]) => (all.length === 1 ? all[0]! : `${all.length} tests: ${reason}`));
}
