/**
 * A QEMU that runs nothing: a bus with one device behind a root port, registers over qtest, and RAM that is ours too.
 *
 * Its time is ours (`-accel qtest`: the virtual clock moves by command alone) or the machine's (TCG, whose one processor
 * halts at its first instruction). A machine that is stopped (-S) would do neither: its clock stands still, and its
 * netdevs deliver nothing.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  createMemfd,
  END,
  listenUnix,
  type MappedMemory,
  mapMemory,
  receivedDescriptors,
  type UnixListener,
  type UnixSocket,
  type Watch,
  watch,
} from '../../native/index.ts';
import { VmError } from '../errors.ts';
import { privateFolder } from '../private-folder.ts';
import { howItEnded, lastWords, type Qemu } from '../qemu.ts';
import { WITH_US } from '../run.ts';
import { Monitor } from './monitor.ts';

export interface MachineOptions {
  readonly qemu: Qemu;
  /** As QEMU calls it, with its properties: "e1000e,mac=…". */
  readonly device: string;
  /** QEMU's -netdev without its id: "stream,server=off,…". Without one the device has no link partner. */
  readonly netdev?: string;
  /** Bytes of RAM above the first MiB, which is the firmware's. */
  readonly ram: number;
  /** Whether its clock moves by command; with the machine's time otherwise. */
  readonly virtual: boolean;
  /** Puts the device behind an IOMMU, and has a monitor by which memory can be plugged in. */
  readonly lends?: boolean;
}

/** Where RAM that nobody has a use for begins. */
export const RAM_START = 1 << 20;
/** Milliseconds until QEMU must have connected; it takes some 50. */
const START = 20_000;
const SAID_MOST = 4096; // characters kept of what it says
const [RAM_FD, ROM_FD] = [3, 4];
const ROM_BYTES = 64 * 1024;
/** cli; hlt; jmp to the hlt, at the reset vector: sixteen bytes before the end. */
const HALT = Uint8Array.of(0xfa, 0xf4, 0xeb, 0xfd);

export class Machine {
  readonly socket: UnixSocket;
  /** RAM from RAM_START on. */
  readonly ram: MappedMemory;
  /** Where it lends. */
  readonly monitor: Monitor | null;
  readonly #child: Child;

  private constructor(socket: UnixSocket, ram: MappedMemory, monitor: Monitor | null, child: Child) {
    this.socket = socket;
    this.ram = ram;
    this.monitor = monitor;
    this.#child = child;
  }

  /** @throws VmError where QEMU does not start; its own words are in the message. */
  static async start(options: MachineOptions): Promise<Machine> {
    const folder = privateFolder();
    const fds: number[] = [];
    const listeners: UnixListener[] = [];
    let ram: MappedMemory | undefined;
    try {
      const path = join(folder, 'qtest');
      const listener = listenUnix(path);
      listeners.push(listener);
      const monitor = options.lends ? listenUnix(join(folder, 'monitor')) : null;
      if (monitor !== null) listeners.push(monitor);
      fds.push(createMemfd('fauxnic-ram', RAM_START + options.ram));
      fds.push(haltingRom());
      ram = mapMemory(fds[0]!, { offset: RAM_START, length: options.ram });
      const child = new Child(options.qemu, machineArguments(options, path, monitor?.path), fds);
      try {
        const socket = await connection(listener, child);
        return new Machine(socket, ram, monitor && monitorOf(monitor), child);
      } catch (error) {
        child.kill();
        throw error;
      }
    } catch (error) {
      ram?.close();
      throw error;
    } finally {
      for (const listener of listeners) listener.close();
      for (const fd of fds) closeSync(fd);
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** QEMU's last words. */
  get said(): string {
    return this.#child.said;
  }

  /** For tests, and for a person who looks for it. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Whether QEMU's main loop waits for something to happen: what has happened it is done with (proc(5), stat). */
  get idle(): boolean {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1');
      return stat.charAt(stat.lastIndexOf(')') + 2) !== 'R';
    } catch {
      return true; // it has ended
    }
  }

  /** Idempotent. */
  close(): void {
    this.#child.kill();
    this.socket.close();
    this.monitor?.close();
    this.ram.close();
  }
}

function machineArguments(
  { device, netdev, ram, virtual }: MachineOptions,
  qtest: string,
  monitor: string | undefined,
): string[] {
  const bytes = RAM_START + ram;
  const most = monitor === undefined ? '' : `,slots=${DIMMS},maxmem=${DIMMS_END / 2 ** 20}M`;
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-qtest', `unix:${qtest}`, '-qtest-log', 'none'],
    ...['-machine', 'q35,memory-backend=m0,hpet=off,pit=off', '-m', `${bytes / 2 ** 20}M${most}`],
    ...(monitor === undefined ? [] : ['-qmp', `unix:${monitor}`, '-device', 'intel-iommu,aw-bits=48']),
    ...['-object', `memory-backend-file,id=m0,size=${bytes},share=on,mem-path=/dev/fd/${RAM_FD}`],
    ...(virtual ? ['-accel', 'qtest'] : ['-accel', 'tcg', '-bios', `/dev/fd/${ROM_FD}`]),
    ...['-device', `pcie-root-port,id=root,addr=${ROOT_PORT},chassis=1`, '-device', `edu,addr=${BELL}`],
    ...(netdev === undefined ? [] : ['-netdev', withId(netdev)]),
    ...['-device', `${device},bus=root,romfile=${netdev === undefined ? '' : `,netdev=${NETDEV}`}`],
  ];
}

