/** The blocks with two queues each way, as a chip of the family may have them: on a table of that many, without such a chip. */
import test from 'ava';
import { Clock } from '../../../sim/clock.ts';
import { ChecksumUnit } from '../../../sim/e1000/checksum.ts';
import { type BlockContext, type QueueContext, queueContexts } from '../../../sim/e1000/context.ts';
import { Filters } from '../../../sim/e1000/filters.ts';
import { FlowControl, ORDINARY } from '../../../sim/e1000/flow-control.ts';
import { InterruptBlock } from '../../../sim/e1000/interrupts.ts';
import { Receive } from '../../../sim/e1000/receive.ts';
import { I82540EM } from '../../../sim/e1000/registers.ts';
import { Statistics } from '../../../sim/e1000/statistics.ts';
import { Transmit } from '../../../sim/e1000/transmit.ts';
import { AddressSpace, BusMaster } from '../../../sim/memory.ts';
import { type AnyRegister, type NamedRow, offsetOf, RegisterFile, RegisterMap, run } from '../../../sim/registers.ts';
import { restore } from '../../../sim/state.ts';
import { bareHost } from '../../util/bare-host.ts';
import { EOP, IFCS, RS } from '../../util/e1000-harness.ts';
import { ethernet, ip, pattern } from '../../util/packets.ts';

const TWICE = /^[RT](DBAL|DBAH|DLEN|DH|DT|XDCTL)$/;
const rows = I82540EM.rows.map((row: NamedRow) => {
  const given = I82540EM.table[row.name as keyof typeof I82540EM.table];
  return [row.name, TWICE.test(row.name) ? { ...given, at: [run(row.at, 2, 0x100)], aliases: [] } : given] as const;
});
const TWO = new RegisterMap('two queues', 0x20000, Object.fromEntries(rows));
const r = TWO.r as unknown as BlockContext['r'];

const RING = 0x1000; // of descriptors, in each queue's memory
const FRAMES = 0x2000;
const COUNT = 8;
const TX_QUEUES = [1 << 22, 1 << 23]; // as in the 82574L's ICR
const RX_QUEUES = [1 << 20, 1 << 21];

interface Sent {
  bytes: Uint8Array;
}

/** Blocks, and for each queue a memory of its own: at the same addresses, so that one in the wrong memory shows. */
function card() {
  const clock = new Clock();
  const memories = [new Uint8Array(0x10000), new Uint8Array(0x10000)];
  const masters = memories.map((bytes) => {
    const space = new AddressSpace();
    space.map(0, bytes);
    const dma = new BusMaster(space);
    dma.enabled = true;
    return dma;
  });
  const registers = new RegisterFile(TWO);
  const host = bareHost({ clock });
  const context: BlockContext = { name: 'two queues', host, dma: masters[0]!, registers, r };
  const ofItsOwn = (queue: QueueContext) => ({ ...queue, dma: masters[queue.index]! });
  const statistics = new Statistics(context);
  const interrupts = new InterruptBlock(context, () => {});
  const sent: Sent[] = [];
  const outlet = {
    heldUntil: 0,
    send: (bytes: Uint8Array, start: number, length: number) =>
      void sent.push({ bytes: bytes.slice(start, start + length) }),
    sendBurst: (bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number) => {
      for (let i = 0; i < count; i++) sent.push({ bytes: bytes.slice(starts[i], starts[i]! + lengths[i]!) });
      return count;
    },
  };
  const transmit = new Transmit(context, queueContexts(context, 'tx', TX_QUEUES).map(ofItsOwn), {
    interrupts,
    statistics,
    outlet,
    softwareXoff: () => {},
  });
  const receive = new Receive(context, queueContexts(context, 'rx', RX_QUEUES).map(ofItsOwn), {
    filters: new Filters(context),
    checksums: new ChecksumUnit(context),
    flow: new FlowControl(context, statistics),
    interrupts,
    statistics,
    sendPause: () => {},
    steering: { queue: (bytes, start, length) => bytes[start + length - 1]! & 1 },
  });
  const write = (register: AnyRegister, value: number, index = 0) =>
    registers.write32(offsetOf(register, index), value);
  const words = memories.map(({ buffer }) => new Uint32Array(buffer));
  return {
    clock,
    memories,
    words,
    registers,
    outlet,
    sent,
    transmit,
    receive,
    write,
    causes: () => registers.words[r.ICR.word]!,
  };
}

type Card = ReturnType<typeof card>;

function transmitter({ write }: Card): void {
  for (const queue of [0, 1]) {
    write(r.TDBAL, RING, queue);
    write(r.TDLEN, COUNT * 16, queue);
  }
  write(r.TCTL, r.TCTL.EN | r.TCTL.PSP);
}

function post({ memories, words }: Card, queue: number, index: number, frame: Uint8Array): void {
  const at = FRAMES + index * 0x800;
  memories[queue]!.set(frame, at);
  words[queue]!.set([at, 0, (frame.length | ((EOP | IFCS | RS) << 24)) >>> 0, 0], RING / 4 + 4 * index);
}

function receiver({ words, write }: Card, give = COUNT - 1): void {
  for (const queue of [0, 1]) {
    write(r.RDBAL, RING, queue);
    write(r.RDLEN, COUNT * 16, queue);
    for (let i = 0; i < COUNT; i++) words[queue]!.set([FRAMES + i * 0x800, 0, 0, 0], RING / 4 + 4 * i);
    write(r.RDT, give, queue);
  }
  write(r.RCTL, r.RCTL.EN | r.RCTL.UPE | r.RCTL.SECRC);
}

