import { isIPv4 } from 'node:net';
import { addon, type TapHandle } from './addon.ts';
import { type Advice, check, invalid, NativeError } from './errors.ts';
import { unwatch } from './poll.ts';

export interface TapOptions {
  /** At most 15 bytes; one `%d` in it becomes the next free number. Default `fauxnic%d`. */
  readonly name?: string;
  /** Whether every frame is preceded by a virtio-net header, which offloads need. Default true. */
  readonly vnetHeader?: boolean;
  /** The interface's own address, 6 bytes; the kernel draws one otherwise. */
  readonly mac?: Uint8Array;
  readonly mtu?: number;
}

/** What the reader of a TAP takes off the kernel's hands: frames without checksums, and segments of up to 64 KiB. */
export interface TapOffload {
  readonly checksum?: boolean;
  readonly tso4?: boolean;
  readonly tso6?: boolean;
}

/** Bytes of the virtio-net header before each frame: struct virtio_net_hdr without num_buffers, little-endian. */
export const VNET_HEADER_BYTES = 10;

const IFNAMSIZ = 16; // linux/if.h, with the terminating zero
const MTU_LEAST = 68;
const MTU_MOST = 65521; // 65535 less the Ethernet header
const OFFLOAD_BITS = { checksum: 1, tso4: 2, tso6: 4 } as const; // linux/if_tun.h, TUN_F_*

const NO_PRIVILEGE = 'run as root, with CAP_NET_ADMIN, or under `unshare -Urn`';
const OPEN_ADVICE: Advice = {
  ENOENT: 'load the module with `modprobe tun`; in a container pass `--device /dev/net/tun`',
  ENODEV: 'load the module with `modprobe tun`',
  ENXIO: 'load the module with `modprobe tun`',
  EACCES: '`chmod 666 /dev/net/tun` (its usual mode), or run as root',
  EPERM: 'the container forbids the device: pass `--device /dev/net/tun`',
};
const ATTACH_ADVICE: Advice = {
  EPERM: NO_PRIVILEGE,
  EBUSY: 'another process has this TAP open: close it there, or choose another name',
  EEXIST: 'an interface of another kind has this name: choose another',
  EINVAL: 'the kernel takes no such name',
};
const CONFIGURE_ADVICE: Advice = {
  EPERM: `${NO_PRIVILEGE}; it may be in a network namespace that this process may not enter`,
  EBADFD: 'the interface was deleted: close this TAP and open another',
};

// An open TAP is never garbage: its interface must not vanish because nobody happens to hold the object any more.
const openTaps = new Set<Tap>();

/**
 * Makes a TAP interface, down and with its carrier on. It lives as long as its descriptor: closing, a worker's end and
 * any death of the process remove it. A persistent TAP of that name that nobody has open is attached to instead.
 */
export function openTap(options: TapOptions = {}): Tap {
  const { name, vnetHeader, mac, mtu } = checked(options);
  const native = new (addon().Tap)();
  const what = `TAP ${name}`;
  try {
    const fd = check(native.open(), 'open /dev/net/tun', what, OPEN_ADVICE);
    check(native.attach(name, vnetHeader), 'TUNSETIFF', what, ATTACH_ADVICE);
    if (vnetHeader) check(native.header(VNET_HEADER_BYTES), 'TUNSETVNETHDRSZ', what);
    const tap = new Tap(native, fd, vnetHeader);
    if (mac) tap.setMac(mac);
    if (mtu !== undefined) tap.setMtu(mtu);
    openTaps.add(tap);
    return tap;
  } catch (error) {
    native.close();
    throw error;
  }
}

/**
 * A TAP interface, whatever it is called by now. Configuration goes to it in whichever network namespace it is: EPERM
 * where this process may not enter that. The carrier, the MAC address, reading and writing go on all the same.
 */
export class Tap {
  /** Bytes before each frame: VNET_HEADER_BYTES, or 0. */
  readonly headerBytes: number;
  readonly #native: TapHandle;
  #fd: number;

