import { type Tap, type Watch, watch } from '../../native/index.ts';

/** Where fields lie in an Ethernet frame: IPv4 without options behind it. */
const ETHERTYPE = 12;
const IP = 14;
const ICMP = 34;
const SLOTS = 64;
const SLOT_BYTES = 68 * 1024;

/** A station at the far end of a TAP's cable, which answers ARP for every address and ICMP echo requests. */
export class Peer {
  readonly memory = new ArrayBuffer(SLOTS * SLOT_BYTES);
  readonly vec = new Int32Array(SLOTS * 3);
  readonly bytes = new Uint8Array(this.memory);
  readonly watch: Watch;
  readonly #tap: Tap;
  readonly #mac: Uint8Array;
  answered = 0;
  /** What was not answered, without virtio header. */
  readonly others: Uint8Array[] = [];

  constructor(tap: Tap, mac: Uint8Array) {
    this.#tap = tap;
    this.#mac = mac;
    this.watch = watch(tap.fd, { readable: () => this.#receive() });
    this.watch.start();
  }

  #receive(): void {
    for (let i = 0; i < SLOTS; i++) this.vec.set([i * SLOT_BYTES, SLOT_BYTES, 0], i * 3);
    const frames = this.#tap.read(this.memory, this.vec, SLOTS);
    for (let i = 0; i < frames; i++) this.#answer(this.vec[i * 3]!, this.vec[i * 3 + 2]!);
  }

  #answer(offset: number, length: number): void {
    const frame = this.bytes.subarray(offset + this.#tap.headerBytes, offset + length);
    if (!(answerArp(frame, this.#mac) || answerEcho(frame))) {
      this.others.push(frame.slice());
      return;
    }
    this.answered++;
    frame.copyWithin(0, 6, 12);
    frame.set(this.#mac, 6);
    this.bytes.fill(0, offset, offset + this.#tap.headerBytes);
    this.#tap.write(this.memory, Int32Array.of(offset, length, 0), 1);
  }
}

function answerArp(frame: Uint8Array, mac: Uint8Array): boolean {
  if (word(frame, ETHERTYPE) !== 0x0806 || word(frame, 20) !== 1) return false;
  const asked = frame.slice(38, 42);
  frame.copyWithin(32, 22, 32); // the asker becomes the target
  frame.set(mac, 22);
  frame.set(asked, 28);
  frame[21] = 2;
  return true;
}

function answerEcho(frame: Uint8Array): boolean {
  if (word(frame, ETHERTYPE) !== 0x0800 || frame[23] !== 1 || frame[ICMP] !== 8) return false;
  const from = frame.slice(26, 30);
  frame.copyWithin(26, 30, 34);
  frame.set(from, 30);
  frame[ICMP] = 0;
  setWord(frame, ICMP + 2, 0);
  setWord(frame, ICMP + 2, checksum(frame.subarray(ICMP, IP + word(frame, IP + 2))));
  return true;
}

/** An ICMP echo request with `payload`, as a frame without virtio header. */
export function echoRequest(to: Uint8Array, from: Uint8Array, toIp: number[], fromIp: number[], payload: Uint8Array) {
  const frame = new Uint8Array(ICMP + 8 + payload.length);
  frame.set(to);
  frame.set(from, 6);
  setWord(frame, ETHERTYPE, 0x0800);
  frame.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, ...fromIp, ...toIp], IP);
  setWord(frame, IP + 2, frame.length - IP);
  setWord(frame, IP + 10, checksum(frame.subarray(IP, ICMP)));
  frame.set([8, 0, 0, 0, 0, 1, 0, 1], ICMP);
  frame.set(payload, ICMP + 8);
  setWord(frame, ICMP + 2, checksum(frame.subarray(ICMP)));
  return frame;
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const word = (bytes: Uint8Array, at: number) => (bytes[at]! << 8) | bytes[at + 1]!;

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
