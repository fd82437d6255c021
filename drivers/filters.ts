/** What a caller wants to hear: addresses, modes, VLANs. A card's own filters extend it by how that gets into registers. */
export abstract class Filters {
  promiscuous = false;
  allMulticast = false;
  /** The station's own. */
  readonly mac: Uint8Array;
  multicast: readonly Uint8Array[] = [];
  readonly vlans = new Set<number>();

  constructor(mac: Uint8Array) {
    this.mac = mac;
  }

  /**
   * Which ids pass, once VLANs are filtered, as 32 bits from id 32 × `word` up. The null VID is no VLAN: such a frame is
   * untagged traffic with a priority (IEEE 802.1Q-2018 §6.9, table 9-2), and is heard as any untagged frame is.
   */
  protected vlanBits(word: number): number {
    let bits = word === 0 ? 1 : 0;
    for (const id of this.vlans) if (id >> 5 === word) bits |= 1 << (id & 31);
    return bits;
  }

  abstract applyMac(): void;
  abstract applyMulticast(): void;
  /** The id was listed, or no longer is. A card without a VLAN filter hears all of them. */
  applyVlan(_id: number): void {}
}
