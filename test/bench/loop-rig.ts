/** Two models of a card, each with its driver, on an ideal wire in one thread, and frames that go from one to the other. */
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import type { PciDevice } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import type { NetDriver, NetDriverOptions } from '../../drivers/net-driver.ts';
import { HEADROOM, type PacketBuffer } from '../../drivers/packet.ts';
import { createTg3 } from '../../drivers/tg3/tg3.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { addToChecksum, foldChecksum, put16 } from '../../sim/packet.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { Tg3 } from '../../sim/tg3/bcm57xx.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';

export const BATCH = 64;

export interface Kind {
  make(host: Host, mac: Uint8Array): PciFunction & { readonly port: Port };
  open(device: PciDevice, options: NetDriverOptions): Promise<NetDriver>;
}

export const E1000_CARD: Kind = { make: (host, mac) => new E1000(host, { mac }), open: createE1000 };
export const TG3_CARD: Kind = { make: (host, mac) => new Tg3(host, { mac }), open: createTg3 };

export interface LoopRig {
  /** Sends a batch of frames and receives what arrives; returns how many did. */
  round(batch?: number): number;
  close(): Promise<void>;
}

/** @param length of a frame, without FCS. */
export async function openLoop(length: number, kind = E1000_CARD): Promise<LoopRig> {
  const clock = new Clock();
  const memory = new HostMemory(64 * 1024 * 1024);
  const link = new Link(clock);
  const cards = await Promise.all([1, 2].map((last) => openCard(kind, clock, memory, link, last)));
  for (const card of cards) await runClock(clock, card.start());
  await runFor(clock, 500 * MILLISECOND);
  const [near, far] = cards as [NetDriver, NetDriver];
  if (!near.link.up || !far.link.up) throw new Error('no link');
  writeFrames(near, udpFrame(length, far.mac, near.mac));
  return {
    round: rounds(clock, near, far, length),
    close: async () => {
      for (const card of cards) await runClock(clock, card.close());
    },
  };
}

async function openCard(
  { make, open }: Kind,
  clock: Clock,
  memory: HostMemory,
  link: Link,
  last: number,
): Promise<NetDriver> {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, last);
  const device = openSim(
    (host) => {
      const card = make(host, mac);
      link.plug(card.port);
      return card;
    },
    { name: 'sim:card', clock, memory },
  );
  return await runClock(clock, open(device, { rxDescriptors: 512, txDescriptors: 512, buffers: 2048 }));
}

/** The frame is written once into every buffer; what is measured is rings, models and driver. */
function writeFrames(card: NetDriver, frame: Uint8Array): void {
  const all: PacketBuffer[] = [];
  for (let packet = card.pool.take(); packet !== null; packet = card.pool.take()) {
    packet.bytes.set(frame, HEADROOM);
    all.push(packet);
  }
  for (const packet of all) packet.free();
}

function rounds(clock: Clock, near: NetDriver, far: NetDriver, length: number): (batch?: number) => number {
  const out: PacketBuffer[] = [];
  const into: PacketBuffer[] = [];
  return (batch = BATCH) => {
    clock.advance(1); // what a card does at one moment is bounded
    let count = 0;
    for (let packet = near.pool.take(); packet !== null; packet = count < batch ? near.pool.take() : null) {
      packet.length = length;
      packet.total = length;
      out[count++] = packet;
    }
    const sent = near.transmit(out, 0, count);
    for (let i = sent; i < count; i++) out[i]!.free();
    const received = far.receive(into, batch);
    for (let i = 0; i < received; i++) into[i]!.free();
    return received;
  };
}

/** UDP over IPv4 with both checksums, so that the receiver's checks have something to do. */
function udpFrame(length: number, to: Uint8Array, from: Uint8Array): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set(to, 0);
  frame.set(from, 6);
  frame.set([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 7], 12);
  put16(frame, 16, length - 14);
  put16(frame, 38, length - 34);
  put16(frame, 24, ~foldChecksum(addToChecksum(frame, 14, 20)));
  const pseudo = foldChecksum(addToChecksum(frame, 26, 8) + 17 + length - 34);
  put16(frame, 40, ~foldChecksum(addToChecksum(frame, 34, length - 34, pseudo)));
  return frame;
}
