import type { Clock } from '../clock.ts';
import { ETHERTYPE_MAC_CONTROL } from '../packet.ts';
import type { Impairments } from './impairments.ts';
import { Line, type LineCounters, type LineState } from './line.ts';
import type { Medium, Port, Station } from './port.ts';

/** Impairments of both directions, and what differs in one of them. */
export interface LinkOptions extends Impairments {
  /** From the port plugged in first to the second. */
  readonly forward?: Impairments;
  readonly backward?: Impairments;
}

export type Direction = 'forward' | 'backward';

export interface LinkState {
  connected: boolean;
  forward: LineState;
  backward: LineState;
}

interface End {
  port: Port | null;
  /** Who hears this end: the other end's port, while the cable is whole. */
  listener: Port | null;
  /** From this end to the other. */
  readonly line: Line;
  /** The listener's `receive` is on the stack. */
  delivering: boolean;
}

/**
 * A full-duplex cable between two ports. Without impairments it is an ideal wire: `transmit` is the peer's `receive`,
 * with the same bytes at the same moment.
 *
 * A frame sent while this link delivers another is queued and delivered by an alarm at that same moment of the clock, so
 * that ports that answer at once cannot recurse. Only the PAUSE frame by which a receiver stops its sender goes straight
 * back, since the sender must hear it before it sends more; it too is queued where its listener's `receive` is running.
 */
export class Link implements Medium {
  readonly #a: End;
  readonly #b: End;
  #connected = true;

  /** Throws a RangeError for impairments out of range. */
  constructor(clock: Clock, options: LinkOptions = {}) {
    const { forward, backward, ...both } = options;
    const there = { ...both, ...forward };
    // Chance in one direction must not follow from chance in the other.
    const back = { ...both, seed: otherSeed(both.seed ?? 1), ...backward };
    this.#a = {
      port: null,
      listener: null,
      delivering: false,
      line: this.#line(clock, there, () => this.#a),
    };
    this.#b = {
      port: null,
      listener: null,
      delivering: false,
      line: this.#line(clock, back, () => this.#b),
    };
  }

  get connected(): boolean {
    return this.#connected;
  }

  counters(direction: Direction): Readonly<LineCounters> {
    return this.#end(direction).line.counters;
  }

  /** Frames of that direction in flight or waiting. */
  queued(direction: Direction): number {
    return this.#end(direction).line.queued;
  }

  /** Replaces a direction's impairments from the next frame on; its `capacity` stays. Throws a RangeError. */
  impair(direction: Direction, impairments: Impairments): void {
    this.#end(direction).line.impair(impairments);
  }

  /** Puts the port into a free end. Throws where both are taken, or the port is plugged in somewhere already. */
  plug(port: Port): void {
    const end = [this.#a, this.#b].find((end) => end.port === null);
    if (end === undefined) throw new Error(`cannot plug in ${port.name}: both ends of the link are taken`);
    if (port.medium !== null) throw new Error(`cannot plug in ${port.name}: it is plugged in already`);
    port.medium = this;
    end.port = port;
    this.#rewire();
    port.partnerChanged(this.partnerOf(port));
    this.stationChanged(port);
  }

  /** Pulls the port out of its end. Throws where it is not in one. */
  unplug(port: Port): void {
    const end = this.#endOf(port);
    if (end === null) throw new Error(`cannot unplug ${port.name}: it is not in this link`);
    const { listener } = end;
    end.port = null;
    port.medium = null;
    this.#cut();
    port.partnerChanged(null);
    listener?.partnerChanged(null);
  }

  /** Breaks the cable: both ends lose their partner, and frames in flight are gone. */
  disconnect(): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#cut();
    this.#a.port?.partnerChanged(null);
    this.#b.port?.partnerChanged(null);
  }

  connect(): void {
    if (this.#connected) return;
    this.#connected = true;
    this.#rewire();
    for (const { port } of [this.#a, this.#b]) port?.partnerChanged(this.partnerOf(port));
  }

  stationChanged(port: Port): void {
    this.#endOf(port)?.listener?.partnerChanged(port.station);
  }

  partnerOf(port: Port): Station | null {
    return this.#endOf(port)?.listener?.station ?? null;
  }

  transmit(port: Port, bytes: Uint8Array, start: number, length: number, flags: number): void {
    const end = this.#endOf(port);
    if (end === null) return;
    const { line, listener } = end;
    if (listener === null) line.refuse();
    else if (!line.ideal || line.queued !== 0 || this.#mustWait(end, bytes, start, length)) {
      line.send(bytes, start, length, flags);
    } else {
      line.pass(1, length);
      hand(end, listener, bytes, start, length, flags);
    }
  }

  transmitBurst(port: Port, bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const end = this.#endOf(port);
    const listener = end?.listener;
    if (!end || !listener?.receiveBurst || !end.line.ideal || end.line.queued !== 0) return 0;
    if (this.#a.delivering || this.#b.delivering) return 0;
    end.delivering = true;
    try {
      const taken = listener.receiveBurst(bytes, starts, lengths, count);
      let octets = 0;
      for (let i = 0; i < taken; i++) octets += lengths[i]!;
      end.line.pass(taken, octets);
      return taken;
    } finally {
      end.delivering = false;
    }
  }

  freeAt(port: Port): number {
    return this.#endOf(port)?.line.freeAt ?? 0;
  }

  replace(port: Port, by: Port): void {
    const end = this.#endOf(port);
    if (end === null) throw new Error(`cannot replace ${port.name}: it is not in this link`);
    end.port = by;
    port.medium = null;
    by.medium = this;
    this.#rewire();
  }

  save(): LinkState {
    return {
      connected: this.#connected,
      forward: this.#a.line.save(),
      backward: this.#b.line.save(),
    };
  }

  /** Restores the cable and what is in flight in it. The ports, saved by themselves, are told nothing. */
  restore(state: LinkState): void {
    this.#connected = state.connected;
    this.#a.line.restore(state.forward);
    this.#b.line.restore(state.backward);
    this.#rewire();
  }

  #line(clock: Clock, impairments: Impairments, end: () => End): Line {
    return new Line(clock, impairments, (bytes, start, length, flags) => {
      const from = end();
      if (from.listener !== null) hand(from, from.listener, bytes, start, length, flags);
    });
  }

  #mustWait(end: End, bytes: Uint8Array, start: number, length: number): boolean {
    if (!this.#a.delivering && !this.#b.delivering) return false;
    return end.delivering || length < 14 || ((bytes[start + 12]! << 8) | bytes[start + 13]!) !== ETHERTYPE_MAC_CONTROL;
  }

  #end(direction: Direction): End {
    return direction === 'forward' ? this.#a : this.#b;
  }

  #endOf(port: Port): End | null {
    if (port === this.#a.port) return this.#a;
    return port === this.#b.port ? this.#b : null;
  }

  #rewire(): void {
    this.#a.listener = this.#connected ? this.#b.port : null;
    this.#b.listener = this.#connected ? this.#a.port : null;
  }

  #cut(): void {
    this.#rewire();
    this.#a.line.clear();
    this.#b.line.clear();
  }
}

function hand(from: End, to: Port, bytes: Uint8Array, start: number, length: number, flags: number): void {
  from.delivering = true;
  try {
    to.receive(bytes, start, length, flags);
  } finally {
    from.delivering = false;
  }
}

/** Another seed that follows from the first: 2^32 divided by the golden ratio away. */
export function otherSeed(seed: number): number {
  return (seed ^ 0x9e3779b9) >>> 0;
}
