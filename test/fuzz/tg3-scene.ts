/** The BCM57xx under attack: BDs that make no sense, control blocks, mailboxes and registers of any value. */
import { COMMAND, COMMAND_MASTER, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import { type AnyRegister, offsetOf } from '../../sim/registers.ts';
import { Tg3 } from '../../sim/tg3/bcm57xx.ts';
import type { ChipName } from '../../sim/tg3/chips.ts';
import { SRAM_RET_RCB, SRAM_SEND_RCB, TX_END } from '../../sim/tg3/descriptors.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { NOWHERE, Scene } from './scene.ts';

const R = BCM57XX.r;
const RING = 64; // BDs
const STATUS = 512;
const RETURN_RINGS = 4;
const LENGTHS = [0, 1, 8, 20, 54, 60, 100, 536, 1460, 1514, 1522, 4000, 9018, 40_000, 0xffff];
const SIZES = [0, 1, 3, 4, 7, 11, 12, 13, 16, 20, 60, 61, 64, 68, 300, 1518, 1536, 2048, 9216];
const APART = 40; // bytes between buffers
const SHORT = 64; // a mapping in which buffers begin and do not end
const BLOCKS = [
  ...[R.RCVLPC_MODE, R.RCVDBDI_MODE, R.RCVDCC_MODE, R.RCVBDI_MODE, R.RCVCC_MODE, R.RDMAC_MODE, R.WDMAC_MODE],
  ...[R.SNDBDS_MODE, R.SNDBDI_MODE, R.SNDDATAI_MODE, R.SNDDATAC_MODE, R.SNDBDC_MODE, R.MAC_TX_MODE, R.HOSTCC_MODE],
];

export class Tg3Scene extends Scene {
  // Each ring ends with its mapping: however many entries it is said to have, no BD is behind it.
  readonly #send = this.memory.map(RING * 16);
  readonly #standard = this.memory.map(RING * 32);
  readonly #jumbo = this.memory.map(RING * 32);
  readonly #returns = Array.from({ length: RETURN_RINGS }, () => this.memory.map(RING * 32));
  readonly #status = this.memory.map(STATUS);
  readonly #room = SIZES.reduce((sum, size) => sum + size + APART, APART) & ~3;
  readonly #buffers = this.memory.map(this.#room, { allowed: false });
  readonly #short = this.memory.map(SHORT);
  readonly #slots: (readonly [address: number, size: number])[] = [];
  protected readonly ranges = [
    ...[this.out, this.#send, this.#standard, this.#jumbo, ...this.#returns],
    ...[this.#status, this.#buffers, this.#short],
  ];
  readonly #addresses: Record<string, number> = {
    RCVDBDI_STD_ADDR_LOW: this.#standard,
    RCVDBDI_JUMBO_ADDR_LOW: this.#jumbo,
    HOSTCC_STATUS_BLK_HOST_LOW: this.#status,
    HOSTCC_VEC_STATUS_BLK_LOW: this.#status + 64,
    RCVDBDI_STD_ADDR_HIGH: 0,
    RCVDBDI_JUMBO_ADDR_HIGH: 0,
    HOSTCC_STATUS_BLK_HOST_HIGH: 0,
    HOSTCC_VEC_STATUS_BLK_HIGH: 0,
  };
  #tail = 0;

  constructor(chip: ChipName) {
    super((host) => new Tg3(host, { chip }));
    let at = this.#buffers + APART / 2 + 1;
    for (const size of SIZES) {
      this.#slots.push([at, size]);
      this.memory.allow(at, size);
      at += size + APART - 1; // at any alignment
    }
    for (const before of [0, 1, 5, 11, 12, 13, 40]) this.#slots.push([this.#short + SHORT - before, 1536]);
    this.#slots.push([NOWHERE, 1536]);
    this.actions.push(
      (a, b, c) => this.#post(a, b, c),
      (a, b, c) => this.#post(a, b, c),
      (a, b, c) => this.#post(a, b, c),
      (a) => this.#postPlain(a),
      (a) => this.#set(R.MBOX_SEND_PROD, a % 8 === 0 ? a >>> 8 : this.#tail),
      (a) => this.#set(R.MBOX_SEND_PROD, a % 8 === 0 ? a >>> 8 : this.#tail),
      (a, b) => this.#give(a, b),
      (a, b) => this.#give(a, b),
      (a) => this.#set(a & 0x100 ? R.MBOX_STD_PROD : R.MBOX_JUMBO_PROD, a % RING),
      (a) => this.card.writeBar(0, R.MBOX_RET_CON.at((a >>> 8) % RETURN_RINGS), 4, a % RING),
      (a, b) => this.#set(R.MAC_RX_MODE, R.MAC_RX_MODE.ENABLE | (a % 4 === 0 ? this.value(b) : 0)),
      (a) => this.#set(R.MAC_MODE, 8 | (a % 4 === 0 ? R.MAC_MODE.PORT_INT_LPBACK : 0)),
      (a, b) => this.#controlBlock(a, b),
      (a, b) => this.#sram(0x400 + ((a % 0x4_0000) & ~3), this.value(b)),
      (a, b) => this.#configuration((a % 0x200) & ~3, b),
    );
    this.begin();
  }

  #set(register: AnyRegister, value: number): void {
    this.card.writeBar(0, offsetOf(register), 4, value >>> 0);
  }

  #sram(at: number, value: number): void {
    this.card.config.write(R.MEM_WIN_BASE_ADDR.at, 4, at);
    this.card.config.write(R.MEM_WIN_DATA.at, 4, value >>> 0);
  }

  protected override bringUp(): void {
    this.card.config.write(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    this.card.config.write(R.MISC_HOST_CTRL.at, 4, R.MISC_HOST_CTRL.INDIR_ACCESS);
    for (const ring of [0, 1, 2, 3, 4]) this.#controlBlock(ring, 1);
    for (const [name, address] of Object.entries(this.#addresses))
      this.#set(R[name as 'RCVDBDI_STD_ADDR_LOW'], address);
    this.#set(R.RCVDBDI_STD_LEN_FLAGS, (RING << 16) | (1536 << 2));
    this.#set(R.RCVDBDI_JUMBO_LEN_FLAGS, RING << 16);
    this.#set(R.HOSTCC_RXMAX_FRAMES, 1);
    for (const block of BLOCKS) this.#set(block, 2);
    this.#set(R.MAC_MODE, 8);
    this.#set(R.MAC_RX_MODE, R.MAC_RX_MODE.ENABLE | R.MAC_RX_MODE.PROMISC);
  }

  protected override clear(): void {
    for (const ring of [this.#standard, this.#jumbo, ...this.#returns]) this.memory.fill(ring, RING * 32, 0);
    this.memory.fill(this.#send, RING * 16, 0);
    this.memory.fill(this.#status, STATUS, 0);
    for (let i = 0; i < 2 * RING; i++) this.#give(i * 2, Math.imul(i, 0x9e3779b1) >>> 0);
  }

  /** The address of a ring or block is one of a few; and in one access, so that it is no other on the way. */
  protected override writeRegister(offset: number, value: number, width: number): void {
    if (offset < 0x100 || offset >= 0x8000) return; // windows: by #configuration and #sram
    const address = this.#addresses[BCM57XX.find(offset & ~3)?.name ?? ''];
    if (address === undefined) this.card.writeBar(0, offset, ([4, 4, 2, 1] as const)[width % 4]!, this.value(value));
    else
      this.card.writeBar(0, offset & ~3, 4, [address, address, address === 0 ? 1 : address + 8, NOWHERE][value % 4]!);
  }

  #configuration(at: number, b: number): void {
    const { MEM_WIN_BASE_ADDR, MEM_WIN_DATA, REG_BASE_ADDR, REG_DATA } = R;
    const isWindow = [MEM_WIN_BASE_ADDR, MEM_WIN_DATA, REG_BASE_ADDR, REG_DATA].some((register) => register.at === at);
    if (!isWindow) this.card.config.write(at, 4, this.value(b));
  }

  /** A ring's control block, sound or with any number of entries. */
  #controlBlock(a: number, b: number): void {
    const ring = a % (1 + RETURN_RINGS);
    const at = ring === 0 ? SRAM_SEND_RCB : SRAM_RET_RCB + 16 * (ring - 1);
    const sound = ring === 0 ? this.#send : this.#returns[ring - 1]!;
    this.#sram(at, b % 32 === 0 ? 1 : 0);
    this.#sram(at + 4, [NOWHERE, sound, sound, sound, sound + 8][b % 5]!);
    this.#sram(at + 8, b % 8 === 0 ? this.value(b >>> 3) : RING << 16);
  }

  #post(a: number, b: number, c: number): void {
    const length = LENGTHS[b % LENGTHS.length]!;
    const segments = c % 4 === 0 ? 0x300 | (1 << 10) : 0;
    const flags = (c % 8 < 5 ? 4 : 0) | segments | (a % 4 === 0 ? (c >>> 8) & 0xffff : 0);
    const mss = LENGTHS[(b >>> 8) % 9]! | (a & 0x800 ? 2 << 14 : c >>> 16);
    this.#put(this.outgoing(a >>> 2, length), (length << 16) | flags, (mss << 16) | (c & 0xffff));
  }

  /** What goes in one burst. */
  #postPlain(a: number): void {
    for (let i = a % 16; i >= 0; i--) this.#put(this.outgoing(a >>> 2, 64), (64 << 16) | TX_END, 0);
    this.#set(R.MBOX_SEND_PROD, this.#tail);
  }

  #put(address: number, word2: number, word3: number): void {
    this.memory.put(this.#send + 16 * this.#tail, [0, address, word2, word3]);
    this.#tail = (this.#tail + 1) % RING;
  }

  #give(a: number, b: number): void {
    const [address, size] = this.#slots[b % this.#slots.length]!;
    const ring = a & 1 ? this.#jumbo : this.#standard;
    this.memory.put(ring + 32 * ((a >>> 1) % RING), [0, address, (a << 16) | size, 4, 0, 0, 0, a]);
  }
}
