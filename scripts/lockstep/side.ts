/** One of two cards that are driven alike: a model, or a device of QEMU's; each in virtual time, with its wire. */
import { runFor } from '../../drivers/backends/clock-steps.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import type { DeviceError, PciDevice } from '../../drivers/device.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import type { RegisterMap } from '../../sim/registers.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';
import type { Progress } from '../../vm/progress.ts';
import { findQemu } from '../../vm/qemu.ts';
import { openStepped } from '../../vm/qtest/wired.ts';
import { findModel, MODELS, type Model } from '../catalogue.ts';
import { UsageError } from '../errors.ts';

export interface Side {
  /** As on the command line. */
  readonly name: string;
  readonly device: PciDevice;
  /** Towards the card. */
  send(frame: Uint8Array): void;
  /** The oldest frame from the card. */
  take(): Uint8Array | null;
  pass(ms: number): Promise<void>;
  close(): void;
  /** Why it has come to its end: what is read from then on means nothing. */
  readonly failure: DeviceError | null;
}

/** The address in both cards' NVM. */
export const MAC = Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, 0x01);

/** The registers by which differences are named: the first model's of the two. */
export function registersOf(targets: readonly string[]): RegisterMap {
  const model = targets.map(modelOf).find((it) => it !== null);
  return (model ?? MODELS[0]!).registers;
}

/** "e1000" and "sim:e1000" are a model; "qemu:…" is none. */
function modelOf(target: string): Model | null {
  return target.startsWith('qemu:') ? null : findModel(target.replace(/^sim:/, ''));
}

export async function openSide(target: string, progress?: Progress): Promise<Side> {
  const model = modelOf(target);
  if (model !== null) return openModel(model);
  const device = target.slice('qemu:'.length);
  if (device === '') throw new UsageError('qemu: of what device? As in qemu:e1000, please');
  let failure: DeviceError | null = null;
  const onEnd = (error: DeviceError) => {
    failure = error;
  };
  const wired = await openStepped(device, { qemu: await findQemu(progress), mac: MAC, progress, onEnd });
  return {
    name: target,
    device: wired.device,
    send: (frame) => void wired.stream.send(frame),
    take: () => wired.stream.take()?.bytes ?? null,
    pass: (ms) => wired.pass(ms),
    close: () => wired.close(),
    get failure() {
      return failure;
    },
  };
}

export function openModel(model: Pick<Model, 'name' | 'make'>): Side {
  const clock = new Clock();
  let port!: Port;
  const name = `sim:${model.name}`;
  const device = openSim(
    (host) => {
      const card = model.make(host, { name: model.name, mac: MAC });
      port = card.port;
      return card;
    },
    { name, clock },
  );
  const link = new Link(clock);
  const peer = new HostPort('peer');
  link.plug(port);
  link.plug(peer);
  return {
    name,
    device,
    send: (frame) => void peer.send(frame),
    take: () => peer.take()?.bytes ?? null,
    pass: (ms) => runFor(clock, ms * MILLISECOND),
    close: () => device.close(),
    failure: null,
  };
}
