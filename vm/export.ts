/**
 * A device that QEMU serves over vfio-user by itself, where it was built with `x-vfio-user-server` (hw/remote/vfio-user-obj.c).
 * Such a QEMU has one client and then ends: another takes its place.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { lstatSync, rmSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { DeviceError } from '../drivers/device.ts';
import { macText } from '../drivers/station-address.ts';
import { listenUnix } from '../native/index.ts';
import { VmError } from './errors.ts';
import type { Qemu } from './qemu.ts';
import { checkName } from './qtest/device.ts';
import { NETDEV, withId } from './qtest/machine.ts';
import { run, WITH_US } from './run.ts';

export interface ExportOptions {
  readonly qemu: Qemu;
  /** Where QEMU is to listen. */
  readonly socket: string;
  /** QEMU's -netdev without its id; QEMU connects anew for each client. */
  readonly netdev?: string;
  /** The card's address. */
  readonly mac?: Uint8Array;
  /** Told of clients that have gone. */
  readonly note?: (text: string) => void;
  /** Told once where QEMU ends and nobody wanted it to. */
  readonly onEnd: (error: DeviceError) => void;
}

const QUICK = 20_000; // milliseconds that a question to QEMU may take
/** Milliseconds until QEMU must listen; and between two looks whether it does. */
const START = 20_000;
const LOOK = 10;
/** A client may be that quick, but not time and again. */
const UNSEEN_MOST = 100;
const SAID_MOST = 4096; // characters kept of what it says
const OBJECT = 'x-vfio-user-server';

/** Whether this QEMU can serve its devices by itself. */
export async function exportsDevices({ command }: Qemu): Promise<boolean> {
  try {
    return (await run([...command, '-object', 'help'], { timeout: QUICK })).includes(OBJECT);
  } catch {
    return false; // then it will not run this way either
  }
}

/**
 * Starts it. @param name as QEMU calls the device.
 * @throws VmError where QEMU does not start, in its own words.
 */
export async function exportQemu(name: string, options: ExportOptions): Promise<ExportedQemu> {
  const exported = new ExportedQemu(name, options);
  await exported.listening();
  return exported;
}

export class ExportedQemu {
  readonly counters = { clients: 0 };
  readonly #name: string;
  readonly #options: ExportOptions;
  #process: ChildProcess;
  #said = '';
  #failure: VmError | null = null;
  #listened = false; // the present process
  #unseen = 0; // processes in a row that came and went between two looks
  #closed = false;

  /** @internal Use exportQemu. */
  constructor(name: string, options: ExportOptions) {
    checkName(name);
    this.#name = `qemu:${name}`;
    this.#options = options;
    this.#process = this.#start(name);
  }

  /** QEMU's process; another one after each client. */
  get pid(): number {
    return this.#process.pid ?? 0;
  }

  #start(name: string): ChildProcess {
    const { qemu, socket } = this.#options;
    this.#listened = false;
    listenUnix(socket).close(); // what is there and is not stale stays, and is told of
    // For its owner alone, as our own server's is.
    const alone = ['sh', '-c', 'umask 077 && exec "$@"', 'sh'];
    const [supervisor, ...args] = [...WITH_US, ...alone, ...qemu.command, ...exportArguments(name, this.#options)];
    const child = spawn(supervisor!, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    (child.stderr as Readable).on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-SAID_MOST);
    });
    child.once('error', () => this.#ended('setpriv is missing: apt-get install util-linux'));
    child.once('close', (code) => {
      if (this.#closed) return;
      if (code === 0 && (this.#listened || ++this.#unseen < UNSEEN_MOST)) this.#next(name);
      else this.#ended(this.#said.trim().split('\n').at(-1) || 'it has ended');
    });
    return child;
  }

  #next(name: string): void {
    this.counters.clients++;
    this.#options.note?.('client gone');
    this.#again(name).catch((error: Error) => this.#options.onEnd(new DeviceError('FAILED', error.message)));
  }

  async #again(name: string): Promise<void> {
    this.#process = this.#start(name);
    await this.listening();
  }

  #ended(why: string): void {
    if (this.#failure !== null || this.#closed) return;
    const said = why.replace(/^\S*qemu-system-x86_64: (-device \S+: )?/, '');
    this.#failure = new VmError('FAILED', `${this.#name}: QEMU: ${said}`);
    if (this.#listened) this.#options.onEnd(new DeviceError('FAILED', this.#failure.message));
  }

  /** @internal */
  async listening(): Promise<void> {
    for (let waited = 0; !isSocket(this.#options.socket) && !this.#closed; waited += LOOK) {
      if (this.#failure === null && waited > START)
        this.#failure = new VmError('TIMEOUT', `${this.#name}: QEMU did not listen within ${START / 1000} s`);
      if (this.#failure !== null) {
        this.close();
        throw this.#failure;
      }
      await wait(LOOK);
    }
    this.#listened = true;
    this.#unseen = 0;
  }

  /** Ends QEMU, removes the socket. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#process.kill('SIGKILL');
    if (isSocket(this.#options.socket)) rmSync(this.#options.socket, { force: true });
  }
}

/** The server is told of in JSON, as its socket is a structure of its own. */
function exportArguments(name: string, { socket, netdev, mac }: ExportOptions): string[] {
  const server = { 'qom-type': OBJECT, id: 'server', device: 'card', socket: { type: 'unix', path: socket } };
  const properties = [
    name,
    'id=card',
    'romfile=',
    ...(mac ? [`mac=${macText(mac)}`] : []),
    ...(netdev ? [`netdev=${NETDEV}`] : []),
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'x-remote,vfio-user=on'],
    ...(netdev === undefined ? [] : ['-netdev', withId(netdev)]),
    ...['-device', properties.join(','), '-object', JSON.stringify(server)],
  ];
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}
