/** A vfio-user server in a thread of its own that answers as it is told to: for tests of what a client must survive. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { END, listenUnix, receivedDescriptors, type UnixSocket } from '../../native/index.ts';

/** What is wrong with it. */
export type Fault =
  | 'none'
  | 'silent'
  | 'closes at once'
  | 'version 1'
  | 'capabilities are no JSON'
  | 'no PCI'
  | 'no configuration space'
  | 'huge message'
  | 'tiny message'
  | 'another id'
  | 'another command'
  | 'short reply'
  | 'refuses'
  | 'asks for ever'
  | 'asks first'
  | 'dies in a reply'
  | 'dribbles';

export interface Script {
  readonly path: string;
  readonly fault: Fault;
  /** From which request on: 1 is the first, the version; 0 stands for the first read of a BAR. */
  readonly from: number;
  /** With 'asks first': what it wants of the client before it answers. The answers are posted to whoever made it. */
  readonly asks?: readonly Ask[];
}

export interface Ask {
  readonly command: number;
  /** Low words of address and count, as DMA_READ and DMA_WRITE have them. */
  readonly address: number;
  readonly count: number;
  /** Behind them. */
  readonly data?: readonly number[];
  /** Header flags; 0 is a request that wants its reply. */
  readonly flags?: number;
}

/** Null where no reply was wanted, and none came before that to the next request. */
export interface Answer {
  readonly error: number;
  readonly payload: readonly number[];
}

const VERSION = 1;
const INFO = 4;
const REGION_INFO = 5;
const IRQ_INFO = 7;
const READ = 9;
const WRITE = 10;
const DMA_READ = 11;
const CONFIG = 7;

/** Listens once it returns. */
export async function fakeServer(script: Script): Promise<Worker> {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: script });
  await once(worker, 'message');
  return worker;
}

if (!isMainThread) void run(workerData as Script);

async function run({ path, fault, from, asks = [] }: Script): Promise<void> {
  const listener = listenUnix(path);
  parentPort!.postMessage('listening');
  let socket: UnixSocket | null = null;
  while (socket === null) {
    socket = listener.accept();
    await turn();
  }
  const bytes = Buffer.alloc(8192);
  for (let seen = 1, wrong = false; ; seen++) {
    const length = await message(socket, bytes);
    if (length === 0) return;
    const id = bytes.readUInt16LE(0);
    const command = bytes.readUInt16LE(2);
    const silent = (bytes.readUInt32LE(8) & 0x10) !== 0;
    const payload = answer(command, bytes.subarray(16, length), fault);
    if (silent) continue;
    wrong ||= from === 0 ? command === READ && bytes.readUInt32LE(24) !== CONFIG : seen >= from;
    if (wrong && fault === 'asks first') parentPort!.postMessage(await askAll(socket, asks));
    if (!wrong || fault === 'none' || fault === 'asks first') socket.send(framed(id, command, payload));
    else if (!(await misbehave(socket, fault, id, command, payload))) return;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

async function message(socket: UnixSocket, bytes: Buffer): Promise<number> {
  const fds = receivedDescriptors(0);
  for (let got = 0; ; ) {
    const length = got >= 16 ? bytes.readUInt32LE(4) : 16;
    if (got >= 16 && got === length) return length;
    const part = socket.receive(bytes, got, length - got, fds);
    if (part === END) return 0;
    got += part;
    if (part === 0) await turn();
  }
}

function framed(id: number, command: number, payload: Buffer, flags = 1, error = 0): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt16LE(id, 0);
  header.writeUInt16LE(command, 2);
  header.writeUInt32LE(16 + payload.length, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(error, 12);
  return Buffer.concat([header, payload]);
}

/** The payload of a right answer: a function with one BAR of 64 KiB, whose registers hold their own offsets. */
function answer(command: number, asked: Buffer, fault: Fault): Buffer {
  switch (command) {
    case VERSION: {
      const text = fault === 'capabilities are no JSON' ? '{"cap' : '{"capabilities":{"max_msg_fds":1}}';
      return Buffer.concat([Buffer.of(fault === 'version 1' ? 1 : 0, 0, 0, 0), Buffer.from(`${text}\0`)]);
    }
    case INFO:
      return words(16, fault === 'no PCI' ? 1 : 3, 9, 5);
    case REGION_INFO: {
      const index = asked.readUInt32LE(8);
      const size = index === 0 ? 65536 : index === CONFIG && fault !== 'no configuration space' ? 256 : 0;
      return words(32, 3, index, 0, size, 0, 0, 0);
    }
    case IRQ_INFO:
      return words(16, 1, asked.readUInt32LE(8), 1);
    case READ: {
      const data = Buffer.alloc(asked.readUInt32LE(12));
      if (asked.readUInt32LE(8) !== CONFIG) data.writeUIntLE(asked.readUInt32LE(0), 0, data.length);
      return Buffer.concat([asked, data]);
    }
    case WRITE:
      return asked.subarray(0, 16);
    default:
      return Buffer.alloc(0);
  }
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
}

/** False once the connection is at its end. */
async function misbehave(socket: UnixSocket, fault: Fault, id: number, command: number, payload: Buffer) {
  const right = framed(id, command, payload);
  switch (fault) {
    case 'silent':
      return true;
    case 'closes at once':
      socket.close();
      return false;
    case 'huge message':
      right.writeUInt32LE(0x7fffffff, 4);
      break;
    case 'tiny message':
      right.writeUInt32LE(15, 4);
      break;
    case 'another id':
      right.writeUInt16LE(id ^ 1, 0);
      break;
    case 'another command':
      right.writeUInt16LE(command + 1, 2);
      break;
    case 'short reply':
      socket.send(framed(id, command, payload.subarray(0, payload.length - 1)));
      return true;
    case 'refuses':
      socket.send(framed(id, command, Buffer.alloc(0), 0x21, 22));
      return true;
    case 'asks for ever':
      return askForEver(socket);
    case 'dies in a reply':
      socket.send(right, 0, right.length - 1);
      socket.close();
      return false;
    case 'dribbles':
      for (let i = 0; i < right.length - 1; i++) {
        socket.send(right, i, 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return true;
    case 'none':
    case 'asks first':
    case 'version 1':
    case 'capabilities are no JSON':
    case 'no PCI':
    case 'no configuration space':
      break; // the answer is wrong in itself
  }
  socket.send(right);
  return true;
}

async function askAll(socket: UnixSocket, asks: readonly Ask[]): Promise<(Answer | null)[]> {
  const bytes = Buffer.alloc(16384);
  const answers: (Answer | null)[] = [];
  for (const [i, { command, address, count, data = [], flags = 0 }] of asks.entries()) {
    socket.send(framed(100 + i, command, Buffer.concat([words(address, 0, count, 0), Buffer.from(data)]), flags));
    if ((flags & 0x10) !== 0) answers.push(null);
    else {
      const length = await message(socket, bytes);
      if (bytes.readUInt16LE(0) !== 100 + i) throw new Error(`an answer to ${bytes.readUInt16LE(0)}, not ${100 + i}`);
      answers.push({ error: bytes.readUInt32LE(12), payload: [...bytes.subarray(16, length)] });
    }
  }
  return answers;
}

/** Reads the client's memory instead of answering. */
async function askForEver(socket: UnixSocket): Promise<boolean> {
  const bytes = Buffer.alloc(8192);
  try {
    for (;;) {
      socket.send(framed(7, DMA_READ, words(0x0010_0000, 0, 4, 0), 0));
      if ((await message(socket, bytes)) === 0) return false;
    }
  } catch {
    return false; // it hung up
  }
}
