/**
 * The NVRAM: big-endian words behind an arbiter, and the station address in them; or where boot code has put that.
 * The layout is Broadcom 5722-PG101-R's legacy format.
 */
import { crc32 } from '../../sim/crc32.ts';
import { SRAM_MAC_HIGH, SRAM_MAC_LOW } from '../../sim/tg3/descriptors.ts';
import { DeviceError } from '../device.ts';
import { MILLISECOND } from '../net-driver.ts';
import { type Chip, R } from './chip.ts';

const LOCK_LIMIT = 160 * MILLISECOND;
const READ_LIMIT = 100 * MILLISECOND;
/** Header and manufacturing block. */
const BYTES = 0x100;
const MAGIC = 0x669955aa;
const HEADER_CRC = 0x10;
const MANUFACTURING = 0x74;
const MANUFACTURING_CRC = 0xfc;
const MAC = 0x7e;
/** "HK" in front of an address that boot code has put into SRAM. */
const SRAM_MAC_SIGNATURE = 0x484b;

/** SRAM's, where boot code left one, else the NVRAM's. */
export async function readStationAddress(chip: Chip, ignoreChecksum: boolean): Promise<Uint8Array> {
  const fromSram = sramAddress(chip);
  if (fromSram !== null) return fromSram;
  const image = await readNvram(chip);
  if (!ignoreChecksum) checkImage(chip, image);
  const mac = image.slice(MAC, MAC + 6);
  if ((mac[0]! & 1) === 0 && mac.some((byte) => byte !== 0)) return mac;
  throw badNvram(chip, `holds ${[...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':')} for an address`);
}

function sramAddress(chip: Chip): Uint8Array | null {
  const high = chip.readSram(SRAM_MAC_HIGH);
  if (high >>> 16 !== SRAM_MAC_SIGNATURE) return null;
  const low = chip.readSram(SRAM_MAC_LOW);
  const mac = Uint8Array.of(high >>> 8, high, low >>> 24, low >>> 16, low >>> 8, low);
  return (mac[0]! & 1) === 0 && mac.some((byte) => byte !== 0) ? mac : null;
}

function checkImage(chip: Chip, image: Uint8Array): void {
  const view = new DataView(image.buffer);
  const magic = view.getUint32(0);
  if (magic !== MAGIC) throw badNvram(chip, `begins with 0x${magic.toString(16)}, not 0x${MAGIC.toString(16)}`);
  checkSum(chip, view, 'header', 0, HEADER_CRC);
  checkSum(chip, view, 'manufacturing block', MANUFACTURING, MANUFACTURING_CRC);
}

function checkSum(chip: Chip, view: DataView, what: string, from: number, to: number): void {
  const sum = crc32(new Uint8Array(view.buffer), from, to - from);
  const stored = view.getUint32(to, true);
  if (sum === stored) return;
  throw badNvram(chip, `has a ${what} with CRC 0x${sum.toString(16)}, and 0x${stored.toString(16)} is written there`);
}

function badNvram({ device }: Chip, what: string): DeviceError {
  return new DeviceError(
    'BAD_NVM',
    `${device.name}: the NVRAM ${what}: rewrite it, or start with ignoreNvmChecksum and an address of your own`,
  );
}

/** Arbitration: request 1 is the driver's; firmware has the others. */
export async function lockNvram(chip: Chip): Promise<void> {
  const { NVRAM_SWARB } = R;
  chip.write(NVRAM_SWARB, NVRAM_SWARB.REQ_SET1);
  await chip.poll(NVRAM_SWARB, NVRAM_SWARB.GNT1, NVRAM_SWARB.GNT1, LOCK_LIMIT, 'asking for the NVRAM');
}

async function readNvram(chip: Chip): Promise<Uint8Array> {
  const { NVRAM_SWARB, NVRAM_ACCESS } = R;
  const image = new Uint8Array(BYTES);
  const view = new DataView(image.buffer);
  try {
    await lockNvram(chip);
    chip.set(NVRAM_ACCESS, NVRAM_ACCESS.ACCESS_ENABLE);
    for (let at = 0; at < BYTES; at += 4) view.setUint32(at, await readWord(chip, at));
  } finally {
    chip.clear(NVRAM_ACCESS, NVRAM_ACCESS.ACCESS_ENABLE);
    chip.write(NVRAM_SWARB, NVRAM_SWARB.REQ_CLR1);
  }
  return image;
}

async function readWord(chip: Chip, at: number): Promise<number> {
  const { NVRAM_ADDR, NVRAM_CMD, NVRAM_RDDATA } = R;
  chip.write(NVRAM_ADDR, at);
  chip.write(NVRAM_CMD, NVRAM_CMD.GO | NVRAM_CMD.DONE | NVRAM_CMD.FIRST | NVRAM_CMD.LAST);
  await chip.poll(NVRAM_CMD, NVRAM_CMD.DONE, NVRAM_CMD.DONE, READ_LIMIT, `reading NVRAM word 0x${at.toString(16)}`);
  return chip.read(NVRAM_RDDATA);
}
