/**
 * State that can be saved at any moment, checked, and loaded into a fresh object of the same kind.
 *
 * A block lists its fields once; what is saved, its types, the checks on the way in and the loading follow from the list:
 *
 *     readonly state = block(1, {
 *       words: array(this.#words),
 *       armed: value(() => this.#armed, (on) => (this.#armed = on)),
 *       timer: alarm(this.#timer),
 *     });
 *
 * What comes back may be another version's, another chip's, cut short, or made up. All of it is checked before any of it is
 * loaded, and a StateError says where it is wrong.
 */
import type { Alarm, Clock } from './clock.ts';

/** What may be kept and sent elsewhere: structured-cloneable, and nothing that runs. */
export type Saved = number | boolean | string | null | Words | readonly Saved[] | { readonly [name: string]: Saved };

export type Words = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

/** Thrown for a state that does not fit: "transmit.ring.head: a boolean, not a number". */
export class StateError extends Error {
  override name = 'StateError';

  constructor(where: string, why: string) {
    super(`${where}: ${why}`);
  }
}

/** A part of some state. `load` is only called with what `check` let through. */
export interface Stateful<S = Saved> {
  save(): S;
  /** @throws StateError where `saved` is no state of this part. Changes nothing. */
  check(saved: unknown, where: string): void;
  load(saved: S): void;
}

/** Whose state it is: another one's is refused. */
export function kind(name: string): Stateful<string> {
  return {
    save: () => name,
    check(saved, where) {
      const given = typeof saved === 'string' ? saved : kindOf(saved);
      if (saved !== name) throw new StateError(where, `the state of ${given}, not of ${name}`);
    },
    load: () => {},
  };
}

/** A number, a flag or a name. @param fits whether a value of the right type may be one: an index within its ring, say. */
export function value<T extends number | boolean | string>(
  get: () => T,
  set: (value: T) => void,
  fits: (value: T) => boolean = () => true,
): Stateful<T> {
  return {
    save: get,
    check(saved, where) {
      const wanted = typeof get();
      if (typeof saved !== wanted) throw new StateError(where, `${kindOf(saved)}, not a ${wanted}`);
      if (typeof saved === 'number' && !Number.isFinite(saved)) throw new StateError(where, `${saved}`);
      if (!fits(saved as T)) throw new StateError(where, `${saved} cannot be`);
    },
    load: set,
  };
}

/** A whole number from 0 to `most`: a counter, an index. */
export function whole(
  get: () => number,
  set: (value: number) => void,
  most = Number.MAX_SAFE_INTEGER,
): Stateful<number> {
  return value(get, set, (number) => Number.isInteger(number) && number >= 0 && number <= most);
}

/**
 * The fields of a record, each by what it holds now: numbers, flags, names, and arrays of fixed length.
 * @param most of its numbers, which are whole ones from 0 on.
 */
export function record<T extends object>(own: T, most?: number): Stateful<FieldsOf<T>> {
  const fieldsOfOwn = own as Record<string, Field>;
  const names = Object.keys(own);
  const fields = names.map((name) => fieldOf(fieldsOfOwn, name, most));
  return {
    save: () => Object.fromEntries(fields.map((field, index) => [names[index]!, field.save()])) as FieldsOf<T>,
    check(saved, where) {
      checkNames(saved, names, where);
      for (const [index, name] of names.entries())
        fields[index]!.check((saved as Record<string, unknown>)[name], `${where}.${name}`);
    },
    load: (saved) => {
      for (const [index, name] of names.entries()) fields[index]!.load((saved as Record<string, unknown>)[name]);
    },
  };
}

type Field = number | boolean | string | Words;
/** The fields of `T` that a record keeps. */
export type FieldsOf<T> = { readonly [K in keyof T as T[K] extends Field ? K : never]: T[K] };

function fieldOf(own: Record<string, Field>, name: string, most?: number): Stateful<unknown> {
  const now = own[name]!;
  if (typeof now === 'object') return array(now);
  const set = (saved: number | boolean | string) => {
    own[name] = saved;
  };
  if (typeof now === 'number') return whole(() => own[name] as number, set, most);
  return value(() => own[name] as boolean | string, set);
}

/** An array of fixed length, in place. */
export function array<T extends Words>(own: T): Stateful<T> {
  return {
    save: () => own.slice() as T,
    check(saved, where) {
      if (!sameKind(own, saved)) throw new StateError(where, `${kindOf(saved)}, not ${kindOf(own)}`);
      if (saved.length !== own.length) throw new StateError(where, `${saved.length} elements, not ${own.length}`);
    },
    load: (saved) => own.set(saved),
  };
}

/** An array whose length is part of the state. @param most elements. */
export function list<T extends Words>(get: () => T, set: (saved: T) => void, most: number): Stateful<T> {
  return {
    save: () => get().slice() as T,
    check(saved, where) {
      const own = get();
      if (!sameKind(own, saved)) throw new StateError(where, `${kindOf(saved)}, not ${kindOf(own)}`);
      if (saved.length > most) throw new StateError(where, `${saved.length} elements, of ${most} at most`);
    },
    load: set,
  };
}

