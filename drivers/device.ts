/**
 * The narrow waist: what a driver may do with a PCI function. Drivers are written against this page alone; every backend
 * (a model in this process, a device over vfio-user, QEMU's own, the card in the slot) implements it whole.
 *
 * Lifecycle: open → (reset) → use → close. `close` first turns bus mastering off, so that no device writes to memory that
 * is about to go, then interrupts, then memory. After it every method throws DeviceError 'CLOSED'.
 */

export interface PciId {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

/** A space of registers: a BAR, or configuration space. Little-endian, offsets in bytes, naturally aligned. Synchronous. */
export interface RegisterSpace {
  readonly size: number;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
}

/** Memory that the driver and the device both see. Zeroed when allocated; contiguous for the device. */
export interface DmaMemory {
  /** Where the device sees it: below 2^31, so that it stays a small integer. */
  readonly iova: number;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array; // the same memory
  free(): void;
}

export interface DmaAllocator {
  /**
   * @param align a power of two, at least 4.
   * @throws DeviceError 'NO_MEMORY' where the backend's DMA memory is used up.
   */
  alloc(bytes: number, align: number): DmaMemory;
  /** Bytes allocated now. */
  readonly used: number;
}

export type InterruptMode = 'msix' | 'msi' | 'intx';

/** Interrupts of the function. Handlers run from the event loop (or the clock), never from within a register access. */
export interface Interrupts {
  /** How many vectors each mode offers; 0 where the function lacks it. */
  readonly available: Readonly<Record<InterruptMode, number>>;
  /**
   * Programs the capability and turns it on. Vectors are 0 … count-1; INTx is vector 0, and being level-triggered it is
   * raised again after the handler returns for as long as the device asserts it.
   * @throws DeviceError 'UNSUPPORTED' where the function has not so many vectors of this kind.
   */
  enable(mode: InterruptMode, count: number): void;
  disable(): void;
  on(vector: number, handler: () => void): void;
  /** Holds a vector back at the host; what arrives meanwhile is delivered once on unmask. */
  mask(vector: number): void;
  unmask(vector: number): void;
}

/** In nanoseconds, as all of a device's times. */
export const MILLISECOND = 1_000_000;

/** Time as this device lives it: the machine's for hardware, the model's clock for a model. */
export interface DeviceTime {
  /** Nanoseconds, monotonic. */
  now(): number;
  /** Resolves once `ns` have passed. For bring-up; never on the packet path. */
  delay(ns: number): Promise<void>;
  /** Calls back every `ns` until stopped. */
  every(ns: number, action: () => void): { stop(): void };
}

export interface PciDevice {
  /** As on the command line: "sim:e1000". */
  readonly name: string;
  readonly id: PciId;
  readonly config: RegisterSpace;
  /** @throws DeviceError 'UNSUPPORTED' where the function has no such BAR. */
  bar(index: number): RegisterSpace;
  readonly dma: DmaAllocator;
  readonly interrupts: Interrupts;
  readonly time: DeviceTime;
  /** Memory, I/O and bus-master enable in the command register. */
  enable(on: { memory?: boolean; io?: boolean; busMaster?: boolean }): void;
  /** A function-level (or the backend's nearest) reset. Configuration space goes back to its reset values, save the BARs. */
  reset(): void;
  /** Idempotent. */
  close(): void;
}

export type DeviceErrorCode = 'CLOSED' | 'UNSUPPORTED' | 'NO_MEMORY' | 'TIMEOUT' | 'BAD_NVM' | 'INVALID' | 'FAILED';

/** What can go wrong between a driver and its device. The message is one line, for a person, and says how to mend it. */
export class DeviceError extends Error {
  readonly code: DeviceErrorCode;

  constructor(code: DeviceErrorCode, message: string) {
    super(message);
    this.name = 'DeviceError';
    this.code = code;
  }
}
