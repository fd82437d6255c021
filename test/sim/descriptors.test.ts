/** Descriptors as a trace and a shell show them: each driver's by its own. */
import test from 'ava';
import { familyOf, MODELS } from '../../scripts/catalogue.ts';
import { inHex } from '../../scripts/families/descriptor-text.ts';

const ROWS: [model: string, ring: string, words: number[], says: string][] = [
  ['e1000', 'tx', [0x318040, 0, 0x0300003c, 0], 'legacy buffer=0x00318040 length=60 EOP IFCS'],
  ['e1000', 'rx', [0x318040, 0, 60, 3], 'buffer=0x00318040 length=60 DD EOP'],
  ['tg3', 'send', [0, 0x318040, 0x003c0044, 0x0007], 'buffer=0x00318040 length=60 END VLAN vlan=0x0007'],
  [
    'tg3',
    'send',
    [1, 0x318040, 0x40000b05, 0x45b40000],
    'buffer=0x100318040 length=16384 TCPUDP_CSUM END TSO mss=0x45b4 header=0x0800',
  ],
  [
    'tg3',
    'standard',
    [0, 0x318040, 0x00050600, 4, 0, 0, 0, 0x5b000005],
    'buffer=0x00318040 index=5 length=1536 END opaque=0x5b000005',
  ],
  [
    'tg3',
    'return2',
    [0, 0x318040, 0x00050040, 0x704c, 0xffffffff, 0x64, 0x1234, 7],
    'buffer=0x00318040 index=5 length=64 END RSS_HASH VLAN IP_CSUM TCPUDP_CSUM TCP sums=0xffffffff vlan=0x0064 hash=0x00001234 type=0 opaque=0x00000007',
  ],
  [
    'tg3-5721',
    'return0',
    [0, 0x40, 60, 0x404, 0, 0x810000, 0, 1],
    'buffer=0x00000040 index=0 length=60 END ERROR BAD_CRC TRUNC_NO_RES opaque=0x00000001',
  ],
  [
    'tg3',
    'jumbo',
    [0, 0x1000, 0, 0x2000, 0, 0, 0x04000200, 0, 0, 0x3000, 9046, 0x24, 0, 0, 0, 9],
    'buffer=0x00003000 index=0 length=9046 END JUMBO opaque=0x00000009 and buffer=0x00001000 length=1024 and buffer=0x00002000 length=512',
  ],
  ['tg3', 'send', [1, 2, 3], '0x00000001 0x00000002 0x00000003'],
];
for (const [model, ring, words, says] of ROWS) {
  test(`${model}: ${ring} ${says.slice(0, 60)}`, (t) => {
    const { describe = inHex } = familyOf(MODELS.find(({ name }) => name === model)!);
    // Between others: only its own words count.
    const memory = Uint32Array.from([0xdeadbeef, ...words, 0xdeadbeef]);
    t.is(describe(ring, memory, 1, words.length), says);
  });
}
