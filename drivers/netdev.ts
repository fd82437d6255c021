/**
 * What every driver offers upward: the netdev. Everything that joins frames to something (TAP, echo, generator, stack)
 * is written against this page and cannot tell one card from another.
 */
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

export interface NetDevice {
  /** The driver and what it found: "e1000 82540EM". */
  readonly model: string;
  /** The station address in use, six bytes; from NVM unless set. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly link: LinkState;
  readonly features: { readonly available: number; readonly enabled: number };
  readonly limits: TransmitLimits;
  /** Buffers for frames; the driver's receive ring is filled from it, and a caller takes transmit buffers from it. */
  readonly pool: PacketPool;
  /** Descriptors: the ring's size, and how many are in use. For views and tests. */
  readonly rings: { readonly rx: { size: number; used: number }; readonly tx: { size: number; used: number } };

  /** Brings the card up; resolves when it can carry frames (the link may still be negotiating: see 'link'). */
  start(): Promise<void>;
  /** Quiet stop: no more DMA, no interrupt, every buffer back in its pool. Idempotent. */
  stop(): Promise<void>;

  /**
   * Takes up to `limit` received packets into `into` from index 0, and returns how many. Refills the ring as it goes.
   * Ownership of the packets passes to the caller.
   */
  receive(into: PacketBuffer[], limit: number): number;
  /**
   * Puts packets `from[first]` … `from[first + count - 1]` on the ring and rings the doorbell once. Returns how many were
   * taken, always from the front; the others still belong to the caller. A packet the card cannot send (too long, a bad
   * offload request, or one beyond `limits`) is taken, counted as txErrors and freed.
   */
  transmit(from: PacketBuffer[], first: number, count: number): number;
  /** Frees the buffers of descriptors that are done. `transmit` does so when it needs room; call it when idle. Returns free descriptors. */
  reclaim(): number;

  /**
   * `work` is called (from the event loop) when an interrupt says that there may be something to receive or reclaim.
   * Interrupts then stay off until `rearm`, so that a busy caller polls and an idle one sleeps.
   */
  onWork(work: (() => void) | null): void;
  /** Interrupts back on. Where work came in meanwhile, `work` is called again: nothing is lost in between. */
  rearm(): void;

  on(event: NetEvent, listener: () => void): void;
  /** Looks at the link now, whatever interrupts say, and resolves to what it is; 'link' where that is something else. */
  checkLink(): Promise<LinkState>;
  setMac(mac: Uint8Array): void;
  setMtu(mtu: number): Promise<void>;
  setFeatures(enabled: number): Promise<void>;
  setPromiscuous(on: boolean): void;
  setAllMulticast(on: boolean): void;
  /** Replaces the list of multicast addresses (six bytes each): exact filters first, then the hash. */
  setMulticast(addresses: readonly Uint8Array[]): void;
  addVlan(id: number): void;
  removeVlan(id: number): void;
  statistics(): NetStatistics;
  resetStatistics(): void;
}
