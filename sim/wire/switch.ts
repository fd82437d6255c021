import { type Clock, SECOND } from '../clock.ts';
import { ETHERNET_HEADER } from '../packet.ts';
import { FilteringDatabase, type SavedDatabase } from './filtering-database.ts';
import type { Impairments } from './impairments.ts';
import { type FrameHandler, Line, type LineCounters, type LineState } from './line.ts';
import { otherSeed } from './link.ts';
import { FCS_ERROR, type Medium, type Port, type Station } from './port.ts';
import { ANY_STATION } from './station.ts';

/** Impairments of every port in both directions, and what differs in one of them. */
export interface SwitchOptions extends Impairments {
  /** How many ports (4). */
  readonly ports?: number;
  /** Names the ports too: "switch.0" (switch). */
  readonly name?: string;
  /** What the switch's ports show: by default they negotiate everything up to 10 Gbit/s, and pause. */
  readonly station?: Station;
  /** Into the switch. */
  readonly ingress?: Impairments;
  /** Out of the switch. */
  readonly egress?: Impairments;
}

/** What became of the frames that came in, each counted once. */
export interface SwitchCounters {
  forwarded: number;
  /** Sent to all other ports: broadcast, multicast, or a station not known. */
  flooded: number;
  /** The station is behind the port the frame came from. */
  filtered: number;
  /** To an address that no bridge forwards. */
  reserved: number;
  fcsErrors: number;
  /** Too short to hold its addresses and type. */
  runts: number;
}

export interface SwitchState {
  ports: { ingress: LineState; egress: LineState }[];
  stations: SavedDatabase;
  counters: SwitchCounters;
}

const ENTRIES = 1024;
const AGEING = 300 * SECOND; // 802.1D-2004 table 7-5, the recommended default
const MOST_PORTS = 256;

/**
 * A learning bridge (802.1D-2004 clause 7, without spanning tree). It stores every frame and forwards it by an alarm of
 * the clock, so that switches cabled into a loop storm from alarm to alarm, and never within one call.
 */
export class Switch {
  readonly ports: readonly SwitchPort[];
  readonly counters: SwitchCounters = {
    forwarded: 0,
    flooded: 0,
    filtered: 0,
    reserved: 0,
    fcsErrors: 0,
    runts: 0,
  };
  readonly #clock: Clock;
  readonly #stations = new FilteringDatabase(ENTRIES, AGEING);

  /** Throws a RangeError for impairments or a number of ports out of range. */
  constructor(clock: Clock, options: SwitchOptions = {}) {
    const { ports = 4, name = 'switch', station = ANY_STATION, ...impairments } = options;
    if (!Number.isInteger(ports) || ports < 1 || ports > MOST_PORTS) {
      throw new RangeError(`ports must be a whole number from 1 to ${MOST_PORTS}, not ${String(ports)}`);
    }
    this.#clock = clock;
    this.ports = Array.from({ length: ports }, (_, index) => {
      return new SwitchPort(clock, `${name}.${index}`, station, portImpairments(impairments, index), {
        forward: (bytes, start, length, flags) => this.#forward(index, bytes, start, length, flags),
        carrierLost: () => this.#stations.flush(index),
      });
    });
  }

  /** Stations known. */
  get stations(): number {
    return this.#stations.size;
  }

  /** Plugs a card's port into the first free socket and returns that. Throws where all are taken. */
  plug(port: Port): SwitchPort {
    const socket = this.ports.find((socket) => socket.free);
    if (socket === undefined)
      throw new Error(`cannot plug in ${port.name}: all ${this.ports.length} sockets are taken`);
    socket.plug(port);
    return socket;
  }

  save(): SwitchState {
    return {
      ports: this.ports.map((port) => port.save()),
      stations: this.#stations.save(this.#clock.now),
      counters: { ...this.counters },
    };
  }

  /** Restores a switch with as many ports. What is plugged in, saved by itself, is told nothing. */
  restore(state: SwitchState): void {
    for (const [index, port] of this.ports.entries()) port.restore(state.ports[index]!);
    this.#stations.restore(state.stations, this.#clock.now);
    Object.assign(this.counters, state.counters);
  }

  #forward(from: number, bytes: Uint8Array, start: number, length: number, flags: number): void {
    const counters = this.counters;
    if ((flags & FCS_ERROR) !== 0) counters.fcsErrors++;
    else if (length < ETHERNET_HEADER) counters.runts++;
    else {
      const now = this.#clock.now;
      if ((bytes[start + 6]! & 1) === 0) this.#stations.learn(bytes, start + 6, from, now);
      if (isReserved(bytes, start)) counters.reserved++;
      else this.#relay(from, this.#destination(bytes, start, now), bytes, start, length, flags);
    }
  }

  /** The port that leads to a frame's destination; -1: all of them. */
  #destination(bytes: Uint8Array, start: number, now: number): number {
    return (bytes[start]! & 1) === 1 ? -1 : this.#stations.lookup(bytes, start, now);
  }

  #relay(from: number, to: number, bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (to === from) this.counters.filtered++;
    else if (to >= 0) {
      this.counters.forwarded++;
      this.ports[to]!.emit(bytes, start, length, flags);
    } else {
      this.counters.flooded++;
      for (let port = 0; port < this.ports.length; port++) {
        if (port !== from && this.ports[port]!.carrier) this.ports[port]!.emit(bytes, start, length, flags);
      }
    }
  }
}

