/**
 * What every model's snapshot promises: all of a card's state can be saved at any moment and restored into a fresh one, under
 * another clock, and from there both go on byte for byte alike. What is no such state is refused by name and changes nothing.
 * A state that a card may have had, or one that nobody can tell from it, is taken, and does no harm.
 *
 * It knows no test runner: `register` adds a named test.
 */
import assert from 'node:assert/strict';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { RegisterFile } from '../../sim/registers.ts';
import { StateError } from '../../sim/state.ts';
import type { Port } from '../../sim/wire/index.ts';
import { Prng } from '../../sim/wire/prng.ts';
import { type ModelBench, Recorder } from '../util/model-bench.ts';

type Card = PciFunction & { readonly port: Port; readonly registers: RegisterFile; readonly refused: unknown };

export interface Subject<Bench extends ModelBench<Card>> {
  /** A card that sends and receives. */
  busy(prng: Prng): Bench;
  /** One thing that a driver, the partner or time might do. The same numbers give the same. */
  step(bench: Bench, prng: Prng): void;
  /** A fresh bench, its clock at `now`, that goes on from here. */
  fork(bench: Bench, now: number): Bench;
  /** The register that shows the clock. */
  readonly timer?: string;
  /** Of other models. */
  readonly others: readonly unknown[];
}

type Register = (name: string, body: () => void) => void;

const LATER = 987_654_321; // the other clock, in nanoseconds
const SEEDS = 16;
const STEPS = 150;
const LONGEST = 2 ** 22 + 1; // elements more than any array of a state has
const WIDTHS = [1, 2, 4] as const;

export function snapshotsHold<Bench extends ModelBench<Card>>(subject: Subject<Bench>, register: Register): void {
  for (let seed = 1; seed <= SEEDS; seed++)
    register(`at a random moment of random traffic and accesses, seed ${seed}`, () => {
      const prng = new Prng(seed);
      const bench = subject.busy(prng);
      play(subject, bench, prng, prng.next() % STEPS);
      const copy = subject.fork(bench, LATER);
      assert.equal(difference(bench.card.save(), copy.card.save()), '', 'just restored');
      const rest = prng.next();
      const [went, wentOn] = [bench, copy].map((it) => {
        const outcome = watch(it, seed % 2 === 0, subject.timer); // bursts go only where nobody looks
        play(subject, it, new Prng(rest), STEPS);
        return outcome();
      });
      assert.equal(difference(went, wentOn), '');
      assert.ok(Buffer.from(copy.ram).equals(bench.ram), 'memory');
    });

  register('a state of another model is refused by name', () => {
    const { card } = subject.busy(new Prng(1));
    for (const other of subject.others) assert.throws(() => card.restore(other), /: the state of \w+, not of \w+$/);
  });

  register('whatever is altered in a state, it is refused by name, and nothing changed, or harmless', () => {
    const prng = new Prng(1);
    const bench = subject.busy(prng);
    play(subject, bench, prng, STEPS);
    const good = bench.card.save();
    const { chip } = bench.card.config.map;
    let victim = subject.fork(bench, LATER);
    let before = victim.card.save();
    for (const path of placesIn(good)) {
      for (const [how, altered] of alterations(good, path, prng)) {
        const what = `${path.join('.')} ${how}`;
        if (refuses(victim.card, altered, chip, what)) {
          assert.equal(difference(before, victim.card.save()), '', `${what}: refused, and loaded in part`);
          continue;
        }
        assert.ok(!MUST_BE_REFUSED.has(how), `${what}: taken`);
        play(subject, victim, new Prng(1), 20);
        victim.card.save();
        victim = subject.fork(bench, LATER);
        before = victim.card.save();
      }
    }
  });
}

function play<Bench extends ModelBench<Card>>(subject: Subject<Bench>, bench: Bench, prng: Prng, steps: number): void {
  for (let i = 0; i < steps; i++) {
    if (prng.next() % 50 === 0)
      access(bench.card, prng); // rare, as one may stop all traffic
    else subject.step(bench, prng);
  }
}

/** Any register, any value. */
function access(card: Card, prng: Prng): void {
  const width = WIDTHS[prng.next() % 3]!;
  const bar = prng.next() % 4 !== 0;
  const { rows } = bar ? card.registers.map : card.config.map;
  const { offsets } = rows[prng.next() % rows.length]!;
  const at = offsets[prng.next() % offsets.length]!;
  const value = prng.next() % 2 ** (8 * width);
  if (prng.next() % 2 === 0) {
    if (bar) card.readBar(0, at, width);
    else card.config.read(at, width);
  } else if (bar) card.writeBar(0, at, width, value);
  else card.config.write(at, width, value);
}