/** A frame that is steered to a queue. */
function frameFor(queue: number, seed: number): Uint8Array {
  const frame = ethernet({ length: 64 + seed, seed });
  frame[frame.length - 1] = queue;
  return frame;
}

/** What a queue's ring holds. */
function stored({ memories, words }: Card, queue: number): Uint8Array[] {
  const ring = words[queue]!.subarray(RING / 4);
  const done = Array.from({ length: COUNT }, (_, i) => i).filter((i) => ring[4 * i + 3]! & 1);
  return done.map((i) => memories[queue]!.slice(ring[4 * i]!, ring[4 * i]! + (ring[4 * i + 2]! & 0xffff)));
}

test('a doorbell is its queue’s: frames go from its ring, in its function’s memory, and its cause is raised', (t) => {
  const it = card();
  transmitter(it);
  const frames = [0, 1, 2].map((seed) => ethernet({ length: 80 + seed, seed }));
  for (const [index, frame] of frames.entries()) post(it, 1, index, frame);
  it.write(r.TDT, 3, 1);
  t.deepEqual(
    it.sent.map(({ bytes }) => bytes),
    frames,
  );
  t.is(it.causes() & (TX_QUEUES[0]! | TX_QUEUES[1]!), TX_QUEUES[1]);
  t.deepEqual(
    [0, 1].map((queue) => it.registers.read32(offsetOf(r.TDH, queue))),
    [0, 3],
  );
  t.is(it.words[1]![RING / 4 + 3]! & 1, 1);
  t.is(it.words[0]![RING / 4 + 3]! & 1, 0);
});

test('a queue that is held in the midst of a packet holds no other: each puts together a packet of its own', (t) => {
  const it = card();
  transmitter(it);
  const whole = ethernet({ length: 300, seed: 4 });
  post(it, 0, 0, whole.subarray(0, 100));
  it.words[0]![RING / 4 + 2] = (100 | (IFCS << 24)) >>> 0; // more follows
  it.write(r.TDT, 1, 0);
  const short = ip({ data: pattern(20) }).bytes;
  post(it, 1, 0, short);
  it.words[1]![RING / 4 + 2] = (30 | (IFCS << 24)) >>> 0;
  post(it, 1, 1, short.subarray(30));
  it.write(r.TDT, 2, 1);
  post(it, 0, 1, whole.subarray(100));
  it.write(r.TDT, 2, 0);
  t.deepEqual([...it.sent[0]!.bytes.subarray(0, short.length)], [...short]);
  t.deepEqual(it.sent[1]!.bytes, whole);
});

test('frames are steered one by one, in a burst as well, and each queue commits its own', (t) => {
  const order = [0, 1, 1, 0, 1];
  const results = [true, false].map((burst) => {
    const it = card();
    receiver(it);
    const frames = order.map((queue, seed) => frameFor(queue, seed));
    const bytes = new Uint8Array(order.length * 256);
    for (const [i, frame] of frames.entries()) bytes.set(frame, i * 256);
    const starts = Int32Array.from(frames, (_, i) => i * 256);
    const lengths = Int32Array.from(frames, ({ length }) => length);
    if (burst) t.is(it.receive.burst(bytes, starts, lengths, frames.length), frames.length);
    else for (const frame of frames) it.receive.frame(frame, 0, frame.length, 0, ORDINARY);
    for (const queue of [0, 1])
      t.deepEqual(
        stored(it, queue),
        frames.filter((_, i) => order[i] === queue),
      );
    t.is(it.causes() & (RX_QUEUES[0]! | RX_QUEUES[1]!), RX_QUEUES[0]! | RX_QUEUES[1]!);
    return { registers: it.registers.words.slice(), memories: it.memories };
  });
  t.deepEqual(results[0], results[1]);
});

test('a burst ends at the first frame whose queue is full', (t) => {
  const it = card();
  receiver(it, 1);
  const frames = [0, 1, 1, 0].map((queue, seed) => frameFor(queue, seed));
  const bytes = new Uint8Array(1024);
  for (const [i, frame] of frames.entries()) bytes.set(frame, i * 256);
  const lengths = Int32Array.from(frames, ({ length }) => length);
  t.is(it.receive.burst(bytes, Int32Array.of(0, 256, 512, 768), lengths, 4), 2);
  t.deepEqual([stored(it, 0).length, stored(it, 1).length], [1, 1]);
});

test('an immediate interrupt stands for the delayed one of another queue, whose cause it has as well', (t) => {
  const it = card();
  receiver(it);
  it.write(r.RDTR, 100);
  it.write(r.RSRPD, 70);
  const [long, small] = [frameFor(0, 40), frameFor(1, 0)];
  it.receive.frame(long, 0, long.length, 0, ORDINARY);
  t.is(it.causes(), 0);
  it.receive.frame(small, 0, small.length, 0, ORDINARY);
  t.is(it.causes() & (RX_QUEUES[0]! | RX_QUEUES[1]!), RX_QUEUES[0]! | RX_QUEUES[1]!);
});

test('a state has each queue’s, and is refused where there are more or fewer', (t) => {
  const it = card();
  transmitter(it);
  post(it, 1, 0, ethernet({ length: 100 }));
  it.words[1]![RING / 4 + 2] = (100 | (IFCS << 24)) >>> 0;
  it.write(r.TDT, 1, 1);
  const state = structuredClone(it.transmit.state.save());
  const other = card();
  restore(other.transmit.state, state, 'transmit');
  t.deepEqual(other.transmit.state.save(), state);
  t.throws(() => restore(other.transmit.state, { ...state, queues: state.queues.slice(1) }, 'transmit'), {
    message: 'transmit.queues: 1 elements, not 2',
  });
});