interface Relay {
  readonly forward: FrameHandler;
  readonly carrierLost: () => void;
}

interface PortImpairments {
  readonly ingress: Impairments;
  readonly egress: Impairments;
}

/**
 * One socket of a switch. A card plugs straight into it, the cable included; or it is plugged, itself a port, into a
 * link that leads to another switch.
 */
export class SwitchPort implements Medium, Port {
  readonly name: string;
  readonly station: Station;
  readonly #relay: Relay;
  readonly #ingress: Line;
  readonly #egress: Line;
  #card: Port | null = null;
  #medium: Medium | null = null;

  /** @internal Made by Switch. */
  constructor(clock: Clock, name: string, station: Station, impairments: PortImpairments, relay: Relay) {
    this.name = name;
    this.station = station;
    this.#relay = relay;
    this.#ingress = new Line(clock, impairments.ingress, relay.forward);
    this.#egress = new Line(clock, impairments.egress, (bytes, start, length, flags) => {
      if (this.#card !== null) this.#card.receive(bytes, start, length, flags);
      else this.#medium?.transmit(this, bytes, start, length, flags);
    });
  }

  get medium(): Medium | null {
    return this.#medium;
  }

  /** Throws where a card is plugged in: a socket takes one plug. */
  set medium(medium: Medium | null) {
    if (medium !== null && this.#card !== null) throw new Error(`${this.name} is taken by ${this.#card.name}`);
    this.#medium = medium;
  }

  get free(): boolean {
    return this.#card === null && this.#medium === null;
  }

  /** Whether somebody is there to hear this port. */
  get carrier(): boolean {
    return (this.#card === null ? this.#medium?.partnerOf(this) : this.#card.station) != null;
  }

  counters(direction: 'ingress' | 'egress'): Readonly<LineCounters> {
    return (direction === 'ingress' ? this.#ingress : this.#egress).counters;
  }

  /** Replaces a direction's impairments from the next frame on; its `capacity` stays. Throws a RangeError. */
  impair(direction: 'ingress' | 'egress', impairments: Impairments): void {
    (direction === 'ingress' ? this.#ingress : this.#egress).impair(impairments);
  }

  /** Plugs a card's port in. Throws where the socket is taken, or the port is plugged in somewhere already. */
  plug(port: Port): void {
    if (!this.free) throw new Error(`cannot plug in ${port.name}: ${this.name} is taken`);
    if (port.medium !== null) throw new Error(`cannot plug in ${port.name}: it is plugged in already`);
    this.#card = port;
    port.medium = this;
    port.partnerChanged(this.station);
  }

  /** Pulls the card's port out; what is in flight is gone. */
  unplug(): void {
    const card = this.#card;
    if (card === null) return;
    this.#card = null;
    card.medium = null;
    this.#carrierLost();
    card.partnerChanged(null);
  }

  stationChanged(port: Port): void {
    if (port === this.#card && port.station === null) this.#relay.carrierLost();
  }

  partnerOf(port: Port): Station | null {
    return port === this.#card ? this.station : null;
  }

  transmit(port: Port, bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (port === this.#card) this.receive(bytes, start, length, flags);
  }

  freeAt(port: Port): number {
    return port === this.#card ? this.#ingress.freeAt : 0;
  }

  replace(port: Port, by: Port): void {
    if (port !== this.#card) throw new Error(`cannot replace ${port.name}: it is not in ${this.name}`);
    this.#card = by;
    port.medium = null;
    by.medium = this;
  }

  partnerChanged(partner: Station | null): void {
    if (partner === null) this.#carrierLost();
  }

  /** A frame comes in. It is only queued for other ports here: none of them hears it within this call. */
  receive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    const line = this.#ingress;
    if (line.ideal && line.queued === 0) {
      line.pass(1, length);
      this.#relay.forward(bytes, start, length, flags);
    } else line.send(bytes, start, length, flags);
  }

  /** @internal A frame goes out. */
  emit(bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (this.carrier) this.#egress.send(bytes, start, length, flags);
    else this.#egress.refuse();
  }

  save(): SwitchState['ports'][number] {
    return { ingress: this.#ingress.save(), egress: this.#egress.save() };
  }

  restore(state: SwitchState['ports'][number]): void {
    this.#ingress.restore(state.ingress);
    this.#egress.restore(state.egress);
  }

  #carrierLost(): void {
    this.#ingress.clear();
    this.#egress.clear();
    this.#relay.carrierLost();
  }
}

/** 802.1D-2004 table 7-10: 01-80-C2-00-00-00 to -0F stay on their link; PAUSE, LLDP and spanning tree among them. */
function isReserved(b: Uint8Array, at: number): boolean {
  return (
    b[at] === 0x01 &&
    b[at + 1] === 0x80 &&
    b[at + 2] === 0xc2 &&
    b[at + 3] === 0 &&
    b[at + 4] === 0 &&
    b[at + 5]! < 0x10
  );
}

/** Every direction of every port draws its own chance, all of them following from one seed. */
function portImpairments(options: SwitchOptions, index: number): PortImpairments {
  const { ingress, egress, ...both } = options;
  const seed = ((both.seed ?? 1) + Math.imul(index, 0x6d2b79f5)) >>> 0;
  return {
    ingress: { ...both, seed, ...ingress },
    egress: { ...both, seed: otherSeed(seed), ...egress },
  };
}
