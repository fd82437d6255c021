/** One of two cards that are driven alike: a model, or a device of QEMU's; each in virtual time, with its wire. */
import { runFor } from '../../drivers/backends/clock-steps.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import type { DeviceError } from '../../drivers/device.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import type { RegisterMap } from '../../sim/registers.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';
import type { Progress } from '../../vm/progress.ts';
import { findQemu } from '../../vm/qemu.ts';
import { openStepped } from '../../vm/qtest/wired.ts';
import { EXAMPLE, familyOf, familyOfQemu, findModel } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import type { Family, Model } from '../families/family.ts';
import { type Lockstep, MAC, type Side } from './step.ts';

const QEMU = 'qemu:';

/** Who can play both, and the registers by which differences are named: the first model's of the two. */
export function playersOf(targets: readonly [string, string]): { lockstep: Lockstep; map: RegisterMap } {
  const families = targets.map(familyNamed);
  const [first, second] = families;
  if (first !== second)
    throw new UsageError(`${targets.join(' and ')} are not of one family: nothing drives both alike`);
  const [model = first!.models[0]] = targets.flatMap((target) => modelOf(target) ?? []);
  if (first!.lockstep === undefined || model === undefined)
    throw new UsageError(`the ${first!.name} family has no script to drive two cards alike`);
  return { lockstep: first!.lockstep, map: model.registers };
}

function familyNamed(target: string): Family {
  const model = modelOf(target);
  if (model !== null) return familyOf(model);
  const device = deviceOf(target);
  const family = familyOfQemu(device);
  if (family !== undefined) return family;
  throw new UsageError(`qemu:${device} is of no family that is known here`);
}

/** "MODEL" and "sim:MODEL" are a model; "qemu:…" is none. */
function modelOf(target: string): Model | null {
  return target.startsWith(QEMU) ? null : findModel(target.replace(/^sim:/, ''));
}

function deviceOf(target: string): string {
  const device = target.slice(QEMU.length);
  if (device === '') throw new UsageError(`qemu: of what device? As in qemu:${EXAMPLE.qemu}, please`);
  return device;
}

export async function openSide(target: string, progress?: Progress): Promise<Side> {
  const model = modelOf(target);
  if (model !== null) return openModel(model);
  const device = deviceOf(target);
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
