import type { Clock } from '../clock.ts';
import { type FrameDirection, INBOUND, OUTBOUND, type PcapngInterface, type PcapngWriter } from './pcapng.ts';
import type { Medium, Port, Station } from './port.ts';
import { commonSpeed } from './station.ts';

/**
 * Records the frames that pass at ports. A tap is a middleware that sits in the socket between a port and its medium
 * only while it is there: a port that is not tapped knows nothing of captures.
 */
export class Capture {
  /** Why the capture ended early: what the writer's sink threw. The wire goes on. */
  error: unknown = null;
  readonly #clock: Clock;
  readonly #writer: PcapngWriter;
  readonly #interfaces = new Map<Port, number>();
  readonly #taps = new Set<Tap>();

  constructor(clock: Clock, writer: PcapngWriter) {
    this.#clock = clock;
    this.#writer = writer;
  }

  /**
   * Slips a tap between the port and its medium, the carrier staying up. A port not plugged in yet gets the tap as its
   * medium: plug the tap in instead. The interface is named as the port, and has the speed of the link as it is now,
   * unless told. Throws where the medium cannot be tapped while running.
   */
  tap(port: Port, about: Partial<PcapngInterface> = {}): Tap {
    checkTappable(port);
    const iface = this.#interface(port, about);
    const tap = tapPort(port, (direction, bytes, start, length, flags) => {
      this.#record(iface, direction, bytes, start, length, flags);
    });
    this.#taps.add(tap);
    return tap;
  }

  /** Takes all taps out, and completes and flushes the file. Throws what the sink throws. */
  end(): void {
    for (const tap of this.#taps) tap.remove();
    this.#taps.clear();
    this.#writer.end();
  }

  /** A port tapped again goes on under the number it had. */
  #interface(port: Port, about: Partial<PcapngInterface>): number {
    const known = this.#interfaces.get(port);
    if (known !== undefined) return known;
    const speed = commonSpeed(port.station, port.medium?.partnerOf(port) ?? null);
    const iface = this.#writer.interface({ name: port.name, speed, ...about });
    this.#interfaces.set(port, iface);
    return iface;
  }

  #record(
    iface: number,
    direction: FrameDirection,
    bytes: Uint8Array,
    start: number,
    length: number,
    flags: number,
  ): void {
    if (this.error !== null) return;
    try {
      this.#writer.packet(iface, this.#clock.now, direction, bytes, start, length, flags);
    } catch (error) {
      this.error = error; // a full disk must not throw into a model
    }
  }
}

/** Told of every frame that passes; it is valid until the call returns. */
export type Recorder = (
  direction: FrameDirection,
  bytes: Uint8Array,
  start: number,
  length: number,
  flags: number,
) => void;

/** Slips a tap between the port and its medium; see Capture.tap for when, and what it throws. */
export function tapPort(port: Port, record: Recorder): Tap {
  checkTappable(port);
  const tap = new Tap(port, record);
  port.medium?.replace?.(port, tap);
  port.medium = tap;
  return tap;
}

function checkTappable({ name, medium }: Port): void {
  if (medium !== null && medium.replace === undefined)
    throw new Error(`cannot tap ${name}: its medium takes no tap while running; tap it before plugging it in`);
}

/** Stands for the port towards the medium, and for the medium towards the port. */
export class Tap implements Medium, Port {
  medium: Medium | null = null;
  #port: Port;
  #record: Recorder | null;

  /** @internal Made by tapPort. */
  constructor(port: Port, record: Recorder) {
    this.#port = port;
    this.#record = record;
  }

  get name(): string {
    return this.#port.name;
  }

  get station(): Station | null {
    return this.#port.station;
  }

  /** Takes the tap out, and port and medium meet again; where the medium has no part in that, the tap stays, idle. */
  remove(): void {
    this.#record = null;
    if (this.#port.medium !== this || (this.medium !== null && this.medium.replace === undefined)) return;
    const medium = this.medium;
    this.#port.medium = null;
    medium?.replace?.(this, this.#port);
  }

  partnerChanged(partner: Station | null): void {
    this.#port.partnerChanged(partner);
  }

  receive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#record?.(INBOUND, bytes, start, length, flags);
    this.#port.receive(bytes, start, length, flags);
  }

  stationChanged(_port: Port): void {
    this.medium?.stationChanged(this);
  }

  partnerOf(_port: Port): Station | null {
    return this.medium?.partnerOf(this) ?? null;
  }

  transmit(_port: Port, bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#record?.(OUTBOUND, bytes, start, length, flags);
    this.medium?.transmit(this, bytes, start, length, flags);
  }

  freeAt(_port: Port): number {
    return this.medium?.freeAt(this) ?? 0;
  }

  /** Taps stack: another may sit between this one and the port. */
  replace(port: Port, by: Port): void {
    if (port !== this.#port) throw new Error(`cannot replace ${port.name}: this tap is not its own`);
    port.medium = null;
    by.medium = this;
    this.#port = by;
  }
}