  /** @internal Use openTap. */
  constructor(native: TapHandle, fd: number, vnetHeader: boolean) {
    this.#native = native;
    this.#fd = fd;
    this.headerBytes = vnetHeader ? VNET_HEADER_BYTES : 0;
  }

  /** The interface's name: the present one, or the last it had. */
  get name(): string {
    return this.#native.name();
  }

  /** For `watch`. It is this object's: nobody else closes it. */
  get fd(): number {
    return this.#open('fd').#fd;
  }

  /** Frames that the kernel refused in `write`: malformed, too long, or while the interface was down. */
  get refused(): number {
    return this.#native.refused();
  }

  /**
   * Reads waiting frames, one into each of the first `count` entries of `vec`: [offset, capacity, length]. Only the
   * length is written; it counts the header, which lies at the offset with the frame behind it. A frame beyond the
   * capacity is cut, so that with TSO one needs 65,550 bytes. Returns the number of frames read: 0 when none waits.
   * Entries that reach outside of memory are a RangeError.
   */
  read(memory: ArrayBuffer, vec: Int32Array, count: number): number {
    const frames = this.#native.read(memory, vec, count);
    return frames >= 0 ? frames : this.#failed(frames, 'read');
  }

  /**
   * Writes the first `count` entries of `vec`: [offset, length, more]. Entries with `more` set are gathered with those
   * behind them into one frame of at most 1024 pieces, the first of which starts with the header. Returns the number
   * of entries dealt with, always whole frames: fewer than `count` when the kernel takes no more for now. A frame that
   * it refuses counts in `refused`.
   */
  write(memory: ArrayBuffer, vec: Int32Array, count: number): number {
    const entries = this.#native.write(memory, vec, count);
    return entries >= 0 ? entries : this.#failed(entries, 'write');
  }

  up(): void {
    this.#configure(this.#open('up').#native.up(true), 'SIOCSIFFLAGS');
  }

  down(): void {
    this.#configure(this.#open('down').#native.up(false), 'SIOCSIFFLAGS');
  }

  /** Plugs the cable in or out, as the interface's users see it. */
  carrier(on: boolean): void {
    this.#configure(this.#open('carrier').#native.carrier(Boolean(on)), 'TUNSETCARRIER');
  }

  setMac(mac: Uint8Array): void {
    this.#configure(this.#open('setMac').#native.mac(macAddress('setMac', mac)), 'SIOCSIFHWADDR');
  }

  setMtu(mtu: number): void {
    this.#configure(this.#open('setMtu').#native.mtu(mtuBytes('setMtu', mtu)), 'SIOCSIFMTU');
  }

