/** What a card's frames are joined to: the same at either end of the wire. */
import { Echo } from '../../drivers/join/echo.ts';
import { InterfaceFollower } from '../../drivers/join/follow-interface.ts';
import { Generator, type GeneratorOptions, Sink, SinkJoin } from '../../drivers/join/generator.ts';
import { superFramePool, TapJoin, type TapJoinStatistics } from '../../drivers/join/tap-join.ts';
import { Interface, openTap, type Tap, watch } from '../../native/index.ts';
import type { Card } from './card.ts';

export const ROLES = ['tap', 'echo', 'generate', 'sink', 'none'] as const;
export type RoleKind = (typeof ROLES)[number];

export interface Role {
  readonly kind: RoleKind;
  /** For the start log: "TAP fauxnic0". */
  readonly about: string;
  readonly tap?: Tap;
  readonly sink?: Sink;
  readonly generator?: Generator;
  start(): void;
  /** No frame passes any more. */
  stop(): void;
  /** Frames dropped between card and whatever it is joined to. */
  readonly dropped: number;
  /** The same by what became of them. */
  drops(): readonly Drop[];
  statistics(): Record<string, unknown>;
  /** Counts from nothing again; not those that a generator or a sink judges losses by. */
  reset(): void;
}

export type Drop = readonly [what: string, frames: number];

const NOTHING_DROPPED = { dropped: 0, drops: () => [] } as const;

export interface RoleContext {
  readonly card: Card;
  /** Nanoseconds, the same clock at both ends. */
  readonly now: () => number;
  /** Moves the cards' time to now. */
  readonly pump: () => void;
  readonly failed: (error: unknown) => void;
  /** Hears what there is to say of the frames, and of the interface's settings, a line each. */
  readonly log?: (line: string) => void;
}

export interface TapRoleOptions {
  readonly name?: string;
  readonly gro?: boolean;
  readonly tso?: boolean;
  /** A card at the other end that gets the same MTU, as nobody else gives it one. */
  readonly partner?: Card | null;
}

export function tapRole(context: RoleContext, { name, gro = true, tso = true, partner }: TapRoleOptions): Role {
  const { card, pump, failed, log = () => {} } = context;
  const tap = openTap({ name });
  const { driver, device } = card;
  const joinable = {
    headerBytes: tap.headerBytes,
    read(memory: ArrayBuffer, vec: Int32Array, count: number) {
      pump(); // the kernel's frames come in the machine's time
      return tap.read(memory, vec, count);
    },
    write: (memory: ArrayBuffer, vec: Int32Array, count: number) => tap.write(memory, vec, count),
    carrier: (on: boolean) => tap.carrier(on),
    setMac: (mac: Uint8Array) => tap.setMac(mac),
    setMtu: (mtu: number) => tap.setMtu(mtu),
    setOffload: (offload: Parameters<Tap['setOffload']>[0]) => tap.setOffload(offload),
  };
  const pool = tso ? superFramePool(device.dma) : undefined;
  const join = new TapJoin({
    device: driver,
    tap: joinable,
    watch: (readable) => watch(tap.fd, { readable }),
    pool,
    gro,
    log,
    failed,
  });
  const settings: Interface = new Interface(tap, () => follower.changed());
  const follower = new InterfaceFollower({
    device: driver,
    read: () => settings.read(),
    async setMtu(mtu) {
      await partner?.driver.setMtu(mtu);
      await join.setMtu(mtu);
    },
    putBackMtu: (mtu) => tap.setMtu(mtu),
    log,
    failed,
  });
  let refusedBefore = 0;
  const refused = () => tap.refused - refusedBefore;
  const drops = (): readonly Drop[] => {
    const { droppedMalformed, droppedTooLong, droppedNoBuffers, droppedDamaged, droppedShape, droppedKernelBusy } =
      join.statistics;
    return [
      ['malformed, from the kernel', droppedMalformed],
      ['longer than the card sends', droppedTooLong],
      ['no buffers for what the kernel sent', droppedNoBuffers],
      ['damaged', droppedDamaged],
      ['no room for a header', droppedShape],
      ['kernel busy', droppedKernelBusy],
      ['refused by the kernel', refused()],
    ];
  };
  return {
    kind: 'tap',
    about: `TAP ${tap.name}`,
    tap,
    start() {
      join.start();
      follower.changed();
    },
    stop() {
      follower.close();
      settings.close();
      join.close();
      tap.close();
    },
    get dropped() {
      return drops().reduce((sum, [, frames]) => sum + frames, 0);
    },
    drops,
    statistics: () => ({ tap: tap.name, ...join.statistics, refused: refused() }),
    reset() {
      for (const name of Object.keys(join.statistics)) join.statistics[name as keyof TapJoinStatistics] = 0;
      refusedBefore = tap.refused;
    },
  };
}

export function echoRole({ card, now, failed }: RoleContext): Role {
  const echo = new Echo(card.driver, { now, failed });
  return {
    kind: 'echo',
    about: 'echo: answers ARP, pings, UDP',
    start: () => echo.start(),
    stop: () => echo.close(),
    ...NOTHING_DROPPED,
    statistics: () => ({ ...echo.statistics, fragments: { ...echo.fragments.statistics } }),
    reset: () => void Object.assign(echo.statistics, { received: 0, answered: 0, ignored: 0 }),
  };
}

export type GenerateRoleOptions = Pick<GeneratorOptions, 'sizes' | 'seed' | 'rate' | 'count' | 'destinationMac'> & {
  readonly about: string;
  readonly finished?: () => void;
};

export function generateRole({ card, now, pump, failed }: RoleContext, options: GenerateRoleOptions): Role {
  const sink = new Sink(now);
  const { driver: device, device: pci } = card;
  const live = () => {
    pump(); // asked from the event loop: frames leave in the machine's time
    return now();
  };
  const generator = new Generator({ device, dma: pci.dma, now: live, sink, failed, ...options });
  return {
    kind: 'generate',
    about: options.about,
    generator,
    sink,
    start: () => generator.start(),
    stop: () => generator.stop(),
    ...NOTHING_DROPPED,
    statistics: () => ({ sent: generator.sent, sentBytes: generator.sentBytes, ...sinkStatistics(sink) }),
    reset: () => {},
  };
}

export function sinkRole({ card, now, failed }: RoleContext): Role {
  const sink = new Sink(now);
  const join = new SinkJoin(card.driver, sink, { failed });
  return {
    kind: 'sink',
    about: 'sink: judges what arrives',
    sink,
    start: () => join.start(),
    stop: () => join.close(),
    ...NOTHING_DROPPED,
    statistics: () => sinkStatistics(sink),
    reset: () => {},
  };
}

export function noRole(): Role {
  return {
    kind: 'none',
    about: 'nobody',
    start: () => {},
    stop: () => {},
    ...NOTHING_DROPPED,
    statistics: () => ({}),
    reset: () => {},
  };
}

function sinkStatistics(sink: Sink): Record<string, unknown> {
  const { received, bytes, lost, duplicates, reordered, stale, foreign } = sink;
  return { received, bytes, lost, duplicates, reordered, stale, foreign, latency: sink.latency.toJSON() };
}
