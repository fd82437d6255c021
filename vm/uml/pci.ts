/**
 * A PCI function behind a virtqueue, as UML's virt-pci has it (linux/virtio_pcidev.h): queue 0 has the kernel's accesses,
 * queue 1 buffers for interrupts. Everything in them is hostile input: what makes no sense is given back unanswered, and
 * counted by name.
 */
import type { PciFunction } from '../../sim/pci/function.ts';
import { count, type Line, type VirtioDevice } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

/** The number in the kernel's configuration (vm/kernel/uml.config): none has been assigned. */
export const PCI_DEVICE_ID = 1234;

const HEADER = 16; // operation, BAR, two reserved, size (4), address (8)
const CFG_READ = 1;
const CFG_WRITE = 2;
const MMIO_READ = 3;
const MMIO_WRITE = 4;
const MMIO_MEMSET = 5;
const INT = 6;
const MSI = 7;

/** The longest access: memcpy_fromio and its like bring what a caller wants. */
const ACCESS_MOST = 65536;
/** Messages that wait for a buffer; the kernel has ten, and a vector that waits already waits once. */
const WAITING_MOST = 64;
const INTX_WAITING = -1;

const COMMANDS = 0;
const INTERRUPTS = 1;

export class PciOverVirtio implements VirtioDevice {
  readonly id = PCI_DEVICE_ID;
  readonly queues = 2;
  readonly features = 0;
  readonly config = new Uint8Array(0);
  readonly refused: Record<string, number> = {};
  accesses = 0;
  readonly #model: () => PciFunction;
  readonly #pending: () => void;
  #line: Line | null = null;
  /** The data of messages, or INTX_WAITING. */
  readonly #waiting: number[] = [];
  readonly #bytes = new Uint8Array(HEADER + ACCESS_MOST);
  readonly #view = new DataView(this.#bytes.buffer);

  /** @param model what is served; it is asked for after the device was made. @param pending see Surroundings. */
  constructor(model: () => PciFunction, pending: () => void) {
    this.#model = model;
    this.#pending = pending;
  }

  attach(line: Line): void {
    this.#line = line;
    this.#waiting.length = 0;
  }

  detach(): void {
    this.#line = null;
    this.#model().reset('bus');
  }

  // ---- Interrupts -----------------------------------------------------------------------------------------------------

  /** INTA#: a message for each rising edge. */
  intx(asserted: boolean): void {
    if (asserted) this.#interrupt(INTX_WAITING);
  }

  /** @param data as the kernel programmed it: its own number for the interrupt. */
  message(data: number): void {
    this.#interrupt(data);
  }

  #interrupt(what: number): void {
    if (this.#line === null || this.#waiting.includes(what)) return;
    if (this.#waiting.length === WAITING_MOST) {
      count(this.refused, 'interrupts without a buffer');
      return;
    }
    this.#waiting.push(what);
    this.#pending();
  }

  deliver(): void {
    const queue = this.#line?.queues[INTERRUPTS];
    if (queue === undefined || !queue.ready || this.#waiting.length === 0) return;
    let given = 0;
    for (const what of this.#waiting) {
      const head = queue.take();
      if (head < 0) break;
      queue.give(head, this.#putInterrupt(queue, what));
      given++;
    }
    this.#waiting.splice(0, given);
    if (given > 0) this.#line!.call(INTERRUPTS);
  }

  /** Returns the bytes that it took; 0 where the buffer has no room for them. */
  #putInterrupt(queue: Virtqueue, what: number): number {
    const view = this.#view;
    const isMessage = what !== INTX_WAITING;
    view.setUint32(0, isMessage ? MSI : INT, true);
    view.setUint32(4, isMessage ? 4 : 0, true);
    view.setUint32(8, isMessage ? 0xa0000 : 1, true);
    view.setUint32(12, 0, true);
    view.setUint32(16, isMessage ? what : 0, true);
    const length = isMessage ? HEADER + 4 : HEADER;
    if (this.#scatter(queue, 0, length)) return length;
    count(this.refused, 'interrupt buffers too short');
    return 0;
  }

  // ---- Accesses -------------------------------------------------------------------------------------------------------

  kicked(index: number): void {
    if (index === INTERRUPTS) this.deliver();
    else this.#serve(this.#line!.queues[COMMANDS]!);
  }

  /**
   * As many as were waiting: what comes meanwhile comes with a kick of its own. The kernel is not told of what it is given
   * back: it waits for a read, and looks for posted writes when it needs their room (vm/patches/uml).
   */
  #serve(queue: Virtqueue): void {
    for (let left = queue.waiting; left > 0; left--) {
      const head = queue.take();
      if (head < 0) {
        count(this.refused, 'chains that make no sense');
        return;
      }
      queue.give(head, this.#access(queue));
    }
  }

  /** Returns the bytes that it answered with. */
  #access(queue: Virtqueue): number {
    this.accesses++;
    const came = this.#gather(queue);
    if (came < HEADER) return this.#refuse('commands too short');
    const view = this.#view;
    const operation = view.getUint8(0);
    const bar = view.getUint8(1);
    const size = view.getUint32(4, true);
    const at = view.getUint32(8, true);
    if (view.getUint32(12, true) !== 0 || size > ACCESS_MOST) return this.#refuse('accesses out of range');
    switch (operation) {
      case CFG_READ:
      case MMIO_READ:
        this.#read(operation === CFG_READ, bar, at, size);
        return this.#scatter(queue, HEADER, size) ? size : this.#refuse('answers without room');
      case CFG_WRITE:
      case MMIO_WRITE:
        if (came - HEADER < size) return this.#refuse('writes without data');
        this.#write(operation === CFG_WRITE, bar, at, size);
        return 0;
      case MMIO_MEMSET:
        if (came === HEADER) return this.#refuse('writes without data');
        this.#bytes.fill(this.#bytes[HEADER]!, HEADER, HEADER + size);
        this.#write(false, bar, at, size);
        return 0;
      default:
        return this.#refuse('unknown operations');
    }
  }

  #refuse(what: string): 0 {
    count(this.refused, what);
    return 0;
  }

