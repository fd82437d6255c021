/**
 * What a kernel can put behind a virtio-net header leaves every driver right: through the joint's offloads, the driver and
 * the model, to the wire. FAUXNIC_RUNS: how many packets for each card.
 */
import test from 'ava';
import fc from 'fast-check';
import { runClock, runFor } from '../../../drivers/backends/clock-steps.ts';
import { openSim, type SimDevice } from '../../../drivers/backends/sim.ts';
import { createE1000 } from '../../../drivers/e1000/e1000.ts';
import { MALFORMED, Segmenter, TOO_LONG } from '../../../drivers/join/segment.ts';
import { superFramePool } from '../../../drivers/join/tap-join.ts';
import { readVirtioNetHeader } from '../../../drivers/join/virtio-net-header.ts';
import type { NetDriver, NetDriverOptions } from '../../../drivers/net-driver.ts';
import { FEATURE_TSO4, FEATURE_TSO6, FEATURE_TX_CHECKSUM } from '../../../drivers/netdev.ts';
import type { PacketBuffer, PacketPool } from '../../../drivers/packet.ts';
import { createTg3 } from '../../../drivers/tg3/tg3.ts';
import { Clock, MILLISECOND, SECOND } from '../../../sim/clock.ts';
import { E1000 } from '../../../sim/e1000/i82540em.ts';
import type { Host, PciFunction } from '../../../sim/pci/function.ts';
import { Tg3 } from '../../../sim/tg3/bcm57xx.ts';
import type { ChipName } from '../../../sim/tg3/chips.ts';
import { HostPort, Link } from '../../../sim/wire/index.ts';
import type { Port } from '../../../sim/wire/port.ts';
import { StandIn82574 } from '../../util/stand-in-82574.ts';
import { expected, left, type Request, requests } from '../../util/super-frames.ts';

const RUNS = Number(process.env.FAUXNIC_RUNS ?? 300);
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const NO_TSO = ~(FEATURE_TSO4 | FEATURE_TSO6);

interface Kind {
  readonly make: (host: Host) => PciFunction & { readonly port: Port };
  readonly create?: typeof createE1000 | typeof createTg3;
  readonly options?: NetDriverOptions;
}

const tg3 = (chip: ChipName): Kind => ({ make: (host) => new Tg3(host, { chip, mac: MAC }), create: createTg3 });
const e1000: Kind = { make: (host) => new E1000(host, { mac: MAC }) };

const KINDS: Record<string, Kind> = {
  '82540EM': e1000,
  '82540EM, a short ring': { ...e1000, options: { txDescriptors: 80 } },
  '82540EM, MTU 9000': { ...e1000, options: { mtu: 9000, bufferSize: 16384 + 64, buffers: 1024 } },
  '82540EM, sums alone': { ...e1000, options: { features: NO_TSO } },
  '82540EM, no offloads': { ...e1000, options: { features: NO_TSO & ~FEATURE_TX_CHECKSUM } },
  '82574L': { make: (host) => new StandIn82574(host, MAC) },
  BCM57762: tg3('tg3'),
  'BCM57762, a short ring': { ...tg3('tg3'), options: { txDescriptors: 32 } },
  'BCM57762, MTU 9000': { ...tg3('tg3'), options: { mtu: 9000, bufferSize: 16384 + 64, buffers: 1024 } },
  'BCM57762, sums alone': { ...tg3('tg3'), options: { features: NO_TSO } },
  BCM57765: tg3('tg3-57765'),
  BCM5721: tg3('tg3-5721'),
  BCM5751: tg3('tg3-5751'),
};

interface Bench {
  readonly clock: Clock;
  readonly device: SimDevice;
  readonly driver: NetDriver;
  readonly pool: PacketPool;
  readonly segmenter: Segmenter;
  /** What came out of the card. */
  readonly frames: Uint8Array[];
  /** Packets whose frames the MTU or the card does not let pass. */
  tooLong: number;
}

async function open({ make, create = createE1000, options = {} }: Kind): Promise<Bench> {
  const clock = new Clock();
  const link = new Link(clock);
  const frames: Uint8Array[] = [];
  const onFrame = (bytes: Uint8Array, start: number, length: number) =>
    void frames.push(bytes.slice(start, start + length));
  link.plug(new HostPort('peer', { onFrame }));
  const device = openSim(
    (host) => {
      const card = make(host);
      link.plug(card.port);
      return card;
    },
    { name: 'sim:card', clock },
  );
  const driver = await runClock<NetDriver>(clock, create(device, { buffers: 2048, ...options }));
  await runClock(clock, driver.start());
  await runFor(clock, SECOND);
  const pool = superFramePool(device.dma, { chunk: 8, limit: 8 });
  return { clock, device, driver, pool, segmenter: new Segmenter(driver, driver.pool, pool), frames, tooLong: 0 };
}

