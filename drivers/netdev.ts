/**
 * What every driver offers upward: the netdev. Everything that joins frames to something (TAP, echo, generator, stack)
 * is written against this page and cannot tell one card from another.
 */
import type { Abilities } from './abilities.ts';
import type { PacketBuffer, PacketPool } from './packet.ts';

// Features a caller can query (available) and switch (enabled).
export const FEATURE_RX_CHECKSUM = 1 << 0;
export const FEATURE_TX_CHECKSUM = 1 << 1;
export const FEATURE_TSO4 = 1 << 2;
export const FEATURE_TSO6 = 1 << 3;
export const FEATURE_VLAN_STRIP = 1 << 4;
export const FEATURE_VLAN_INSERT = 1 << 5;
export const FEATURE_VLAN_FILTER = 1 << 6;
export const FEATURE_JUMBO = 1 << 7;

/**
 * How far a card's transmitter does what its features name. What goes beyond is software's to do before `transmit`
 * (join/segment.ts does); the transmitter refuses it.
 */
export interface TransmitLimits {
  /** Bytes of a frame, VLAN tags included, FCS not. */
  readonly frame: number;
  /** Descriptors that one packet's data may take. */
  readonly descriptors: number;
  /** Bytes that one of them points at, at most; of a packet to be segmented also so many segments. */
  readonly descriptorBytes: number;
  readonly descriptorSegments: number;
  /** The last place in a frame where a checksum may be, in bytes from its start. */
  readonly checksumAt: number;
  /**
   * The card is not told where the headers are. It finds TCP and UDP right behind an IPv4 header or (`ipv6`) an IPv6 one,
   * with one 802.1Q tag in front at most, and sums as far as the IP header says. To segment it lifts that tag.
   */
  readonly findsTransport: boolean;
  readonly ipv6: boolean;
  /** Segmentation: bytes of all headers; payload bytes of a segment. */
  readonly headerBytes: number;
  readonly leastMss: number;
  readonly mostMss: number;
  /**
   * Segmentation of packets with IPv4 options or IPv6 extension headers: the card takes the pseudo header's sum that it is
   * given. One that sums the addresses it sees is wrong where those are not the final ones (RFC 8200 §8.1, RFC 1122 §4.2.3.8).
   */
  readonly ipOptions: boolean;
}

export interface LinkState {
  readonly up: boolean;
  readonly speed: number; // Mbit/s, 0 while down
  readonly fullDuplex: boolean;
  readonly rxPause: boolean;
  readonly txPause: boolean;
}

/** Counts since the driver started (or resetStatistics), kept by the driver beyond the chip's clear-on-read registers. */
export interface NetStatistics {
  rxPackets: number;
  rxBytes: number;
  txPackets: number;
  txBytes: number;
  rxErrors: number;
  txErrors: number;
  /** Frames the card had no room for. */
  rxMissed: number;
  /** Frames that never got a buffer. */
  rxNoBuffer: number;
  multicast: number;
  txHangs: number;
  /** Times the receive ring was found out of step with the card, which nothing but a reset mends. */
  rxHangs: number;
  /** Times the watchdog reset the card. Those that another MTU takes are none of them. */
  resets: number;
  interrupts: number;
}

export interface NetDeviceOptions {
  readonly rxDescriptors?: number;
  readonly txDescriptors?: number;
  readonly mtu?: number;
  readonly features?: number; // those to enable; all that are available, if absent
}

export type NetEvent = 'link' | 'reset';

/** Descriptors of a ring, and how many of them are in use. */
export interface RingUse {
  readonly size: number;
  readonly used: number;
}

/** What one queue carried, since the driver started or its statistics were reset. */
export interface QueueStatistics {
  /** Frames handed up, and their bytes. */
  rxPackets: number;
  rxBytes: number;
  /** Descriptors that made no sense, and frames dropped for it. */
  rxErrors: number;
  /** Frames dropped because no buffer was left for the rest of them. */
  rxNoBuffer: number;
  /** Packets whose buffers came back from the card. */
  txPackets: number;
  /** Packets refused, or thrown away unsent. */
  txErrors: number;
}

/**
 * A way in for frames, and mostly a way out, with an interrupt of its own where the card gives it one. Its methods are those of
 * NetDevice for this queue alone; with `onWork` it has a caller of its own, whom NetDevice's `onWork` and `rearm` then leave
 * alone.
 */
