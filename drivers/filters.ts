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

  abstract applyMac(): void;
  abstract applyMulticast(): void;
  /** The id was listed, or no longer is. A card without a VLAN filter hears all of them. */
  applyVlan(_id: number): void {}
}
