/**
 * The kernel itself out of a bzImage, as "The Linux/x86 Boot Protocol" lays it out. QEMU boots it directly (PVH), and the
 * guest is spared unpacking it: under TCG that is half of the whole boot.
 */
import { closeSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { run } from './run.ts';

const SECTOR = 512;
const ELF = 0x7f454c46;
const [SETUP_SECTORS, SIGNATURE, PAYLOAD_OFFSET, PAYLOAD_LENGTH] = [0x1f1, 0x202, 0x248, 0x24c];
const SIZE_BYTES = 4; // behind the payload: its size unpacked

/** Whether it begins as a bzImage or an ELF file does. */
export function isBootable(path: string): boolean {
  const start = Buffer.alloc(SECTOR * 2);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, start);
  } finally {
    closeSync(fd);
  }
  return start.readUInt32BE(0) === ELF || isBzImage(start);
}

/** Null where it is not compressed in a way known here. */
export async function unpackKernel(bzImage: string, folder: string): Promise<string | null> {
  const packed = payload(readFileSync(bzImage));
  const into = join(folder, 'vmlinux');
  const magic = packed?.subarray(0, 4).toString('hex');
  if (!packed || magic === undefined) return null;
  if (magic.startsWith('1f8b')) writeFileSync(into, gunzipSync(packed));
  else {
    const tool = magic === 'fd377a58' ? 'xz' : magic === '28b52ffd' ? 'zstd' : null;
    if (tool === null) return null;
    const from = join(folder, 'payload');
    writeFileSync(from, packed);
    await run(['sh', '-ec', `${tool} -dc < "$1" > "$2"; rm "$1"`, tool, from, into]);
  }
  if (readFileSync(into).readUInt32BE(0) === ELF) return into;
  rmSync(into);
  return null;
}

function isBzImage(image: Buffer): boolean {
  return image.length >= SECTOR * 2 && image.toString('latin1', SIGNATURE, SIGNATURE + 4) === 'HdrS';
}

function payload(image: Buffer): Buffer | null {
  if (!isBzImage(image)) return null;
  const start = ((image[SETUP_SECTORS] || 4) + 1) * SECTOR + image.readUInt32LE(PAYLOAD_OFFSET);
  const length = image.readUInt32LE(PAYLOAD_LENGTH);
  return image.subarray(start, start + length - SIZE_BYTES);
}
