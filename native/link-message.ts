/** What rtnetlink says of one network interface (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h). */
import { endianness } from 'node:os';

/** How an interface was set, by whoever it belongs to. */
export interface InterfaceSettings {
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
  /** Its address, six bytes. */
  readonly mac: Uint8Array;
  /** How many want every station's frames: `promisc on`, a bridge, a macvlan, tcpdump. */
  readonly promiscuity: number;
  /** The index of what it is a port of (a bridge, a bond); 0: of nothing. */
  readonly master: number;
}

// Words are in the host's own order.
const LITTLE = endianness() === 'LE';
const HEADER = 16; // struct nlmsghdr
const LINK = 16; // struct ifinfomsg
const NLMSG_ERROR = 2;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const NLM_F_REQUEST = 1;
const IFF_UP = 1;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_PROMISCUITY = 30;
const ATTRIBUTE_TYPE = 0x3fff; // the other bits: nested, and the byte order
const MAC_BYTES = 6;

const aligned = (length: number) => (length + 3) & ~3;

/** Asks for the interface of that index. */
export function linkRequest(index: number, sequence: number): Uint8Array {
  const request = new Uint8Array(HEADER + LINK);
  const view = new DataView(request.buffer);
  view.setUint32(0, request.length, LITTLE);
  view.setUint16(4, RTM_GETLINK, LITTLE);
  view.setUint16(6, NLM_F_REQUEST, LITTLE);
  view.setUint32(8, sequence, LITTLE);
  view.setInt32(HEADER + 4, index, LITTLE);
  return request;
}

/**
 * The first `length` bytes of `bytes`, as the answer to the request of that sequence number: the interface, or the
 * negative errno that the kernel refused with. Null where neither is in them, whole.
 */
export function linkAnswer(bytes: Uint8Array, length: number, sequence: number): InterfaceSettings | number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(length, bytes.length));
  for (let at = 0; at + HEADER <= view.byteLength; ) {
    const end = at + view.getUint32(at, LITTLE);
    if (end < at + HEADER || end > view.byteLength) return null;
    if (view.getUint32(at + 8, LITTLE) === sequence) {
      const type = view.getUint16(at + 4, LITTLE);
      if (type === NLMSG_ERROR && end >= at + HEADER + 4) return view.getInt32(at + HEADER, LITTLE);
      if (type === RTM_NEWLINK) return linkSettings(bytes, view, at + HEADER, end);
    }
    at = aligned(end);
  }
  return null;
}

function linkSettings(bytes: Uint8Array, view: DataView, at: number, end: number): InterfaceSettings | null {
  if (at + LINK > end) return null;
  const up = (view.getUint32(at + 8, LITTLE) & IFF_UP) !== 0;
  const found = { name: '', mtu: 0, mac: new Uint8Array(0), promiscuity: 0, master: 0 };
  for (let next = at + LINK; next + 4 <= end; ) {
    const length = view.getUint16(next, LITTLE);
    const type = view.getUint16(next + 2, LITTLE) & ATTRIBUTE_TYPE;
    const value = next + 4;
    const last = next + length;
    if (last < value || last > end) return null;
    const word = last - value >= 4 ? view.getUint32(value, LITTLE) : 0;
    if (type === IFLA_ADDRESS) found.mac = bytes.slice(value, last);
    else if (type === IFLA_IFNAME) found.name = text(bytes.subarray(value, last));
    else if (type === IFLA_MTU) found.mtu = word;
    else if (type === IFLA_MASTER) found.master = word;
    else if (type === IFLA_PROMISCUITY) found.promiscuity = word;
    next = aligned(last);
  }
  return found.mac.length === MAC_BYTES && found.name !== '' ? { up, ...found } : null;
}

/** Up to the zero that ends it. */
function text(bytes: Uint8Array): string {
  const zero = bytes.indexOf(0);
  return Buffer.from(zero < 0 ? bytes : bytes.subarray(0, zero)).toString();
}