  /** Gives the interface an IPv4 address, in place of the one it was given before. */
  address(ipv4: string, prefixLength: number): void {
    const native = this.#open('address').#native;
    if (typeof ipv4 !== 'string' || !isIPv4(ipv4)) throw invalid('address', `${ipv4} is not an IPv4 address`);
    if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > 32)
      throw invalid('address', `prefix length ${prefixLength} is not a whole number from 0 to 32`);
    const [a, b, c, d] = ipv4.split('.').map(Number);
    this.#configure(native.address(((a! << 24) | (b! << 16) | (c! << 8) | d!) >>> 0, prefixLength), 'SIOCSIFADDR');
  }

  /** Replaces the set of offloads: what is left out is off. */
  setOffload(offload: TapOffload): void {
    const native = this.#open('setOffload').#native;
    this.#configure(native.offload(offloadBits(offload, this.headerBytes > 0)), 'TUNSETOFFLOAD');
  }

  /** @internal Which network namespace the interface is in: a number of the kernel's. */
  namespace(): number {
    return this.#configure(this.#open('namespace').#native.namespace(), 'TUNGETDEVNETNS');
  }

  /** @internal The interface's index in that namespace. */
  index(): number {
    return this.#configure(this.#open('index').#native.index(), 'SIOCGIFINDEX');
  }

  /** @internal A socket there, for requests, or to be told of changes. It is the caller's to close. */
  rtnetlink(told: boolean): number {
    return this.#configure(this.#open('rtnetlink').#native.rtnetlink(told), 'rtnetlink');
  }

  /** Removes the interface, unless it is a persistent one, and closes its watch. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    unwatch(this.#fd);
    this.#fd = -1;
    this.#native.close();
    openTaps.delete(this);
  }

  #open(method: string): this {
    if (this.#fd < 0) throw new NativeError('CLOSED', method, `TAP ${this.name} is closed`);
    return this;
  }

  #configure(result: number, syscall: string): number {
    return check(result, syscall, `TAP ${this.name}`, CONFIGURE_ADVICE);
  }

  // Off the packet path, which itself never asks whether the TAP is open: the descriptor -1 fails soon enough.
  #failed(result: number, method: string): number {
    return this.#open(method).#configure(result, method);
  }
}

const OPTIONS: readonly string[] = ['name', 'vnetHeader', 'mac', 'mtu'] satisfies (keyof TapOptions)[];

function checked(options: TapOptions) {
  const { name = 'fauxnic%d', vnetHeader = true, mac, mtu } = options;
  onlyKnown('openTap', options, OPTIONS);
  if (typeof vnetHeader !== 'boolean') throw invalid('openTap', 'vnetHeader must be true or false');
  if (mac !== undefined) macAddress('openTap', mac);
  if (mtu !== undefined) mtuBytes('openTap', mtu);
  return { name: interfaceName(name), vnetHeader, mac, mtu };
}

function onlyKnown(method: string, options: object, known: readonly string[]): void {
  const odd = Object.keys(options).find((key) => !known.includes(key));
  if (odd !== undefined) throw invalid(method, `no such option: ${odd}; there are ${known.join(', ')}`);
}

function interfaceName(name: string): string {
  if (typeof name !== 'string' || name === '') throw invalid('openTap', 'an interface needs a name');
  if (Buffer.byteLength(name) >= IFNAMSIZ)
    throw new NativeError('ENAMETOOLONG', 'openTap', `interface name ${name}: the kernel takes at most 15 bytes`);
  // The kernel's own rule (dev_valid_name), and no control characters, which spoil terminals.
  if (name === '.' || name === '..' || /[/:\s\p{Cc}]/u.test(name))
    throw invalid('openTap', `interface name ${JSON.stringify(name)}: no slash, colon or white space in it`);
  if (name.replace('%d', '').includes('%'))
    throw invalid('openTap', `interface name ${name}: "%" only as one "%d", where a number goes`);
  return name;
}

function macAddress(method: string, mac: Uint8Array): Uint8Array {
  if (!(mac instanceof Uint8Array) || mac.length !== 6) throw invalid(method, 'mac must be a Uint8Array of 6 bytes');
  if (mac[0]! & 1) throw invalid(method, 'mac is a group address: the lowest bit of its first byte must be 0');
  if (mac.every((byte) => byte === 0)) throw invalid(method, 'mac must not be all zeros');
  return mac;
}

function mtuBytes(method: string, mtu: number): number {
  if (Number.isInteger(mtu) && mtu >= MTU_LEAST && mtu <= MTU_MOST) return mtu;
  throw invalid(method, `mtu ${mtu} is not a whole number from ${MTU_LEAST} to ${MTU_MOST}`);
}

function offloadBits(offload: TapOffload, vnetHeader: boolean): number {
  const names = Object.keys(OFFLOAD_BITS) as (keyof TapOffload)[];
  onlyKnown('setOffload', offload, names);
  const bits = names.reduce((sum, name) => sum | (offload[name] ? OFFLOAD_BITS[name] : 0), 0);
  if (bits !== 0 && !vnetHeader) throw invalid('setOffload', 'offloads need the TAP opened with vnetHeader');
  if (bits !== 0 && !offload.checksum) throw invalid('setOffload', 'tso4 and tso6 need checksum');
  return bits;
}