/** Counts, and traces if wanted, everything from now on. */
function watch(bench: ModelBench<Card>, traced: boolean, timer = ''): () => unknown {
  const recorder = new Recorder();
  const start = bench.clock.now;
  bench.card.trace = traced ? recorder : null;
  bench.rises = [];
  bench.messages = [];
  bench.sent();
  return () => ({
    trace: recorder.lines.filter((line) => timer === '' || !line.includes(timer)),
    sent: bench.sent().map((frame) => Buffer.from(frame).toString('hex')),
    rises: bench.rises.map((at) => at - start),
    line: bench.line,
    messages: bench.messages,
    next: bench.clock.next - bench.clock.now,
    state: bench.card.save(),
    refused: bench.card.refused,
    wire: (['forward', 'backward'] as const).map((way) => [bench.wire.counters(way), bench.wire.queued(way)]),
  });
}

// States that are none.

type Path = readonly (string | number)[];

/** Where anything is in a state, its parts before their parts. */
function placesIn(state: unknown, path: Path = []): Path[] {
  if (typeof state !== 'object' || state === null || ArrayBuffer.isView(state)) return [];
  const names = Array.isArray(state) ? state.map((_, index) => index) : Object.keys(state);
  return names.flatMap((name) => {
    const place = [...path, name];
    return [place, ...placesIn((state as Record<string | number, unknown>)[name], place)];
  });
}

/** What no card can have. */
const MUST_BE_REFUSED = new Set(['taken out', 'undefined', 'NaN', 'a function', 'longer', 'of another type']);

/** The state with what is at `path` altered, in all ways, and in some at random. */
function* alterations(good: unknown, path: Path, prng: Prng): Generator<[how: string, state: unknown]> {
  const own = path.reduce((at, name) => (at as Record<string | number, unknown>)[name], good);
  const place = (value: unknown, remove = false) => withAt(good, path, value, remove);
  if (typeof path.at(-1) === 'string') yield ['taken out', place(undefined, true)];
  yield ['undefined', place(undefined)];
  yield ['NaN', place(Number.NaN)];
  yield ['a function', place(() => 0)];
  for (const value of [null, true, false, 'x', -1, 0.5, 1e300, 0, 2 ** 32 - 1, prng.next() % 2 ** 16, [], {}])
    if (value === null || typeof value !== typeof own || prng.next() % 2 === 0)
      yield [JSON.stringify(value), place(value)];
  if (!ArrayBuffer.isView(own)) return;
  const words = own as Uint8Array;
  yield ['cut short', place(words.slice(0, words.length >> 1))];
  yield ['of another type', place(new Float32Array(words.length))];
  const Kind = words.constructor as Uint8ArrayConstructor;
  yield ['longer', place(new Kind(words.length + LONGEST))];
  yield ['ones', place(new Kind(words.length).fill(0xffffffff))];
  yield ['random', place(Kind.from({ length: words.length }, () => prng.next()))];
}

/** A copy of what is on the path; the rest is shared, as nobody writes to a state. */
function withAt(state: unknown, [name, ...rest]: Path, value: unknown, remove: boolean): unknown {
  const copy = (Array.isArray(state) ? [...state] : { ...(state as object) }) as Record<string | number, unknown>;
  if (rest.length > 0) copy[name!] = withAt(copy[name!], rest, value, remove);
  else if (remove) delete copy[name!];
  else copy[name!] = value;
  return copy;
}

/** Whether the card refuses it, as it should: by name. */
function refuses(card: Card, state: unknown, chip: string, what: string): boolean {
  try {
    card.restore(state);
    return false;
  } catch (error) {
    assert.ok(error instanceof StateError, `${what}: ${String(error)}`);
    assert.ok(error.message.startsWith(`${chip}`), `${what}: ${error.message}`);
    return true;
  }
}

/** The first place where two outcomes differ, and how; nothing where they do not. */
function difference(one: unknown, other: unknown, where = ''): string {
  if (ArrayBuffer.isView(one) && ArrayBuffer.isView(other) && bytesOf(one).equals(bytesOf(other))) return '';
  if (typeof one !== 'object' || one === null || typeof other !== 'object' || other === null)
    return Object.is(one, other) ? '' : `${where}: ${String(one)}, and ${String(other)}`;
  for (const name of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const [mine, its] = [one, other].map((of) => (of as Record<string, unknown>)[name]);
    const found = difference(mine, its, `${where}.${name}`);
    if (found !== '') return found;
  }
  return '';
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
