import { ETHERTYPE_VLAN, put16, VLAN_TAG } from '../../sim/packet.ts';
import { type PacketBuffer, RX_VLAN, TX_VLAN } from '../packet.ts';

/** Puts the tag in `vlan` into the frame itself, by moving the addresses into the headroom (IEEE 802.1Q §9.3). */
export function insertVlan(packet: PacketBuffer): boolean {
  if (packet.start < VLAN_TAG) return false;
  packet.start -= VLAN_TAG;
  const { bytes, start } = packet;
  bytes.copyWithin(start, start + VLAN_TAG, start + VLAN_TAG + 12);
  put16(bytes, start + 12, ETHERTYPE_VLAN);
  put16(bytes, start + 14, packet.vlan);
  packet.length += VLAN_TAG;
  packet.total += VLAN_TAG;
  packet.checksumStart += VLAN_TAG;
  packet.headerLength += VLAN_TAG;
  packet.flags &= ~(RX_VLAN | TX_VLAN);
  return true;
}
