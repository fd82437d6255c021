/**
 * Fragments of IP datagrams, held until each datagram is whole: in the buffers they came in, nothing is copied.
 *
 * RFC 791 §3.2 and RFC 8200 §4.5. A datagram whose fragments overlap is dropped with all that is still to come of it
 * (RFC 5722 for IPv6; for IPv4, where RFC 791 lets the last one win, as Linux does). How many are held, and how long, is
 * bounded; what is refused is counted by why.
 */
import { get16, type Headers } from '../../sim/packet.ts';
import type { PacketBuffer } from '../packet.ts';

const SECOND = 1e9;
/** RFC 8200 §4.5, and within what RFC 1122 §3.3.2 has for IPv4. */
const LIFETIME = 60 * SECOND;
const DATAGRAMS = 16;
/** Of all datagrams together: ten of the longest at an MTU of 1500. */
const FRAGMENTS = 512;
/** What IPv4's total length can say, its header with it (RFC 791 §3.1), or IPv6's payload length (RFC 8200 §4.5). */
const LONGEST = 65535;
const MORE = 1;
const IPV6_HEADER = 40;
export const FRAGMENT_HEADER = 8;
const NEXT_FRAGMENT = 44;

/** Where a fragment belongs. */
interface Place {
  /** Addresses, identification, and the protocol of IPv4. */
  readonly key: string;
  /** Of its data, in the datagram's. */
  readonly start: number;
  readonly end: number;
  readonly last: boolean;
}

interface Fragment {
  readonly packet: PacketBuffer;
  readonly start: number;
  readonly end: number;
}

class Datagram {
  readonly key: string;
  readonly deadline: number;
  fragments: Fragment[] = [];
  /** Bytes there are, and in all once the last fragment tells. */
  bytes = 0;
  total = Infinity;
  /** Nothing is held of it any more, and nothing taken. */
  refused = false;

  constructor(key: string, deadline: number) {
    this.key = key;
    this.deadline = deadline;
  }

  free(): void {
    for (const { packet } of this.fragments) packet.free();
    this.fragments = [];
  }
}

export class Fragments {
  /** Datagrams made whole; and fragments, or datagrams with all that was held of them, that were refused. */
  readonly statistics = { whole: 0, duplicate: 0, overlapping: 0, malformed: 0, expired: 0, crowded: 0 };
  /** The oldest first. */
  readonly #datagrams: Datagram[] = [];
  #held = 0;

  /** Fragments held. */
  get held(): number {
    return this.#held;
  }

  /**
   * Takes a fragment in one buffer, which it owns from here on.
   * @param headers what parseHeaders found in it.
   * @param now nanoseconds.
   * @returns the datagram's fragments, in order, where this made it whole: the caller's to free. Else null.
   */
  take(packet: PacketBuffer, headers: Headers, now: number): PacketBuffer[] | null {
    this.#expire(now);
    const place = placeOf(packet, headers);
    if (place === null) return this.#refuse(packet, 'malformed');
    const datagram = this.#datagramOf(place.key, now);
    if (datagram.refused) return this.#refuse(packet, 'overlapping');
    const { start, end, last } = place;
    if (datagram.fragments.some((other) => other.start === start && other.end === end))
      return this.#refuse(packet, 'duplicate');
    datagram.fragments.push({ packet, start, end });
    datagram.bytes += end - start;
    this.#held++;
    if (datagram.fragments.some((other) => other.packet !== packet && other.start < end && start < other.end))
      return this.#refuseWhole(datagram);
    if (last) datagram.total = Math.min(datagram.total, end);
    if (datagram.fragments.some((other) => other.end > datagram.total)) return this.#refuseWhole(datagram);
    if (datagram.bytes === datagram.total) return this.#release(datagram);
    this.#makeRoom(datagram);
    return null;
  }

  close(): void {
    for (const datagram of this.#datagrams.splice(0)) datagram.free();
    this.#held = 0;
  }

  #datagramOf(key: string, now: number): Datagram {
    const known = this.#datagrams.find((datagram) => datagram.key === key);
    if (known !== undefined) return known;
    if (this.#datagrams.length === DATAGRAMS) this.#drop(this.#datagrams[0]!, 'crowded');
    const fresh = new Datagram(key, now + LIFETIME);
    this.#datagrams.push(fresh);
    return fresh;
  }

  #refuse(packet: PacketBuffer, why: 'malformed' | 'duplicate' | 'overlapping'): null {
    this.statistics[why]++;
    packet.free();
    return null;
  }

  /** It stays known until its time is up. */
  #refuseWhole(datagram: Datagram): null {
    this.statistics.overlapping++;
    this.#held -= datagram.fragments.length;
    datagram.free();
    datagram.refused = true;
    return null;
  }

  #release(datagram: Datagram): PacketBuffer[] {
    this.statistics.whole++;
    this.#forget(datagram);
    return datagram.fragments.sort((a, b) => a.start - b.start).map(({ packet }) => packet);
  }

  /** The oldest datagram goes: were it the newest, what never becomes whole would keep out what would. */
  #makeRoom(newest: Datagram): void {
    while (this.#held > FRAGMENTS) {
      const oldest = this.#datagrams.find((datagram) => datagram !== newest && datagram.fragments.length > 0);
      this.#drop(oldest ?? newest, 'crowded');
    }
  }

  #expire(now: number): void {
    while (this.#datagrams.length > 0 && this.#datagrams[0]!.deadline <= now)
      this.#drop(this.#datagrams[0]!, 'expired');
  }

  #drop(datagram: Datagram, why: 'expired' | 'crowded'): void {
    if (!datagram.refused) this.statistics[why]++;
    this.#forget(datagram);
    datagram.free();
  }

  #forget(datagram: Datagram): void {
    this.#held -= datagram.fragments.length;
    this.#datagrams.splice(this.#datagrams.indexOf(datagram), 1);
  }
}

/** Null where it cannot be: cut short, beyond what a datagram can have, or not a multiple of eight bytes before the last. */
function placeOf({ bytes, start: frame }: PacketBuffer, { version, l3, ipLength }: Headers): Place | null {
  const ip = frame + l3;
  const v4 = version === 4;
  // Of IPv6, only where the fragment header is the first; others are rare.
  if (!v4 && bytes[ip + 6] !== NEXT_FRAGMENT) return null;
  const header = v4 ? (bytes[ip]! & 15) * 4 : IPV6_HEADER + FRAGMENT_HEADER;
  const said = v4 ? get16(bytes, ip + 2) : get16(bytes, ip + 4) + IPV6_HEADER;
  const length = ipLength - header;
  const field = get16(bytes, v4 ? ip + 6 : ip + 42);
  const start = v4 ? (field & 0x1fff) * 8 : field & 0xfff8;
  const last = (v4 ? field & 0x2000 : field & MORE) === 0;
  if (said !== ipLength || length <= 0 || (!last && length % 8 !== 0)) return null;
  if (start + length + (v4 ? header : 0) > LONGEST) return null;
  const names = v4
    ? [...bytes.subarray(ip + 12, ip + 20), bytes[ip + 9], bytes[ip + 4], bytes[ip + 5]]
    : [...bytes.subarray(ip + 8, ip + 40), ...bytes.subarray(ip + 44, ip + 48)];
  return { key: `${version}:${names.join('.')}`, start, end: start + length, last };
}
