/** A virtio console (Virtio 1.2, section 5.3) with one port: a serial line, /dev/hvcN in the kernel. */
import { count, type Line, type VirtioDevice } from './device.ts';

const RECEIVE = 0;
const TRANSMIT = 1;
/** Bytes that wait for the kernel to read them. */
const INPUT_MOST = 1 << 20;

export class ConsoleLine implements VirtioDevice {
  readonly id = 3;
  readonly queues = 2;
  readonly features = 0;
  readonly config = new Uint8Array(0);
  readonly refused: Record<string, number> = {};
  readonly #output: (chunk: Buffer) => void;
  readonly #pending: () => void;
  #line: Line | null = null;
  #input: Uint8Array = new Uint8Array(0);

  /** @param output gets what the kernel writes, in its order. @param pending see Surroundings. */
  constructor(output: (chunk: Buffer) => void, pending: () => void) {
    this.#output = output;
    this.#pending = pending;
  }

  attach(line: Line): void {
    this.#line = line;
  }

  detach(): void {
    this.#line = null;
    this.#input = new Uint8Array(0);
  }

  /** For the kernel to read. */
  write(bytes: Uint8Array): void {
    if (this.#input.length + bytes.length > INPUT_MOST) {
      count(this.refused, 'input that nobody reads');
      return;
    }
    this.#input = Buffer.concat([this.#input, bytes]);
    this.#pending();
  }

  kicked(index: number): void {
    if (index === TRANSMIT) this.#transmit();
    else if (this.#input.length > 0) this.#pending();
  }

  #transmit(): void {
    const queue = this.#line!.queues[TRANSMIT]!;
    for (let left = queue.waiting; left > 0; left--) {
      const head = queue.take();
      if (head < 0) {
        count(this.refused, 'chains that make no sense');
        return;
      }
      for (let i = 0; i < queue.count; i++) {
        const mapping = queue.mapping(i);
        if (mapping === null || queue.writable[i] === 1) {
          count(this.refused, 'buffers that are not in memory');
          continue;
        }
        const from = queue.addresses[i]! - mapping.start;
        this.#output(Buffer.from(mapping.bytes.subarray(from, from + queue.lengths[i]!)));
      }
      queue.give(head, 0);
    }
  }

  deliver(): void {
    const queue = this.#line?.queues[RECEIVE];
    if (queue === undefined || !queue.ready) return;
    let given = false;
    while (this.#input.length > 0) {
      const head = queue.take();
      if (head < 0) break;
      const mapping = queue.mapping(0);
      if (mapping === null || queue.writable[0] === 0) {
        count(this.refused, 'buffers that are not in memory');
        queue.give(head, 0);
        continue;
      }
      const part = Math.min(queue.lengths[0]!, this.#input.length);
      mapping.bytes.set(this.#input.subarray(0, part), queue.addresses[0]! - mapping.start);
      this.#input = this.#input.subarray(part);
      queue.give(head, part);
      given = true;
    }
    if (given) this.#line!.call(RECEIVE);
  }
}
