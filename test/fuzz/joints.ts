/** What a card's frames are joined to, each with one way to ask whether frames still pass. */
import type { DmaAllocator } from '../../drivers/device.ts';
import { Echo } from '../../drivers/join/echo.ts';
import { Forward } from '../../drivers/join/forward.ts';
import { Generator, Sink } from '../../drivers/join/generator.ts';
import { TapJoin } from '../../drivers/join/tap-join.ts';
import type { NetDriver } from '../../drivers/net-driver.ts';
import type { PacketBuffer } from '../../drivers/packet.ts';
import { type Alarm, type Clock, MILLISECOND } from '../../sim/clock.ts';
import { FakeNetDevice } from '../util/fake-netdev.ts';
import { FakeTap } from '../util/fake-tap.ts';

export interface Joint {
  /** Frames that came through from the card. */
  received(): number;
  /** Has the card send a frame. */
  send(frame: Uint8Array): void;
  close(): void;
  /** Memory back, once the driver has stopped. */
  release?(): void;
}

export interface Joining {
  readonly driver: NetDriver;
  readonly dma: DmaAllocator;
  readonly clock: Clock;
  readonly failed: (error: unknown) => void;
}

export const JOINTS: Readonly<Record<string, (joining: Joining) => Joint>> = {
  none: byHand,
  tap: ({ driver, failed }) => {
    const tap = new FakeTap();
    const join = new TapJoin({ device: driver, tap, watch: tap.watch, failed });
    join.start();
    return { received: () => tap.got.length, send: (frame) => tap.send(frame), close: () => join.close() };
  },
  echo: ({ driver, failed }) => {
    const join = new Echo(driver, { failed });
    join.start();
    return { received: () => join.statistics.answered, send: () => {}, close: () => join.close() };
  },
  forward: ({ driver, failed }) => {
    const other = new FakeNetDevice();
    const join = new Forward(driver, other, { failed });
    join.start();
    return {
      received: () => join.directions[0].statistics.forwarded,
      send: (frame) => other.arriveBytes(frame),
      close: () => join.close(),
    };
  },
  generator: ({ driver, dma, clock, failed }) => {
    const now = () => clock.now;
    const sink = new Sink(now);
    timersOf(clock);
    const rate = { packetsPerSecond: 1000 };
    const join = new Generator({ device: driver, dma, now, sink, rate, failed });
    join.start();
    return {
      received: () => sink.received + sink.foreign,
      send: () => {},
      close: () => join.stop(),
      release: () => join.close(),
    };
  },
};

/** A generator paces itself by the machine's timers: here they are the card's, so that a run repeats. */
function timersOf(clock: Clock): void {
  const start = (action: () => void, ms: number) => {
    const alarm = clock.alarm(action);
    alarm.in(ms * MILLISECOND);
    return alarm;
  };
  Object.assign(globalThis, { setTimeout: start, clearTimeout: (alarm: Alarm) => alarm.cancel() });
}

/** Somebody who polls. */
function byHand({ driver, failed }: Joining): Joint {
  const into: PacketBuffer[] = [];
  let count = 0;
  const attempt = (action: () => void) => {
    try {
      action();
    } catch (error) {
      failed(error);
    }
  };
  return {
    received: () => {
      attempt(() => {
        const got = driver.receive(into, 1024);
        count += got;
        for (let i = 0; i < got; i++) into[i]!.free();
      });
      return count;
    },
    send: (frame) => {
      const packet = driver.pool.take();
      if (packet === null) return;
      packet.bytes.set(frame, packet.start);
      packet.length = frame.length;
      packet.total = frame.length;
      packet.flags = 0;
      let taken = 0;
      attempt(() => {
        taken = driver.transmit([packet], 0, 1);
        driver.reclaim();
      });
      if (taken === 0) packet.free();
    },
    close: () => {},
  };
}
