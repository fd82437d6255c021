/**
 * Says to a server what nobody should, until it has said so many messages or so many seconds have passed:
 * `attacker.js SOCKET SEED MESSAGES SECONDS`. First comes the corpus; prints what it did as JSON.
 */
import { closeSync, ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { createEventfd, createMemfd, END, NativeError, receivedDescriptors } from '../../native/index.ts';
import { Client } from '../native/vfio-client.ts';
import { conversation, generator, type Said, spoilt } from './conversations.ts';

const [socket, seed, messages, seconds] = process.argv.slice(2) as [string, string, string, string];
const PAGE = 4096;
const MEMORY = 16 * PAGE;
const random = generator(Number(seed));
const counts = { messages: 0, conversations: 0, replies: 0 };
const inbox = Buffer.alloc(1 << 16);
const noFds = receivedDescriptors(0);
const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Descriptors that the conversation is about, and what is done to them in the midst of it. */
class Shared {
  readonly memory = createMemfd('guest', MEMORY);
  readonly eventfd = createEventfd();

  cut(): void {
    ftruncateSync(this.memory, random(2) * PAGE);
  }

  fill(): void {
    const full = Buffer.alloc(8, 0xff);
    full[0] = 0xfe;
    try {
      writeSync(this.eventfd, full);
    } catch {} // there is no room for so much
  }

  close(): void {
    closeSync(this.memory);
    closeSync(this.eventfd);
  }
}

/** Reads what has come; false at the connection's end. */
function listen(it: Client): boolean {
  for (;;) {
    const got = it.socket.receive(inbox, 0, inbox.length, noFds);
    if (got === END) return false;
    if (got === 0) return true;
    counts.replies++;
  }
}

/** Messages without descriptors may go together. */
function* batches(said: readonly Said[]): Generator<Said> {
  for (let i = 0; i < said.length; ) {
    const { fds } = said[i]!;
    const together = [said[i++]!.bytes];
    for (let most = random(32); most > 0 && i < said.length && said[i]!.fds.length === 0; most--)
      together.push(said[i++]!.bytes);
    counts.messages += together.length;
    yield { bytes: Buffer.concat(together), fds };
  }
}

/** The queue of clients may be full for a moment. */
async function connected(): Promise<Client> {
  for (;;) {
    try {
      return new Client(socket);
    } catch (error) {
      if (!(error instanceof NativeError) || error.code !== 'EAGAIN') throw error;
      await moment();
    }
  }
}

async function say(said: readonly Said[], meanwhile: () => void): Promise<void> {
  counts.conversations++;
  const it = await connected();
  try {
    for (const { bytes, fds } of batches(said)) {
      it.raw(bytes, fds);
      meanwhile();
      if (random(4) === 0) it.socket.wait(random(2));
      if (!listen(it)) break;
    }
    // It stays until all of it is served, for the most part.
    for (let more = random(8) > 0; more && it.socket.wait(3); ) more = listen(it);
  } catch (error) {
    // The server has had enough, or is busy with what was said.
    if (!(error instanceof NativeError) || !['EPIPE', 'ECONNRESET', 'ETIMEDOUT'].includes(error.code)) throw error;
  }
  it.close();
}

interface Found {
  readonly about: string;
  readonly said: readonly {
    readonly hex: string;
    readonly fds?: readonly ('memory' | 'eventfd')[];
    readonly times?: number;
  }[];
  readonly cut?: true;
}

const corpus = JSON.parse(readFileSync(new URL('./corpus/messages.json', sources()), 'utf8')) as Found[];

/** The corpus stays where the sources are. */
function sources(): URL {
  return new URL(import.meta.url.replace('/dist/test/', '/test/'));
}

for (const { said, cut } of corpus) {
  const shared = new Shared();
  const all = said.flatMap(({ hex, fds = [], times = 1 }) =>
    Array<Said>(times).fill({ bytes: Buffer.from(hex, 'hex'), fds: fds.map((name) => shared[name]) }),
  );
  await say(all, cut ? () => shared.cut() : () => {});
  shared.close();
}
const deadline = performance.now() + Number(seconds) * 1000;
while (counts.messages < Number(messages) && performance.now() < deadline) {
  const shared = new Shared();
  const right = conversation(shared.memory, shared.eventfd);
  const hostile = random(4) === 0 ? [() => shared.cut(), () => shared.fill()][random(2)]! : () => {};
  for (let i = 0; i < 16; i++)
    await say(spoilt(right, random, [shared.memory, shared.eventfd]), () => {
      if (random(20) === 0) hostile();
    });
  shared.close();
}
console.log(JSON.stringify(counts));
