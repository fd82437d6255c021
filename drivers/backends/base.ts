/** What every backend does alike: accesses by width, requests for interrupts, and what a closed device answers. */
import { DeviceError, type InterruptMode, type Interrupts, type RegisterSpace } from '../device.ts';

/** Bytes of an access. */
export type Width = 1 | 2 | 4;

/** What is read where nobody answers. */
export const ones = (width: Width): number => 0xffffffff >>> (32 - 8 * width);

/** What a width holds of a value. */
export const clip = (value: number, width: Width): number => (value & ones(width)) >>> 0;

export function closedError(what = 'the device'): DeviceError {
  return new DeviceError('CLOSED', `${what} is closed: open it again`);
}

/** By its width. */
export function readFrom(space: RegisterSpace, at: number, width: Width): number {
  return width === 4 ? space.read32(at) : width === 2 ? space.read16(at) : space.read8(at);
}

/** The same for a write. */
export function writeTo(space: RegisterSpace, at: number, width: Width, value: number): void {
  if (width === 4) space.write32(at, value);
  else if (width === 2) space.write16(at, value);
  else space.write8(at, value);
}

/** What says so once it is closed. */
abstract class Closable {
  protected closed = false;

  protected check(): void {
    if (this.closed) throw closedError();
  }
}

/** A register space whose reads, and writes, differ by width alone. */
export abstract class SpaceBase extends Closable implements RegisterSpace {
  abstract readonly size: number;
  protected abstract read(offset: number, width: Width): number;
  protected abstract write(offset: number, width: Width, value: number): void;

  read8(offset: number): number {
    return this.read(offset, 1);
  }

  read16(offset: number): number {
    return this.read(offset, 2);
  }

  read32(offset: number): number {
    return this.read(offset, 4);
  }

  write8(offset: number, value: number): void {
    this.write(offset, 1, value);
  }

  write16(offset: number, value: number): void {
    this.write(offset, 2, value);
  }

  write32(offset: number, value: number): void {
    this.write(offset, 4, value);
  }
}

/** Interrupts with a handler a vector. */
export abstract class InterruptsBase extends Closable implements Interrupts {
  abstract readonly available: Readonly<Record<InterruptMode, number>>;
  protected handlers: ((() => void) | undefined)[] = [];

  /** @throws DeviceError 'UNSUPPORTED' where the function has not so many vectors of this kind. */
  enable(mode: InterruptMode, count: number): void {
    this.check();
    const most = this.available[mode];
    if (!Number.isInteger(count) || count < 1 || count > most)
      throw new DeviceError('UNSUPPORTED', `${count} ${mode} vectors: the function has ${most}`);
    this.disable();
    this.turnOn(mode, count);
  }

  protected abstract turnOn(mode: InterruptMode, count: number): void;
  /** Turns interrupts off; handlers stay, what is pending or masked is forgotten. */
  abstract disable(): void;
  /** Holds a vector that is in use back, or no longer. */
  protected abstract hold(vector: number, back: boolean): void;

  mask(vector: number): void {
    this.check();
    this.hold(vector, true);
  }

  unmask(vector: number): void {
    this.check();
    this.hold(vector, false);
  }

  on(vector: number, handler: () => void): void {
    this.check();
    this.handlers[vector] = handler;
  }

  /** Idempotent. */
  close(): void {
    if (this.closed) return;
    this.disable();
    this.handlers = [];
    this.closed = true;
  }
}
