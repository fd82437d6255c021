/**
 * A card on guarded memory, with a station at the other end of its cable, and operations on it as numbers: so that a run is
 * made of a seed, cut down when it fails, and kept.
 */
import { Clock } from '../../sim/clock.ts';
import { MOMENT_WORK } from '../../sim/nic/budget.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import type { RegisterFile } from '../../sim/registers.ts';
import { FCS_ERROR, HostPort, Link, type Port } from '../../sim/wire/index.ts';
import { ethernet, ip, PARTNER, pattern, pause, STATION } from '../util/packets.ts';
import { GUARD, GuardedMemory } from './guarded-memory.ts';

/** Kind, and three numbers that it makes of what it likes. */
export type Operation = readonly [kind: number, a: number, b: number, c: number];

export type Action = (a: number, b: number, c: number) => void;

export type Card = PciFunction & {
  readonly port: Port;
  readonly registers: RegisterFile;
  readonly work: number;
};

/** What may be spent at one moment: the budget is looked at between two bursts. */
export const MOST_WORK = MOMENT_WORK + 64 * (16384 + 1024);
export const NOWHERE = 0x4000_0000;
const CLIENTS = 0x80; // bytes from here on fill what a client sends
const RUN = 4; // bytes of one kind in a row are no accident
const SENT = 0x1_2000; // bytes of the buffers that are sent from

export abstract class Scene {
  readonly memory = new GuardedMemory();
  readonly clock = new Clock();
  /** What is sent: mapped, and never written. */
  readonly out = this.memory.map(SENT, { writable: false, allowed: false });
  readonly card: Card;
  protected readonly actions: Action[];
  readonly #wire = new Link(this.clock);
  readonly #partner: HostPort;
  readonly #offsets: number[];
  #client = 0;
  #wrong = '';