  #read(config: boolean, bar: number, at: number, size: number): void {
    const model = this.#model();
    for (let done = 0; done < size; ) {
      const width = widthAt(at + done, size - done);
      const value = config ? model.config.read(at + done, width) : model.readBar(bar, at + done, width);
      this.#put(HEADER + done, width, value);
      done += width;
    }
  }

  #write(config: boolean, bar: number, at: number, size: number): void {
    const model = this.#model();
    for (let done = 0; done < size; ) {
      const width = widthAt(at + done, size - done);
      const value = this.#get(HEADER + done, width);
      if (config) model.config.write(at + done, width, value);
      else model.writeBar(bar, at + done, width, value);
      done += width;
    }
  }

  #get(at: number, width: 1 | 2 | 4): number {
    const view = this.#view;
    return width === 4 ? view.getUint32(at, true) : width === 2 ? view.getUint16(at, true) : view.getUint8(at);
  }

  #put(at: number, width: 1 | 2 | 4, value: number): void {
    const view = this.#view;
    if (width === 4) view.setUint32(at, value, true);
    else if (width === 2) view.setUint16(at, value, true);
    else view.setUint8(at, value);
  }

  /** Copies what the kernel sent into the buffer; returns how much that was, 0 where it is not in memory. */
  #gather(queue: Virtqueue): number {
    let came = 0;
    for (let i = 0; i < queue.count && queue.writable[i] === 0; i++) {
      const mapping = queue.mapping(i);
      const length = queue.lengths[i]!;
      if (mapping === null || came + length > this.#bytes.length) return 0;
      const from = queue.addresses[i]! - mapping.start;
      if (length <= SHORT) for (let k = 0; k < length; k++) this.#bytes[came + k] = mapping.bytes[from + k]!;
      else this.#bytes.set(mapping.bytes.subarray(from, from + length), came);
      came += length;
    }
    return came;
  }

  /** Copies the buffer from `at` to where the kernel wants the answer; false where there is no room for it. */
  #scatter(queue: Virtqueue, at: number, length: number): boolean {
    let done = 0;
    for (let i = 0; i < queue.count && done < length; i++) {
      if (queue.writable[i] === 0) continue;
      const mapping = queue.mapping(i);
      if (mapping === null || !mapping.writable) return false;
      const to = queue.addresses[i]! - mapping.start;
      const part = Math.min(queue.lengths[i]!, length - done);
      if (part <= SHORT) for (let k = 0; k < part; k++) mapping.bytes[to + k] = this.#bytes[at + done + k]!;
      else mapping.bytes.set(this.#bytes.subarray(at + done, at + done + part), to);
      done += part;
    }
    return done === length;
  }
}

/** Below it a loop is quicker than a view made for the copy. */
const SHORT = 64;

/** The widest access that is aligned there and has as many bytes left. */
function widthAt(offset: number, left: number): 1 | 2 | 4 {
  if (offset % 4 === 0 && left >= 4) return 4;
  return offset % 2 === 0 && left >= 2 ? 2 : 1;
}
