/** What is said to a vfio-user server: as it should be, and altered at random. */
import { access, COMMAND, fields, written } from '../native/vfio-client.ts';

const [BAR0, CONFIG, PAGE] = [0, 7, 4096];

export interface Said {
  readonly bytes: Buffer;
  readonly fds: readonly number[];
}

export const say = (
  id: number,
  command: number,
  payload: Uint8Array,
  { fds = [] as readonly number[], flags = 0 } = {},
) => ({
  bytes: Buffer.concat([fields([16, id], [16, command], [32, 16 + payload.length], [32, flags], [32, 0]), payload]),
  fds,
});

const RING = 0x10_0000;

/** What QEMU and a driver say to a card, from the introduction to frames that come back through the loopback. */
export function conversation(memfd: number, eventfd: number): Said[] {
  let id = 0;
  const said: Said[] = [];
  const ask = (command: number, payload: Uint8Array, fds: readonly number[] = []) =>
    said.push(say(id++, command, payload, { fds }));
  const put = (region: number, offset: number, value: number, count = 4) =>
    said.push(say(id++, COMMAND.write, written(region, offset, value, count), { flags: 0x10 }));
  const words = (...values: number[]) => fields(...values.map((value) => [32, value] as const));
  ask(COMMAND.version, Buffer.concat([words(0), Buffer.from('{"capabilities":{"max_msg_fds":16}}\0')]));
  ask(COMMAND.deviceInfo, words(16, 0, 0, 0));
  for (const region of [0, 2, 7]) ask(COMMAND.regionInfo, words(32, 0, region, 0, 0, 0, 0, 0));
  for (const index of [0, 1, 2]) ask(COMMAND.irqInfo, words(16, 0, index, 0));
  ask(COMMAND.map, fields([32, 32], [32, 3], [64, 0], [64, RING], [64, 16 * PAGE]), [memfd]);
  ask(COMMAND.map, fields([32, 32], [32, 1], [64, PAGE], [64, 0xc_0000], [64, PAGE]), [memfd]);
  ask(COMMAND.setIrqs, words(20, 4 | 32, 0, 0, 1), [eventfd]);
  ask(COMMAND.setIrqs, words(20, 4 | 16, 0, 0, 1), [eventfd]);
  ask(COMMAND.setIrqs, words(20, 4 | 32, 1, 0, 1), [eventfd]);
  ask(COMMAND.read, access(CONFIG, 0, 64));
  put(CONFIG, 4, 6, 2);
  for (const [offset, value] of [
    [0x0000, 0x40], // CTRL: SLU
    [0x00d0, 0xff], // IMS
    [0x2800, RING], // RDBAL, RDLEN, RDT
    [0x2808, 128],
    [0x2818, 7],
    [0x0100, 0x801a | 0xc0], // RCTL: EN, loopback
    [0x3800, RING + 0x1000], // TDBAL, TDLEN
    [0x3808, 128],
    [0x0400, 0x0004_010a], // TCTL
    [0x3818, 5], // TDT
  ] as const)
    put(BAR0, offset, value);
  const entry = (offset: number, value: number) => fields([64, offset], [32, BAR0], [32, 4], [64, value]);
  ask(COMMAND.writeMulti, Buffer.concat([fields([64, 2]), entry(0xc8, 0xff), entry(0x3818, 7)]));
  ask(COMMAND.read, access(BAR0, 0xc0, 4));
  ask(COMMAND.read, access(BAR0, 0x4000, 256));
  ask(COMMAND.setIrqs, words(20, 1 | 16, 0, 0, 1));
  ask(COMMAND.setIrqs, Buffer.concat([words(21, 2 | 32, 1, 0, 1), Buffer.of(1)]));
  ask(COMMAND.unmap, fields([32, 24], [32, 0], [64, 0xc_0000], [64, PAGE]));
  put(BAR0, 0x3818, 1);
  ask(COMMAND.setIrqs, words(20, 1 | 32, 0, 0, 0));
  ask(COMMAND.reset, Buffer.alloc(0));
  ask(COMMAND.read, access(CONFIG, 0, 4));
  return said;
}

/** A stream of whole numbers below a bound; the same for the same seed. */
export function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const ODD = [0, 1, 3, 15, 16, 17, 20, 0x1000, 0x20000, 0x10_0020, 0x10_0021, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** One message, altered in one of the ways that there are; none, or several, may come of it. */
function altered({ bytes, fds }: Said, random: (below: number) => number, spare: readonly number[]): Said[] {
  const copy = Buffer.from(bytes);
  const odd = () => ODD[random(ODD.length)]!;
  const place = (size: number) => random(Math.max(1, copy.length - size + 1));
  switch (random(13)) {
    case 0:
      for (let i = random(8); i >= 0; i--) copy[random(copy.length)] = random(256);
      return [{ bytes: copy, fds }];
    case 1:
      copy[random(copy.length)]! ^= 1 << random(8);
      return [{ bytes: copy, fds }];
    case 2:
      copy.writeUInt32LE(odd(), 4 * random(copy.length >> 2));
      return [{ bytes: copy, fds }];
    case 3:
      copy.writeUInt32LE(odd(), 4); // its size
      return [{ bytes: copy, fds }];
    case 4:
      copy.writeUInt32LE(random(4) === 0 ? odd() : random(64), 8); // its flags
      return [{ bytes: copy, fds }];
    case 5:
      copy.writeUInt16LE(random(18), 2); // its command
      return [{ bytes: copy, fds }];
    case 6:
      return [{ bytes: copy.subarray(0, place(1)), fds }];
    case 7: {
      const more = Buffer.concat([copy, Buffer.alloc(random(40), random(256))]);
      if (random(2) === 0) more.writeUInt32LE(more.length, 4);
      return [{ bytes: more, fds }];
    }
    case 8: {
      const shorter = copy.subarray(0, 16 + random(copy.length - 15));
      shorter.writeUInt32LE(shorter.length, 4);
      return [{ bytes: shorter, fds }];
    }
    case 9:
      return [
        { bytes, fds },
        { bytes, fds },
      ];
    case 10:
      return [];
    case 11: {
      const some = Array.from({ length: [0, 1, 2, 16, 17, 40][random(6)]! }, () => spare[random(spare.length)]!);
      return [{ bytes, fds: some }];
    }
    default: {
      const at = 1 + random(copy.length - 1);
      return [
        { bytes: copy.subarray(0, at), fds: random(2) === 0 ? fds : [] },
        { bytes: copy.subarray(at), fds },
      ];
    }
  }
}

/** With some of its messages altered, and some in another order. */
export function spoilt(said: readonly Said[], random: (below: number) => number, spare: readonly number[]): Said[] {
  const often = [8, 20, 60, 200][random(4)]!;
  const result = said.flatMap((one, i) => (i > 0 && random(often) === 0 ? altered(one, random, spare) : [one]));
  if (random(4) === 0) result[0] = altered(said[0]!, random, spare)[0] ?? said[0]!;
  for (let swaps = random(4) === 0 ? random(6) : 0; swaps > 0; swaps--) {
    const [a, b] = [1 + random(result.length - 1), 1 + random(result.length - 1)];
    [result[a], result[b]] = [result[b]!, result[a]!];
  }
  return result.slice(0, random(5) === 0 ? random(result.length) : result.length);
}