  constructor(make: (host: Host) => Card) {
    const { memory, clock } = this;
    this.card = make({
      clock,
      memory: memory.space,
      packetMemory: (size) => memory.packetMemory(size),
      intx: () => undefined,
      message: () => undefined,
    });
    const { rows } = this.card.registers.map;
    this.#offsets = rows.flatMap(({ runs, aliases }) => [...runs, ...aliases].map(({ at }) => at));
    this.#partner = new HostPort('partner', {
      onFrame: (bytes, start, length) => this.#look(bytes, start, length),
    });
    const receiveBurst: Port['receiveBurst'] = (bytes, starts, lengths, count) => {
      for (let i = 0; i < count; i++) this.#look(bytes, starts[i]!, lengths[i]!);
      return count;
    };
    Object.assign(this.#partner, { receiveBurst });
    this.#wire.plug(this.card.port);
    this.#wire.plug(this.#partner);
    this.actions = [
      (a, b, c) => this.writeRegister(this.#offset(a, c), b, c),
      (a, b, c) => this.writeRegister(this.#offset(a, c), b, c),
      (a, _b, c) => this.card.readBar(0, this.#offset(a, c), ([1, 2, 4] as const)[c % 3]!),
      (a) => this.clock.advance(a % [2, 2000, 200_000, 40_000_000][a >>> 30]!),
      (a, b, c) => this.#inject(a, b, c),
      (a, b, c) => this.#inject(a, b, c),
      () => this.card.restore(structuredClone(this.card.save())),
      (a) => void (a % 4 === 0 && this.memory.space.unmap(this.ranges[(a >>> 4) % this.ranges.length]!)),
      (a) => void (a % 4 === 0 && this.#nextClient()),
      () => this.#bringUp(),
      () => this.#bringUp(),
    ];
  }

  /** The mapped ranges. */
  protected abstract readonly ranges: readonly number[];
  /** Makes a card of it that sends and receives, as far as registers go. */
  protected abstract bringUp(): void;
  protected abstract writeRegister(offset: number, value: number, width: number): void;
  /** Empties what the card may write, for another client. */
  protected abstract clear(): void;

  /** To be called when all is mapped. */
  protected begin(): void {
    this.memory.watch();
    this.#nextClient();
  }

  #bringUp(): void {
    this.memory.mapAll();
    this.bringUp();
  }

  /** Does one operation. Returns what is wrong then, or ''. */
  do([kind, a, b, c]: Operation, check: boolean): string {
    this.actions[kind % this.actions.length]!(a, b, c);
    if (this.#wrong === '' && this.card.work > MOST_WORK) this.#wrong = `${this.card.work} units of work at one moment`;
    if (this.#wrong === '' && check) this.#check();
    return this.#wrong;
  }

  #check(): void {
    const at = this.memory.violated();
    if (at >= 0) this.#wrong = `the card wrote to 0x${at.toString(16)}, where it must not`;
  }

  /** A frame that the card sent: nothing in it is from outside of a buffer, or from another client. */
  #look(bytes: Uint8Array, start: number, length: number): void {
    for (let at = start, run = 0; at < start + length; at++) {
      const byte = bytes[at]!;
      run = at > start && byte === bytes[at - 1] ? run + 1 : 1;
      if (run < RUN || byte < CLIENTS || byte > GUARD || byte === CLIENTS + this.#client) continue;
      this.#wrong = `a frame with bytes of ${byte === GUARD ? 'no buffer' : 'another client'}, at ${at - start} of ${length}`;
      return;
    }
  }

  /** Whoever comes next has other bytes in his buffers, behind the headers of packets. */
  #nextClient(): void {
    this.clock.settle(); // what is on the wire was sent
    this.card.reset('bus');
    this.#client = (this.#client + 1) % (GUARD - CLIENTS);
    this.memory.fill(this.out, SENT, CLIENTS + this.#client);
    for (const [i, frame] of HEADERS.entries()) this.memory.set(this.out + i * HEADER_ROOM, frame);
    this.clear();
    this.#bringUp();
    this.clock.advance(60_000_000); // the link comes up
  }

  #offset(a: number, c: number): number {
    const at = this.#offsets[a % this.#offsets.length]!;
    return c % 64 === 0 ? a % 0x2_0000 : at + (c % 8 === 0 ? ((c >>> 8) % 0x200) & ~3 : 0);
  }

  /** A value for a register that holds no address: small, one bit, all, or anything. */
  protected value(a: number): number {
    const kinds = [a % 0x10, a % 0x900, 1 << ((a >>> 8) % 32), -1, ~(1 << ((a >>> 8) % 32)), Math.imul(a, 0x9e3779b1)];
    const value = kinds[(a >>> 4) % kinds.length]! >>> 0;
    return this.memory.holds(value) ? 0 : value;
  }

  /** Something to send: a buffer of `length` bytes, that may begin with a packet's header. */
  protected outgoing(a: number, length: number): number {
    if (a % 16 === 0) return NOWHERE;
    const at = a % 4 === 0 ? (a >>> 4) % SENT : ((a >>> 4) % HEADERS.length) * HEADER_ROOM;
    return this.out + Math.max(0, Math.min(at, SENT - length));
  }

  #inject(a: number, b: number, c: number): void {
    const frame = INCOMING[a % INCOMING.length]!;
    const length = b % 4 === 0 ? c % (frame.length + 1) : frame.length;
    this.#partner.send(frame, 0, length, b % 32 === 0 ? FCS_ERROR : 0);
  }
}

const HEADER_ROOM = 256;
const TO = { to: PARTNER, from: STATION };
const HEADERS = [
  ip({ ...TO, segmented: true, data: [] }).bytes,
  ip({ ...TO, segmented: true, data: [], version: 6 }).bytes,
  ip({ ...TO, segmented: true, data: [], vlan: 5 }).bytes,
  ip({ ...TO, segmented: true, data: [], protocol: 'udp' }).bytes,
  ip({ ...TO, segmented: true, data: [], ipOptions: [1, 1, 1, 0] }).bytes,
];
const INCOMING = [
  ethernet(),
  ethernet({ length: 1514 }),
  ethernet({ vlan: 7, length: 64 }),
  ethernet({ vlan: 7, length: 1518 }),
  ethernet({ length: 9018 }),
  ethernet({ length: 16000 }),
  ip({ data: pattern(700) }).bytes,
  ip({ vlan: 7, data: pattern(700) }).bytes,
  ip({ version: 6, protocol: 'udp', data: pattern(300) }).bytes,
  pause(3),
  pause(0),
];
