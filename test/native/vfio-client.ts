import { closeSync, readSync } from 'node:fs';
import { connectUnix, END, receivedDescriptors, type UnixSocket } from '../../native/index.ts';

export const COMMAND = {
  version: 1,
  map: 2,
  unmap: 3,
  deviceInfo: 4,
  regionInfo: 5,
  regionFds: 6,
  irqInfo: 7,
  setIrqs: 8,
  read: 9,
  write: 10,
  dmaRead: 11,
  dmaWrite: 12,
  reset: 13,
  writeMulti: 15,
} as const;

export interface Reply {
  readonly id: number;
  readonly command: number;
  readonly flags: number;
  readonly error: number;
  readonly payload: Buffer;
}

/** Fields one after another: [bits, value]. */
export function fields(...parts: readonly (readonly [8 | 16 | 32 | 64, number])[]): Buffer {
  return Buffer.concat(
    parts.map(([bits, value]) => {
      const bytes = Buffer.alloc(bits / 8);
      if (bits === 64) bytes.writeBigUInt64LE(BigInt(value));
      else bytes.writeUIntLE(value, 0, bits / 8);
      return bytes;
    }),
  );
}

const u32s = (...values: number[]) => fields(...values.map((value) => [32, value] as const));

interface MapRequest {
  fd?: number;
  offset?: number;
  flags?: number;
  fds?: number[];
}

/** A vfio-user client that says just what it is told to, right or wrong. */
export class Client {
  readonly socket: UnixSocket;
  /** Deals with the server's own requests; without it they are a reply to nothing. */
  onRequest: ((request: Reply) => void) | null = null;
  #id = 0;

  constructor(path: string) {
    this.socket = connectUnix(path);
  }

  /** Introduces itself. */
  static async connected(path: string): Promise<Client> {
    const client = new Client(path);
    await client.version();
    return client;
  }

  close(): void {
    this.socket.close();
  }

  raw(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.socket.send(bytes, 0, bytes.length, Int32Array.from(fds));
  }

  /** Sends a message, whose header may lie about its size; returns its id. */
  send(command: number, payload: Uint8Array = new Uint8Array(0), { fds = [] as number[], flags = 0, size = -1 } = {}) {
    const id = this.#id++ & 0xffff;
    const length = size < 0 ? 16 + payload.length : size;
    const header = Buffer.concat([fields([16, id], [16, command]), u32s(length, flags, 0)]);
    this.raw(Buffer.concat([header, payload]), fds);
    return id;
  }

  /** The next reply; null where the server has closed. */
  async reply(): Promise<Reply | null> {
    for (;;) {
      const message = await this.#next();
      if (message === null || (message.flags & 0xf) !== 0 || this.onRequest === null) return message;
      this.onRequest(message);
    }
  }