/** What QEMU calls its end of the wire. */
export const NETDEV = 'n0';

/** A -netdev with its id. */
export function withId(netdev: string): string {
  const [kind, ...rest] = netdev.split(',');
  return [kind, `id=${NETDEV}`, ...rest].join(',');
}

// Memory that is plugged in (QEMU, hw/i386/pc.c): slots, and addresses above 4 GiB. TCG's processor has 40 bits of them.
export const DIMMS = 256;
export const DIMMS_START = 2 ** 32;
export const DIMMS_END = 2 ** 39;

// Slots of the root bus, chosen so that their interrupts have different lines.
export const ROOT_PORT = 4;
export const BELL = 5;

function haltingRom(): number {
  const fd = createMemfd('fauxnic-rom', ROM_BYTES);
  writeSync(fd, HALT, 0, HALT.length, ROM_BYTES - 16);
  return fd;
}

/** QEMU connects before it has looked at its devices: it is there once it answers. */
async function connection(listener: UnixListener, child: Child): Promise<UnixSocket> {
  let socket: UnixSocket | null = null;
  let fail!: (error: VmError) => void;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  child.onEnd = () => fail(new VmError('FAILED', `QEMU did not start: ${child.said || 'it said nothing'}`));
  const limit = () => fail(new VmError('TIMEOUT', `QEMU did not start within ${START / 1000} s`));
  const timer = setTimeout(limit, START);
  try {
    await Promise.race([readable(listener), failed]);
    socket = listener.accept();
    if (socket === null) throw new VmError('FAILED', 'QEMU did not connect');
    try {
      socket.send(QUESTION);
    } catch {
      await failed; // it has ended already: its own words say why
    }
    await Promise.race([readable(socket), failed]);
    if (socket.receive(new Uint8Array(ANSWER_MOST), 0, ANSWER_MOST, receivedDescriptors(0)) === END) await failed;
    return socket;
  } catch (error) {
    socket?.close();
    throw error;
  } finally {
    clearTimeout(timer);
    child.onEnd = null;
  }
}

/** It has connected: QEMU does so before it makes its devices, and qtest answers after. */
function monitorOf(listener: UnixListener): Monitor {
  const socket = listener.accept();
  if (socket === null) throw new VmError('FAILED', "QEMU's monitor did not connect");
  return new Monitor(socket);
}

/** Anything that is answered, and has no effect: a port of the PC's that is for show. */
const QUESTION = new TextEncoder().encode('inb 0x80\n');
const ANSWER_MOST = 64;

async function readable({ fd }: { readonly fd: number }): Promise<void> {
  let watching: Watch | undefined;
  await new Promise<void>((resolve) => {
    watching = watch(fd, { readable: resolve });
    watching.start();
  });
  watching?.close();
}

/** The process: it ends with us, and what it says is kept. */
class Child {
  onEnd: (() => void) | null = null;
  readonly #process: ChildProcess;
  #said = '';
  #how = '';

  constructor(qemu: Qemu, args: readonly string[], fds: readonly number[]) {
    const [supervisor, ...command] = [...WITH_US, ...qemu.command, ...args];
    const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', ...fds];
    // A session of its own: a terminal's Ctrl-C reaches it through us only.
    this.#process = spawn(supervisor!, command, { stdio, detached: true });
    (this.#process.stderr as Readable).on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-SAID_MOST);
    });
    this.#process.once('error', () => {
      this.#said = 'setpriv is missing: apt-get install util-linux';
      this.onEnd?.();
    });
    this.#process.once('close', (code, signal) => {
      this.#how = howItEnded(code, signal);
      this.onEnd?.();
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get said(): string {
    // The IOMMU tells of each kind of fault once: that is a client's affair.
    const lines = this.#said.split('\n').filter((line) => !/: (vtd_|New fault is not|Interrupt Mask set)/.test(line));
    return lastWords(lines.join('\n')).replace(/^-device \S+: /, '') || this.#how;
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}
