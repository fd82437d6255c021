/** What a caller may ask of a transmitter, checked before the card is: alike for every card. */
import { FEATURE_TSO4, FEATURE_TSO6, FEATURE_TX_CHECKSUM, FEATURE_VLAN_INSERT } from './netdev.ts';
import { type PacketBuffer, TX_IP_CHECKSUM, TX_L4_CHECKSUM, TX_TSO4, TX_TSO6, TX_VLAN } from './packet.ts';

export const TSO = TX_TSO4 | TX_TSO6;
export const OFFLOADS = TX_L4_CHECKSUM | TX_IP_CHECKSUM | TSO | TX_VLAN;
export const SHORTEST = 14; // an Ethernet header
export const ETHERNET_AND_TAG = 18;
const LONGEST_TSO = 0xffff + ETHERNET_AND_TAG; // an IP packet behind an Ethernet header and a tag
const SHORTEST_MSS = 64;

/**
 * Whether the packet is one that the features in effect (FEATURE_ bits) allow, and of a size that can be sent.
 * @param longestHeader bytes of headers that the card can repeat, with TSO.
 */
export function acceptable(packet: PacketBuffer, features: number, mtu: number, longestHeader: number): boolean {
  const { flags } = packet;
  const total = packet.next === null ? packet.length : packet.total;
  if (total < SHORTEST || !offers(features, flags)) return false;
  if ((flags & TSO) === 0) return total <= mtu + ETHERNET_AND_TAG;
  const { headerLength, mss } = packet;
  return (
    total <= LONGEST_TSO &&
    mss >= SHORTEST_MSS &&
    headerLength <= Math.min(longestHeader, packet.length) &&
    headerLength < total &&
    headerLength + mss <= mtu + ETHERNET_AND_TAG
  );
}

function offers(features: number, flags: number): boolean {
  if ((flags & (TX_L4_CHECKSUM | TX_IP_CHECKSUM)) !== 0 && (features & FEATURE_TX_CHECKSUM) === 0) return false;
  if ((flags & TX_TSO4) !== 0 && (features & FEATURE_TSO4) === 0) return false;
  if ((flags & TX_TSO6) !== 0 && (features & FEATURE_TSO6) === 0) return false;
  return (flags & TX_VLAN) === 0 || (features & FEATURE_VLAN_INSERT) !== 0;
}

/** Descriptors for the data, of `limit` bytes at most each; Infinity for a chain that does not add up. */
export function countPieces(packet: PacketBuffer, limit: number): number {
  let count = 0;
  let bytes = 0;
  for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
    count += Math.ceil(piece.length / limit);
    bytes += piece.length;
  }
  const whole = packet.next === null || bytes === packet.total;
  return whole && count > 0 ? count : Infinity;
}