/** The packet as it comes off a TAP; cut into a chain where it says so. */
function packetOf({ driver, pool }: Bench, request: Request): PacketBuffer | null {
  const { bytes, header, payload } = left(request);
  const packet = pool.take()!;
  packet.bytes.set(bytes, packet.start);
  packet.bytes.set(header, packet.start - header.length);
  packet.length = bytes.length;
  packet.total = bytes.length;
  if (!readVirtioNetHeader(packet)) {
    packet.free();
    return null;
  }
  let tail = packet;
  for (const size of request.pieces) {
    const from = tail === packet ? payload : 0;
    if (tail.length - from <= size || size === 0) break;
    const rest = (driver.pool.bufferSize - 64 < tail.length - from - size ? pool : driver.pool).take()!;
    rest.length = tail.length - from - size;
    tail.length = from + size;
    const end = tail.start + tail.length;
    rest.bytes.set(tail.bytes.subarray(end, end + rest.length), rest.start);
    tail.next = rest;
    tail = rest;
  }
  return packet;
}

/** Sends it as TapJoin does, as the ring has room. Returns MALFORMED, TOO_LONG or 0. */
function send({ clock, driver, segmenter }: Bench, packet: PacketBuffer): number {
  const frames: PacketBuffer[] = [];
  do {
    const count = segmenter.prepare(packet, frames, 0, 64);
    if (count < 0) return count;
    for (let sent = 0; sent < count; ) {
      const taken = driver.transmit(frames, sent, count - sent);
      sent += taken;
      if (taken === 0) clock.advance(MILLISECOND);
    }
    if (!segmenter.busy || count > 0) continue;
    clock.advance(MILLISECOND); // the buffers are with the card, which may rest
    driver.reclaim();
  } while (segmenter.busy);
  clock.advance(100 * MILLISECOND); // one moment holds only so much work of a card's
  driver.reclaim();
  return 0;
}

/** Whether an MTU and a card let frames of this length pass: tags are no part of what the MTU counts. */
function passes({ driver }: Bench, { tags }: Request, length: number): boolean {
  return length <= driver.mtu + 14 + 4 * Math.max(1, tags.length) && length <= driver.limits.frame;
}

/** Null, or what is wrong with what left. */
function wrong(bench: Bench, request: Request): string | null {
  const { driver, frames } = bench;
  frames.length = 0;
  const wanted = expected(request);
  const packet = packetOf(bench, request);
  if (packet === null) return 'the header was not understood';
  const result = send(bench, packet);
  if (result === MALFORMED) return 'refused as malformed';
  if (result === TOO_LONG) {
    bench.tooLong++;
    return passes(bench, request, wanted[0]!.length) ? 'refused as too long' : null;
  }
  if (driver.statistics().txErrors > 0) return 'refused by the driver';
  if (frames.length !== wanted.length) return `${frames.length} frames instead of ${wanted.length}`;
  const at = wanted.findIndex((frame, i) => Buffer.compare(frame, frames[i]!) !== 0);
  if (at < 0) return null;
  const place = wanted[at]!.findIndex((byte, i) => byte !== frames[at]![i]);
  return `frame ${at} of ${wanted.length} differs from byte ${place} on: ${hex(frames[at]!, place)}, not ${hex(wanted[at]!, place)}`;
}

const hex = (bytes: Uint8Array, at: number) => Buffer.from(bytes.subarray(at, at + 8)).toString('hex');

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name}: generated frames and super-frames leave right`, async (t) => {
    const bench = await open(kind);
    const property = fc.property(requests, (request) => {
      const what = wrong(bench, request);
      if (what !== null) throw new Error(what);
    });
    // What failed may have left the card in the midst of it: no shrinking.
    t.notThrows(() => fc.assert(property, { numRuns: RUNS, endOnFailure: true, includeErrorInReport: true }));
    t.log(`${RUNS - bench.tooLong} left right; ${bench.tooLong} were too long, and refused`);
    t.is(bench.pool.available, bench.pool.size);
    await runClock(bench.clock, bench.driver.close());
  });
}