export interface NetQueue {
  /** Its place in `NetDevice.queues`. */
  readonly index: number;
  /** Whether it sends. A card may have more receive rings than transmit rings: the queues behind the last of those only receive. */
  readonly transmits: boolean;
  /**
   * Where the queues share the rings that hold their buffers, as Broadcom's do, `rx` is the queue's return ring, and in use is
   * what waits on it. `tx` has size 0 where the queue does not transmit.
   */
  readonly rings: { readonly rx: RingUse; readonly tx: RingUse };
  /** Whether its interrupts are no other queue's, once the card is up. Where they are, work of one may call for all. */
  readonly ownInterrupt: boolean;
  receive(into: PacketBuffer[], limit: number): number;
  /** @throws DeviceError 'UNSUPPORTED' where the queue does not transmit. */
  transmit(from: PacketBuffer[], first: number, count: number): number;
  reclaim(): number;
  onWork(work: (() => void) | null): void;
  rearm(): void;
  statistics(): QueueStatistics;
}

export interface NetDevice {
  /** The driver and what it found: "e1000 82540EM". */
  readonly model: string;
  /** The station address in use, six bytes; from NVM unless set. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly link: LinkState;
  readonly features: { readonly available: number; readonly enabled: number };
  readonly limits: TransmitLimits;
  /** Those that the card has, as it is driven. See `ability` for one that is not to be done without. */
  readonly abilities: Partial<Abilities>;
  /** RX_ flags that `receive` may set on packets, as features are now: what is not among them is never told. */
  readonly receiveFlags: number;
  /** Buffers for frames; the driver's receive ring is filled from it, and a caller takes transmit buffers from it. */
  readonly pool: PacketPool;
  /** One at least. The methods below are over all of them; the first one transmits. */
  readonly queues: readonly NetQueue[];
  /** All rings together: receive descriptors that hold buffers, transmit descriptors. For views and tests. */
  readonly rings: { readonly rx: RingUse; readonly tx: RingUse };

  /** Brings the card up; resolves when it can carry frames (the link may still be negotiating: see 'link'). */
  start(): Promise<void>;
  /** Quiet stop: no more DMA, no interrupt, every buffer back in its pool. Idempotent. */
  stop(): Promise<void>;

  /**
   * Takes up to `limit` received packets into `into` from index 0, and returns how many. Refills the ring as it goes.
   * Ownership of the packets passes to the caller. Queues have their turn by round robin.
   */
  receive(into: PacketBuffer[], limit: number): number;
  /**
   * Puts packets `from[first]` … `from[first + count - 1]` on the ring and rings the doorbell once. Returns how many were
   * taken, always from the front; the others still belong to the caller. A packet the card cannot send (too long, a bad
   * offload request, or one beyond `limits`) is taken, counted as txErrors and freed. The first queue sends them.
   */
  transmit(from: PacketBuffer[], first: number, count: number): number;
  /** Frees the buffers of descriptors that are done. `transmit` does so when it needs room; call it when idle. Returns free descriptors. */
  reclaim(): number;

  /**
   * `work` is called (from the event loop) when an interrupt says that there may be something to receive or reclaim.
   * Interrupts then stay off until `rearm`, so that a busy caller polls and an idle one sleeps. Queues with a caller of their own
   * are not meant.
   */
  onWork(work: (() => void) | null): void;
  /** Interrupts back on. Where work came in meanwhile, `work` is called again: nothing is lost in between. */
  rearm(): void;

  on(event: NetEvent, listener: () => void): void;
  /** Looks at the link now, whatever interrupts say, and resolves to what it is; 'link' where that is something else. */
  checkLink(): Promise<LinkState>;
  // Settings resolve once the card has them, as they may have to be asked for: of its physical function by a virtual one.
  // They reject with DeviceError 'INVALID' what cannot be, and change nothing then.
  setMac(mac: Uint8Array): Promise<void>;
  setMtu(mtu: number): Promise<void>;
  setFeatures(enabled: number): Promise<void>;
  setPromiscuous(on: boolean): Promise<void>;
  setAllMulticast(on: boolean): Promise<void>;
  /** Replaces the list of multicast addresses (six bytes each): exact filters first, then the hash. */
  setMulticast(addresses: readonly Uint8Array[]): Promise<void>;
  addVlan(id: number): Promise<void>;
  removeVlan(id: number): Promise<void>;
  statistics(): NetStatistics;
  resetStatistics(): void;
}
