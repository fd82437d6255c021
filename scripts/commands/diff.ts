import { type Command, Option } from 'commander';
import { EXAMPLE } from '../catalogue.ts';
import { lockstep, type Outcome } from '../lockstep/lockstep.ts';
import { recordedScript } from '../lockstep/recorded.ts';
import { openSide, playersOf } from '../lockstep/side.ts';
import type { Side } from '../lockstep/step.ts';
import { OPTIONS, whole } from '../options.ts';
import { StopSignals } from '../stop-signals.ts';
import { paint } from '../terminal/style.ts';
import { count } from '../terminal/units.ts';

interface DiffOptions {
  readonly seed: number;
  readonly steps: number;
  readonly script?: string;
  readonly known?: true;
  readonly json?: true;
}

const STEPS = 500;

const AFTER = `
Examples:
  fauxnic diff ${EXAMPLE.model} qemu:${EXAMPLE.qemu} --seed 7 --steps 2000 --known
  fauxnic drive sim:${EXAMPLE.model} --generate --count 100 --trace run.trace
  fauxnic diff ${EXAMPLE.model} qemu:${EXAMPLE.qemu} --script run.trace`;

export function addDiff(program: Command): void {
  program
    .command('diff')
    .summary('drive two cards alike, and report where they first differ')
    .description(
      'Drives two cards with the same script, in lockstep: every register, the NVM, the PHY, interrupt causes, then frames ' +
        'and accesses at random. Reports the first difference that is not known, and ends with 1.',
    )
    .argument('<one>', 'MODEL (see fauxnic devices), or qemu:DEVICE')
    .argument('<other>', `likewise: qemu:${EXAMPLE.qemu}`)
    .addOption(new Option('--steps <n>', 'random steps').argParser(whole(0, 1_000_000)).default(STEPS))
    .addOption(
      new Option('--script <file>', 'instead: the register accesses of a trace, but for doorbells').conflicts([
        'steps',
        'seed',
      ]),
    )
    .option('--known', 'list the known differences that were met')
    .addOption(OPTIONS.seed())
    .addOption(OPTIONS.json())
    .addHelpText('after', AFTER)
    .action(diff);
}

async function diff(one: string, other: string, options: DiffOptions): Promise<void> {
  const { seed, steps, script: file, json } = options;
  const { lockstep: family, map } = playersOf([one, other]);
  const script = file === undefined ? family.script(seed, steps) : recordedScript(file, map, family);
  const stop = new StopSignals();
  const note = json ? undefined : (text: string) => console.error(text);
  const sides: Side[] = [];
  try {
    for (const target of [one, other]) sides.push(await openSide(target, note));
    const outcome = await lockstep(family, [sides[0]!, sides[1]!], map, script, { signal: stop.signal });
    console.log(
      json ? JSON.stringify(asJson(sides, options, outcome)) : asText(sides, options, outcome, family.datasheet),
    );
    process.exitCode = outcome.difference === null ? stop.exitCode : 1;
  } finally {
    for (const side of sides) side.close();
    stop.close();
  }
}

function asJson(sides: readonly Side[], { seed, script }: DiffOptions, outcome: Outcome) {
  return {
    cards: sides.map(({ name }) => name),
    ...(script === undefined ? { seed } : { script }),
    steps: outcome.steps,
    compared: outcome.compared,
    known: outcome.known.map(({ difference: { what, mask, ...rest }, count: times }) => ({
      what: what.source,
      ...(mask !== undefined && { mask }),
      ...rest,
      count: times,
    })),
    difference: outcome.difference,
  };
}

function asText(
  sides: readonly Side[],
  { seed, script, known }: DiffOptions,
  outcome: Outcome,
  datasheet: string,
): string {
  const where = (section: string) => (section === '-' ? `not in ${datasheet}` : `${datasheet} §${section}`);
  const { difference, steps, compared } = outcome;
  const from = script ?? `seed ${seed}`;
  const lines: string[] = [];
  if (difference !== null) {
    lines.push(`${paint('red', 'differ')} in ${difference.what} at step ${difference.step} of ${from}`);
    for (const [i, { name }] of sides.entries()) lines.push(`  ${name.padEnd(20)} ${difference.values[i]}`);
    lines.push('after', ...difference.steps.map((it) => `  ${it}`));
  }
  const times = outcome.known.reduce((sum, it) => sum + it.count, 0);
  if (known)
    for (const { difference: it, count: met } of outcome.known)
      lines.push(`  ${count(met).padStart(7)} × ${it.why} (${where(it.section)}; right: ${it.right})`);
  const alike = difference === null ? paint('green', 'alike') : 'until then alike';
  lines.push(
    `${alike}: ${count(compared)} values in ${count(steps)} steps of ${from}; ` +
      `${count(times)} differed as known, in ${outcome.known.length} ways`,
  );
  return lines.join('\n');
}
