/** Packets that are freed are spoilt: who still reads one gets nonsense, who writes to one, or frees it again, is found out. */
import assert from 'node:assert/strict';
import type { PacketBuffer, PacketPool } from '../../drivers/packet.ts';

const POISON = 0x6b;
const LONGEST = Buffer.alloc(256 * 1024, POISON);
/** No number of these makes sense. */
const NONSENSE = {
  start: 0x6b6b6b,
  length: 0x6b6b6b,
  total: 0x6b6b6b,
  flags: 0x6b6b6b,
  vlan: 0x6b6b6b,
  mss: 0x6b6b6b,
  headerLength: 0x6b6b6b,
  checksumStart: 0x6b6b6b,
  checksumOffset: 0x6b6b6b,
  hash: 0x6b6b6b,
  hashType: 0x6b6b6b,
};

/** From now on for all that `pool` hands out. `check` looks at what is free now. */
export function poison(pool: PacketPool): { check(): void } {
  const freed = new Set<PacketBuffer>();
  const take = pool.take.bind(pool);
  const put = pool.put.bind(pool);
  pool.put = (buffer) => {
    assert(!freed.has(buffer), 'a packet is freed twice');
    freed.add(buffer);
    buffer.bytes.fill(POISON);
    Object.assign(buffer, NONSENSE);
    put(buffer);
  };
  pool.take = () => {
    const buffer = take();
    if (buffer !== null && freed.delete(buffer)) checkUntouched(buffer);
    return buffer;
  };
  return {
    check() {
      for (const buffer of freed) checkUntouched(buffer);
    },
  };
}

function checkUntouched({ bytes }: PacketBuffer): void {
  const now = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  assert(now.equals(LONGEST.subarray(0, now.length)), 'a packet is written to after it was freed');
}
