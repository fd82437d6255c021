/** What two cards of the 8254x are told to do: a fixed part that looks at everything once, then at random from a seed. */
import { I82540EM } from '../../../../sim/e1000/registers.ts';
import { foldChecksum, Headers, parseHeaders, pseudoHeaderSum, put16, put32 } from '../../../../sim/packet.ts';
import type { NamedRow } from '../../../../sim/registers.ts';
import { Prng } from '../../../../sim/wire/prng.ts';
import { MAC, type Step } from '../../../lockstep/step.ts';

const { CTRL, IMC, IMS, ICS, ICR, MTA, RDH, TDH, STATUS } = I82540EM.r;

const NVM_WORDS = 64;
const PHY_REGISTERS = 32;
const CAUSES = 0xd7 | 0x200; // those that every card of the family has
/** Until the link is there, and QEMU's e1000 receives again after a write to RCTL. */
const SETTLE = 2_000;
const SHORT = 20;
const ARRAY_MOST = 128;
const OTHER = Uint8Array.of(0x02, 0, 0, 0, 0xbe, 0xef);

export function makeScript(seed: number, steps: number): Step[] {
  return [...fixedPart(), ...randomPart(new Prng(seed), steps)];
}

/** Every register of an array, but for one so long that the first ones tell: the packet buffer. */
const everyOffset = ({ offsets }: NamedRow) => [...offsets.subarray(0, ARRAY_MOST)];
const read = (at: number): Step => ({ does: 'read', at });
const write = (at: number, value: number): Step => ({ does: 'write', at, value });

/** Reset values, every register's bits, NVM, PHY, interrupt causes, and rings at last. */
function fixedPart(): Step[] {
  const rows = I82540EM.rows.filter(({ access }) => access !== 'WO');
  const storage = rows.filter(({ access, live }) => access === 'RW' && live !== true);
  const steps: Step[] = [write(IMC.at, 0xffffffff), write(CTRL.at, CTRL.RST), { does: 'pass', ms: 20 }];
  for (const row of rows) for (const at of everyOffset(row)) steps.push(read(at));
  for (const value of [0xffffffff, 0])
    for (const row of storage) for (const at of everyOffset(row)) steps.push(write(at, value), read(at));
  for (let word = 0; word < NVM_WORDS; word++) steps.push({ does: 'nvm', word });
  for (let register = 0; register < PHY_REGISTERS; register++) steps.push({ does: 'phy', register });
  for (let bit = 1; bit < 1 << 10; bit <<= 1) {
    if ((CAUSES & bit) === 0) continue;
    steps.push(write(ICS.at, bit), write(IMS.at, bit), read(IMS.at), read(ICR.at), read(ICR.at));
    steps.push(write(IMC.at, bit), read(IMS.at));
  }
  steps.push(write(CTRL.at, CTRL.RST), { does: 'pass', ms: 20 }, { does: 'set up' }, { does: 'pass', ms: SETTLE });
  steps.push(read(STATUS.at), read(ICR.at));
  steps.push({ does: 'transmit', frame: frameTo(OTHER, SHORT, new Prng(1)), offload: 'none' });
  return steps;
}

/**
 * Where the multicast table has the hash of OTHER (13.5.1), which is no multicast address. QEMU looks there for any frame;
 * the manual has the table for multicast frames, and so has our model. From then on their rings would differ.
 */
const OTHER_HASH = { at: MTA.at(119), bit: 1 << 27 };

/** What random steps may write: registers that store, and none that says where rings are or when something happens. */
const LEFT_ALONE = /^(RD|TD|RX|TX|RCTL|TCTL|RADV|TADV|TIDV|ITR|WU|FC|PBA|VET)/;

function randomPart(random: Prng, count: number): Step[] {
  const writable = I82540EM.rows.filter(
    ({ access, live, name }) => access === 'RW' && live !== true && !LEFT_ALONE.test(name),
  );
  const counters = I82540EM.rows.filter(({ access }) => access === 'RC');
  const pick = <T>(from: readonly T[]) => from[random.next() % from.length]!;
  const one = (): Step[] => {
    switch (random.next() % 8) {
      case 0: {
        const at = pick(everyOffset(pick(writable)));
        const value = random.next();
        return [write(at, at === OTHER_HASH.at ? value & ~OTHER_HASH.bit : value), read(at)];
      }
      case 1:
        return [read(pick(counters).at)];
      case 2:
        return [
          write(IMS.at, random.next() & CAUSES),
          read(IMS.at),
          write(IMC.at, random.next() & CAUSES),
          read(IMS.at),
        ];
      case 3:
      case 4:
        return [{ does: 'receive', frame: incoming(random) }, read(ICR.at), read(RDH.at)];
      default:
        return [outgoing(random), read(ICR.at), read(TDH.at)];
    }
  };
  return Array.from({ length: count }, one).flat();
}

function incoming(random: Prng): Uint8Array {
  const to = [MAC, MAC, new Uint8Array(6).fill(0xff), OTHER, Uint8Array.of(1, 0, 0x5e, 0, 0, random.next())];
  const address = to[random.next() % to.length]!;
  return random.chance(0.5)
    ? frameTo(address, 60 + (random.next() % 1455), random)
    : tcpTo(address, 6 + (random.next() % 1400));
}

function outgoing(random: Prng): Step {
  switch (random.next() % 4) {
    case 0:
      return { does: 'transmit', frame: frameTo(OTHER, 60 + (random.next() % 1000), random), offload: 'tag' };
    case 1:
      return {
        does: 'transmit',
        frame: unsummed(tcpTo(OTHER, 6 + (random.next() % 1400)), true),
        offload: 'checksums',
      };
    case 2:
      return {
        does: 'transmit',
        frame: unsummed(tcpTo(OTHER, 2100 + (random.next() % 8) * 1000), false),
        offload: 'segments',
      };
    default:
      return { does: 'transmit', frame: frameTo(OTHER, 60 + (random.next() % 1455), random), offload: 'none' };
  }
}

function frameTo(to: Uint8Array, length: number, random: Prng): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set(to, 0);
  frame.set(OTHER, 6);
  put16(frame, 12, 0x88b5); // IEEE 802 local experimental EtherType 1
  for (let i = 14; i < length; i++) frame[i] = random.next();
  return frame;
}

/** TCP over IPv4, without options. */
export const HEADER_BYTES = 54;

function tcpTo(to: Uint8Array, payload: number): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload);
  frame.set(to, 0);
  frame.set(OTHER, 6);
  put16(frame, 12, 0x0800);
  frame.set([0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6], 14);
  put16(frame, 16, 40 + payload);
  frame.set([10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x00, 0x50], 26);
  put32(frame, 38, 1000);
  frame[46] = 0x50;
  frame[47] = 0x18; // PSH, ACK
  for (let i = 0; i < payload; i++) frame[HEADER_BYTES + i] = (i >> 8) ^ i;
  return frame;
}

/** As a stack hands it to a card: the pseudo header's sum, with the length or, to be segmented, without (3.5.6). */
function unsummed(frame: Uint8Array, withLength: boolean): Uint8Array {
  const headers = new Headers();
  parseHeaders(frame, 0, frame.length, headers);
  const length = withLength ? frame.length - headers.l4 : 0;
  if (!withLength) put16(frame, headers.l3 + 2, 0);
  put16(frame, headers.l4 + 16, foldChecksum(pseudoHeaderSum(frame, 0, headers, length)));
  return frame;
}
