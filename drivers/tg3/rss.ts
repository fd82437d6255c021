/** Receive side scaling: which fields the card hashes, and by the hash's low seven bits which return ring a frame goes to. */
import type { ReceiveSideScaling, RssSettings } from '../abilities.ts';
import { DeviceError } from '../device.ts';
import { HASH_IPV4, HASH_IPV6, HASH_TCP_IPV4, HASH_TCP_IPV6 } from '../packet.ts';
import { type Chip, R } from './chip.ts';

const { MAC_RSS_INDIR_TBL, MAC_RSS_HASH_KEY } = R;
const TABLE = 128;
const KEY = 40; // bytes
/** Entries of the table in a register, of four bits each, the first one in 31:28. */
const ENTRIES = 8;

/** The RSS specification's example key: it spreads well. */
const EXAMPLE_KEY = Uint8Array.of(
  ...[0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b],
  ...[0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac],
  ...[0x01, 0xfa],
);

const ALL_TYPES = HASH_IPV4 | HASH_TCP_IPV4 | HASH_IPV6 | HASH_TCP_IPV6;

export class Rss implements ReceiveSideScaling {
  readonly keyLength = KEY;
  readonly tableLength = TABLE;
  readonly knownHashTypes = ALL_TYPES;
  settings: RssSettings;
  readonly #chip: Chip;
  readonly #queues: number;
  readonly #changed: () => void;

  /** @param changed has the card take it over, if it is up. */
  constructor(chip: Chip, queues: number, changed: () => void) {
    this.#chip = chip;
    this.#queues = queues;
    this.#changed = changed;
    const table = Uint8Array.from({ length: TABLE }, (_, entry) => entry % queues);
    this.settings = { key: EXAMPLE_KEY, table, hashTypes: ALL_TYPES };
  }

  async set(changes: Partial<RssSettings>): Promise<void> {
    const { key, table, hashTypes } = { ...this.settings, ...changes };
    if (key.length !== KEY) throw invalid(`a key of ${key.length} bytes: the card has ${KEY}`);
    if (table.length !== TABLE) throw invalid(`a table of ${table.length} entries: the card has ${TABLE}`);
    const beyond = table.find((queue) => queue >= this.#queues);
    if (beyond !== undefined) throw invalid(`queue ${beyond} in the table: there are ${this.#queues}`);
    if ((hashTypes & ~ALL_TYPES) !== 0) throw invalid(`hash types 0x${hashTypes.toString(16)}: HASH_ bits are wanted`);
    this.settings = { key: key.slice(), table: table.slice(), hashTypes };
    this.#changed();
  }

  /** Frames are spread only where there is more than one queue. */
  get on(): boolean {
    return this.#queues > 1;
  }

  /** Table and key into the card. */
  apply(): void {
    if (!this.on) return;
    const { key, table } = this.settings;
    for (let word = 0; word < TABLE / ENTRIES; word++) {
      let entries = 0;
      for (let i = 0; i < ENTRIES; i++) entries = (entries << 4) | table[word * ENTRIES + i]!;
      this.#chip.write(MAC_RSS_INDIR_TBL, entries, word);
    }
    const bytes = new DataView(key.buffer);
    for (let word = 0; word < KEY / 4; word++) this.#chip.write(MAC_RSS_HASH_KEY, bytes.getUint32(4 * word), word);
  }

  /** Its fields of MAC_RX_MODE; seven bits of the hash look into the table. */
  get fields() {
    const { on } = this;
    const hashes = (type: number) => on && (this.settings.hashTypes & type) !== 0;
    return {
      RSS_ENABLE: on,
      RSS_ITBL_HASH_BITS: on ? 7 : 0,
      RSS_IPV4_HASH_EN: hashes(HASH_IPV4),
      RSS_TCP_IPV4_HASH_EN: hashes(HASH_TCP_IPV4),
      RSS_IPV6_HASH_EN: hashes(HASH_IPV6),
      RSS_TCP_IPV6_HASH_EN: hashes(HASH_TCP_IPV6),
    };
  }
}

function invalid(message: string): DeviceError {
  return new DeviceError('INVALID', message);
}