/** Kept as nanoseconds left, -1 while unscheduled: the clock it is loaded under shows another time. */
export function alarm(own: Alarm): Stateful<number> {
  return {
    save: () => own.save(),
    check: (saved, where) => checkTime(saved, where),
    load: (left) => own.restore(left),
  };
}

/** A moment on the clock after which something is over; kept as nanoseconds left, 0 where it is over. */
export function deadline(clock: Clock, get: () => number, set: (at: number) => void): Stateful<number> {
  return {
    save: () => Math.max(0, get() - clock.now),
    check: (saved, where) => checkTime(saved, where),
    load: (left) => set(clock.now + left),
  };
}

type Parts = Readonly<Record<string, Stateful<unknown>>>;
type SavedOf<P extends Parts> = { readonly [K in keyof P]: P[K] extends Stateful<infer S> ? S : never };

/** A block's state as it is saved. */
export type BlockState<P extends Parts> = { readonly version: number } & SavedOf<P>;

/**
 * A block's state.
 *
 * @param version goes up whenever the parts' meaning changes: what an older one saved is refused by its number.
 * @param loaded runs when all of it is loaded: for what is computed from it.
 */
export function block<P extends Parts>(version: number, parts: P, loaded?: () => void): Stateful<BlockState<P>> {
  const names = Object.keys(parts);
  const part = (name: string) => parts[name] as Stateful<unknown>;
  return {
    save: () => ({ version, ...Object.fromEntries(names.map((name) => [name, part(name).save()])) }) as BlockState<P>,
    check(saved, where) {
      const given = (saved as Record<string, unknown> | null)?.version;
      if (Object.hasOwn(Object(saved), 'version') && given !== version)
        throw new StateError(where, `a state of version ${String(given)}, where ${version} is wanted`);
      checkNames(saved, ['version', ...names], where);
      for (const name of names) part(name).check((saved as Record<string, unknown>)[name], `${where}.${name}`);
    },
    load(saved) {
      const state = saved as unknown as Record<string, unknown>;
      for (const name of names) part(name).load(state[name]);
      loaded?.();
    },
  };
}

/** A part with one more check, of what its fields are to each other. @param wrong says what does not fit; null where all does. */
export function checked<S>(part: Stateful<S>, wrong: (saved: S) => string | null): Stateful<S> {
  return {
    save: () => part.save(),
    check(saved, where) {
      part.check(saved, where);
      const why = wrong(saved as S);
      if (why !== null) throw new StateError(where, why);
    },
    load: (saved) => part.load(saved),
  };
}

/** Parts of one kind, as many as there are: queues, vectors. */
export function each<S>(parts: readonly Stateful<S>[]): Stateful<readonly S[]> {
  return {
    save: () => parts.map((part) => part.save()),
    check(saved, where) {
      if (!Array.isArray(saved)) throw new StateError(where, `${kindOf(saved)}, not a list`);
      if (saved.length !== parts.length) throw new StateError(where, `${saved.length} elements, not ${parts.length}`);
      for (const [index, part] of parts.entries()) part.check(saved[index], `${where}[${index}]`);
    },
    load: (saved) => {
      for (const [index, part] of parts.entries()) part.load(saved[index]!);
    },
  };
}

/** Checks all of `saved`, then loads it. @throws StateError, and nothing is changed. */
export function restore<S>(into: Stateful<S>, saved: unknown, where: string): void {
  into.check(saved, where);
  into.load(saved as S);
}

function checkNames(saved: unknown, names: readonly string[], where: string): void {
  if (typeof saved !== 'object' || saved === null || ArrayBuffer.isView(saved) || Array.isArray(saved))
    throw new StateError(where, `${kindOf(saved)}, not a state`);
  const missing = names.find((name) => !Object.hasOwn(saved, name));
  if (missing !== undefined) throw new StateError(`${where}.${missing}`, 'nothing, which is too little');
  const odd = Object.keys(saved).find((name) => !names.includes(name));
  if (odd !== undefined) throw new StateError(`${where}.${odd}`, 'no such part');
}

function checkTime(saved: unknown, where: string): void {
  if (typeof saved !== 'number' || !Number.isFinite(saved) || saved < -1)
    throw new StateError(where, `${typeof saved === 'number' ? saved : kindOf(saved)}, not a time left`);
}

function sameKind<T extends Words>(own: T, saved: unknown): saved is T {
  return ArrayBuffer.isView(saved) && Object.getPrototypeOf(saved) === Object.getPrototypeOf(own);
}

function kindOf(saved: unknown): string {
  if (saved === null || saved === undefined) return 'nothing';
  if (ArrayBuffer.isView(saved) || Array.isArray(saved)) return article(saved.constructor.name);
  return typeof saved === 'object' ? 'an object' : `a ${typeof saved}`;
}

function article(name: string): string {
  return `${/^[AI]/.test(name) ? 'an' : 'a'} ${name}`;
}
