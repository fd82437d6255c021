/**
 * The qtest protocol: a QEMU's registers from outside (QEMU, system/qtest.c).
 *
 * A command is a line, and its reply one that begins with OK, FAIL or ERR; lines "IRQ raise N" and "IRQ lower N" come in
 * between whenever they like. An access is a system call to send, one to wait and one to receive; it allocates nothing.
 *
 * A QEMU that has gone reads as all ones, as a card does that was pulled out; `failure` says why.
 */
import { END, NativeError, receivedDescriptors, type UnixSocket, type Watch, watch } from '../../native/index.ts';

/** Milliseconds that QEMU may take for a reply. It is microseconds as a rule. */
const PATIENCE = 10_000;
/** At a time: a signal ends one early. */
const WAIT = 100;
const OUTPUT_BYTES = 256;
const INPUT_BYTES = 4096;
const LONGEST_LINE = 256;

const NEWLINE = 10;
const SPACE = 32;
const CHAR_0 = 48;
const CHAR_A = 97;
const [CHAR_I, CHAR_O, CHAR_r] = [73, 79, 114]; // "IRQ", "OK", "raise"

const verb = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const READ = { 1: verb('readb'), 2: verb('readw'), 4: verb('readl') } as const;
const WRITE = { 1: verb('writeb'), 2: verb('writew'), 4: verb('writel') } as const;
const IN = { 1: verb('inb'), 2: verb('inw'), 4: verb('inl') } as const;
const OUT = { 1: verb('outb'), 2: verb('outw'), 4: verb('outl') } as const;

export type Width = 1 | 2 | 4;

export interface QtestHandlers {
  /** A line of the interrupt controller moved. Called from within an access, too. */
  readonly line: (number: number, asserted: boolean) => void;
  /** QEMU has gone, or does not answer: once. */
  readonly end: (why: string) => void;
}

export class Qtest {
  /** Why nothing answers any more. */
  failure: string | null = null;
  readonly #socket: UnixSocket;
  readonly #handlers: QtestHandlers;
  readonly #watch: Watch;
  readonly #output = new Uint8Array(OUTPUT_BYTES);
  readonly #input = new Uint8Array(INPUT_BYTES);
  readonly #noDescriptors = receivedDescriptors(0); // those that come are closed
  #length = 0; // of the command in #output
  #held = 0; // bytes of #input that are a line not yet whole
  #replied = true;
  #ok = false;
  #value = 0;

  constructor(socket: UnixSocket, handlers: QtestHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.#watch = watch(socket.fd, { readable: () => this.#receive() });
    this.#watch.start();
  }

  /** Physical memory. */
  read(width: Width, address: number): number {
    return this.#get(READ[width], width, address);
  }

  write(width: Width, address: number, value: number): void {
    this.#put(WRITE[width], address, value);
  }

  /** Ports. */
  in(width: Width, port: number): number {
    return this.#get(IN[width], width, port);
  }

  out(width: Width, port: number, value: number): void {
    this.#put(OUT[width], port, value);
  }

  /** With `-accel qtest`: moves QEMU's virtual clock, running its timers. */
  step(ns: number): void {
    this.command(`clock_step ${ns}`);
  }

  /** Any other command; whether QEMU did it. */
  command(text: string): boolean {
    this.#length = 0;
    for (let i = 0; i < text.length; i++) this.#output[this.#length++] = text.charCodeAt(i);
    this.#exchange();
    return this.#ok;
  }

  #get(name: Uint8Array, width: Width, address: number): number {
    this.#begin(name);
    this.#hex(address);
    this.#exchange();
    return this.#ok ? this.#value : 0xffffffff >>> (32 - 8 * width);
  }

  #put(name: Uint8Array, address: number, value: number): void {
    this.#begin(name);
    this.#hex(address);
    this.#hex(value);
    this.#exchange();
  }

  #begin(name: Uint8Array): void {
    this.#output.set(name);
    this.#length = name.length;
  }

  /** " 0x" and eight digits. */
  #hex(value: number): void {
    const output = this.#output;
    let at = this.#length;
    output[at++] = SPACE;
    output[at++] = CHAR_0;
    output[at++] = 120; // x
    for (let shift = 28; shift >= 0; shift -= 4) {
      const digit = (value >>> shift) & 15;
      output[at++] = digit < 10 ? CHAR_0 + digit : CHAR_A + digit - 10;
    }
    this.#length = at;
  }

  #exchange(): void {
    this.#ok = false;
    if (this.failure !== null) return;
    this.#output[this.#length++] = NEWLINE;
    this.#replied = false;
    try {
      this.#socket.send(this.#output, 0, this.#length);
      for (let waits = 0; !this.#replied && this.failure === null; ) {
        if (this.#socket.wait(WAIT)) this.#receive();
        else if (++waits >= PATIENCE / WAIT) this.#end(`it has not answered for ${PATIENCE / 1000} s`);
      }
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.#end('it has ended');
    }
  }

  #receive(): void {
    const got = this.#socket.receive(this.#input, this.#held, INPUT_BYTES - this.#held, this.#noDescriptors);
    if (got === END) this.#end('it has ended');
    else if (got > 0) this.#parse(this.#held + got);
  }

  #parse(end: number): void {
    const input = this.#input;
    let start = 0;
    for (let at = this.#held; at < end; at++) {
      if (input[at] !== NEWLINE) continue;
      this.#line(start, at);
      start = at + 1;
    }
    input.copyWithin(0, start, end);
    this.#held = end - start;
    if (this.#held > LONGEST_LINE) this.#end('what it says is not qtest');
  }

  #line(start: number, end: number): void {
    const input = this.#input;
    const first = input[start];
    if (first === CHAR_I) {
      // "IRQ raise 20": the number is what follows the second space.
      let number = 0;
      for (let at = end - 1, unit = 1; input[at] !== SPACE && at > start; at--, unit *= 10)
        number += (input[at]! - CHAR_0) * unit;
      this.#handlers.line(number, input[start + 4] === CHAR_r);
      return;
    }
    this.#replied = true;
    this.#ok = first === CHAR_O;
    // "OK 0x0000000080080783": its last eight digits, should there be any; ports' have fewer.
    let value = 0;
    for (let at = Math.max(start + 5, end - 8); at < end; at++) {
      const char = input[at]!;
      value = (value << 4) | (char >= CHAR_A ? char - CHAR_A + 10 : char - CHAR_0);
    }
    this.#value = value >>> 0;
  }

  #end(why: string): void {
    if (this.failure !== null) return;
    this.failure = why;
    this.#watch.close();
    this.#handlers.end(why);
  }

  /** Idempotent. */
  close(): void {
    this.failure ??= 'it is closed';
    this.#socket.close(); // and its watch
  }
}