  async #next(): Promise<Reply | null> {
    const header = await this.#exactly(16);
    if (header === null) return null;
    const payload = await this.#exactly(header.readUInt32LE(4) - 16);
    return {
      id: header.readUInt16LE(0),
      command: header.readUInt16LE(2),
      flags: header.readUInt32LE(8),
      error: header.readUInt32LE(12),
      payload: payload ?? Buffer.alloc(0),
    };
  }

  async #exactly(length: number): Promise<Buffer | null> {
    const bytes = Buffer.alloc(length);
    const fds = receivedDescriptors(1);
    const deadline = Date.now() + 10_000;
    for (let got = 0; got < length; ) {
      const part = this.socket.receive(bytes, got, length - got, fds);
      if (part === END) return null;
      got += part;
      if (part === 0) await new Promise((resolve) => setImmediate(resolve));
      if (Date.now() > deadline) throw new Error(`10 s without a reply of ${length} bytes`);
    }
    return bytes;
  }

  /** Answers one of the server's requests. */
  answer({ id, command }: Reply, payload: Uint8Array, error = 0): void {
    const header = [fields([16, id], [16, command]), u32s(16 + payload.length, error === 0 ? 1 : 0x21, error)];
    this.raw(Buffer.concat([...header, payload]));
  }

  /** Offers `bytes` at `base` to DMA by message; returns the commands that came. */
  serveDma(base: number, bytes: Buffer): { command: number; address: number; count: number }[] {
    const seen: { command: number; address: number; count: number }[] = [];
    this.onRequest = (request) => {
      const address = Number(request.payload.readBigUInt64LE(0));
      const count = Number(request.payload.readBigUInt64LE(8));
      const { command, payload } = request;
      seen.push({ command, address, count });
      const access = payload.subarray(0, 16);
      const at = address - base;
      if (at < 0 || at + count > bytes.length) this.answer(request, Buffer.alloc(0), 14);
      else if (command === COMMAND.dmaRead)
        this.answer(request, Buffer.concat([access, bytes.subarray(at, at + count)]));
      else {
        payload.copy(bytes, at, 16);
        this.answer(request, access);
      }
    };
    return seen;
  }

  async ask(...args: Parameters<Client['send']>): Promise<Reply> {
    const id = this.send(...args);
    const reply = await this.reply();
    if (reply === null) throw new Error('the server closed the connection');
    if (reply.id !== id || reply.command !== args[0]) throw new Error(`another request's reply: ${reply.command}`);
    return reply;
  }

  /** The error that a request is answered with; 0 for none. */
  async error(...args: Parameters<Client['send']>): Promise<number> {
    const { flags, error, payload } = await this.ask(...args);
    if ((flags & 0x20) !== 0 && payload.length > 0) throw new Error('an error with a payload');
    return (flags & 0x20) !== 0 ? error : 0;
  }

  async version(most = 1 << 20): Promise<Reply> {
    const data = { capabilities: { max_msg_fds: 16, max_data_xfer_size: most, migration: { pgsize: 4096 } } };
    return this.ask(
      COMMAND.version,
      Buffer.concat([fields([16, 0], [16, 1]), Buffer.from(`${JSON.stringify(data)}\0`)]),
    );
  }

  map(address: number, size: number, { fd = -1, offset = 0, flags = 3, fds }: MapRequest = {}) {
    const payload = Buffer.concat([u32s(32, flags), fields([64, offset], [64, address], [64, size])]);
    return this.error(COMMAND.map, payload, { fds: fds ?? (fd < 0 ? [] : [fd]) });
  }

  unmap(address: number, size: number, flags = 0) {
    return this.error(COMMAND.unmap, unmapping(address, size, flags));
  }

  /** How many bytes were mapped there, by the reply; or the error. */
  async unmapped(address: number, size: number, flags = 0): Promise<number | string> {
    const { error, payload } = await this.ask(COMMAND.unmap, unmapping(address, size, flags));
    return error === 0 ? Number(payload.readBigUInt64LE(16)) : `errno ${error}`;
  }

  async read(region: number, offset: number, count = 4): Promise<number> {
    const { payload, error } = await this.ask(COMMAND.read, access(region, offset, count));
    if (error !== 0) throw new Error(`errno ${error}`);
    return payload.readUIntLE(16, count);
  }

  write(region: number, offset: number, value: number, count = 4): Promise<number> {
    return this.error(COMMAND.write, written(region, offset, value, count));
  }

  /** A write without a reply. */
  post(region: number, offset: number, value: number, count = 4): void {
    this.send(COMMAND.write, written(region, offset, value, count), { flags: 0x10 });
  }

  setIrqs(
    flags: number,
    index: number,
    start: number,
    count: number,
    { fds = [] as number[], data = [] as number[] } = {},
  ) {
    const payload = Buffer.concat([u32s(20 + data.length, flags, index, start, count), Buffer.from(data)]);
    return this.error(COMMAND.setIrqs, payload, { fds });
  }
}

function unmapping(address: number, size: number, flags: number): Buffer {
  return Buffer.concat([u32s(24, flags), fields([64, address], [64, size])]);
}

export function access(region: number, offset: number, count: number): Buffer {
  return fields([64, offset], [32, region], [32, count]);
}

export function written(region: number, offset: number, value: number, count: number): Buffer {
  const data = Buffer.alloc(count);
  data.writeUIntLE(value, 0, count);
  return Buffer.concat([access(region, offset, count), data]);
}

/** How often an eventfd was signalled since it was asked last. */
export function signals(eventfd: number): number {
  const count = Buffer.alloc(8);
  try {
    readSync(eventfd, count);
    return Number(count.readBigUInt64LE());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}

export function closeAll(...fds: number[]): void {
  for (const fd of fds) closeSync(fd);
}
