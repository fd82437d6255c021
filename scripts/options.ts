/** Options as they are typed, checked one by one. What is wrong with one is said in one line. */
import { InvalidArgumentError, Option } from 'commander';
import { IMIX, LEAST_FRAME } from '../drivers/join/generator.ts';
import {
  FEATURE_JUMBO,
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_FILTER,
  FEATURE_VLAN_INSERT,
  FEATURE_VLAN_STRIP,
} from '../drivers/netdev.ts';
import { completeFaults, type Impairments } from '../sim/wire/impairments.ts';

const bad = (message: string) => new InvalidArgumentError(message);

/** A parser of whole numbers within bounds; `step` where only multiples count. */
export function whole(low: number, high: number, step = 1): (text: string) => number {
  const range = `${low} to ${high}${step > 1 ? `, a multiple of ${step}` : ''}`;
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (value >= low && value <= high && value % step === 0) return value;
    throw bad(`Give a whole number from ${range}.`);
  };
}

/** 0x40, 0b1000000, 64 */
export function word32(text: string): number {
  const value = /^(0x[\da-f]+|0b[01]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (value <= 0xffffffff) return value;
  throw bad('Give a whole number of 32 bits: 0x40, 0b1000000 or 64.');
}

export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (value >= 0.1 && value <= 86_400) return value;
  throw bad('Give seconds from 0.1 to 86400.');
}

const PREFIXES: Record<string, number> = { k: 1e3, m: 1e6, g: 1e9 };

/** 1500, 2.5k, 10M, 1G */
function scaled(text: string): number {
  const [, digits, prefix = ''] = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(text) ?? [];
  return digits === undefined ? NaN : Number(digits) * (PREFIXES[prefix.toLowerCase()] ?? 1);
}

/** A card's own. */
export function macAddress(text: string): Uint8Array {
  const mac = destination(text);
  if (mac[0]! & 1) throw bad('It is a multicast address: the first byte must be even.');
  return mac;
}

/** Multicast and broadcast addresses, too. */
export function destination(text: string): Uint8Array {
  if (!/^[\da-f]{2}([:-][\da-f]{2}){5}$/i.test(text)) throw bad('Give six bytes, such as 02:00:00:00:00:01.');
  const mac = Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16));
  if (mac.every((byte) => byte === 0)) throw bad('It must not be all zeros.');
  return mac;
}

export type Rate = { readonly packetsPerSecond: number } | { readonly bitsPerSecond: number };

const FASTEST = 1e8;

/** "max", packets a second, or bits a second where "bit" stands behind; undefined means as fast as it goes. */
export function rate(text: string): Rate | undefined {
  if (text === 'max') return undefined;
  const inBits = /bits?(\/s|ps)?$/i.test(text);
  const value = scaled(text.replace(/(pps|bits?(\/s|ps)?)$/i, '').trim());
  if (inBits && value >= 1000 && value <= 1e12) return { bitsPerSecond: value };
  if (!inBits && value >= 1 && value <= FASTEST) return { packetsPerSecond: value };
  throw bad('Give 1 to 100M packets a second (100k), 1k to 1000G bits a second (1Gbit), or max.');
}

/** Frame sizes without FCS: "64", "64-1514", or "imix". The card's own maximum is checked once it is known. */
export function frameSizes(text: string): readonly number[] {
  if (text === 'imix') return IMIX;
  const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (from === undefined) throw bad('Give bytes (64), a range (64-1514), or imix.');
  const [low, high] = [Number(from), Number(to)];
  if (low < 14) throw bad(`A frame has 14 bytes at least: its header. A generated one has ${LEAST_FRAME}.`);
  if (low < LEAST_FRAME) throw bad(`A generated frame has ${LEAST_FRAME} bytes at least.`);
  if (high < low) throw bad('The range ends before it begins.');
  if (high > 16_110) throw bad('No card takes frames over 16110 bytes.');
  return Array.from({ length: high - low + 1 }, (_, i) => low + i);
}

const FEATURES: Record<string, number> = {
  'rx-checksum': FEATURE_RX_CHECKSUM,
  'tx-checksum': FEATURE_TX_CHECKSUM,
  tso4: FEATURE_TSO4,
  tso6: FEATURE_TSO6,
  'vlan-strip': FEATURE_VLAN_STRIP,
  'vlan-insert': FEATURE_VLAN_INSERT,
  'vlan-filter': FEATURE_VLAN_FILTER,
  jumbo: FEATURE_JUMBO,
};

export function featureNames(features: number): string[] {
  return Object.keys(FEATURES).filter((name) => features & FEATURES[name]!);
}

/** A list of names: "tx-checksum,tso4"; "none" and "all" too. */
export function features(text: string): number {
  if (text === 'all') return Object.values(FEATURES).reduce((a, b) => a | b);
  if (text === 'none') return 0;
  return text.split(',').reduce((sum, name) => {
    if (!Object.hasOwn(FEATURES, name))
      throw bad(`There is no feature ${name}: all, none, or some of ${Object.keys(FEATURES).join(',')}.`);
    return sum | FEATURES[name]!;
  }, 0);
}

const TIMES: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 };

function duration(text: string): number {
  const [, digits, unit = 'ns'] = /^(\d+(?:\.\d+)?)(ns|us|µs|ms|s)?$/.exec(text) ?? [];
  return digits === undefined ? NaN : Number(digits) * TIMES[unit]!;
}

const probability = (text: string) => (text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text || NaN));

const WIRE: Record<string, (text: string) => number> = {
  latency: duration,
  jitter: duration,
  rate: (text) => scaled(text.replace(/bits?(\/s|ps)?$/i, '')),
  loss: probability,
  duplicate: probability,
  reorder: probability,
  corrupt: probability,
};

/** "latency=1ms,loss=0.1%,rate=1G" */
export function wire(text: string): Impairments {
  const entries = text.split(',').map((part) => {
    const [name = '', value = ''] = part.split('=');
    if (!Object.hasOwn(WIRE, name))
      throw bad(`A wire has no ${name || 'nameless option'}: ${Object.keys(WIRE).join(', ')}.`);
    return [name, WIRE[name]!(value)] as const;
  });
  const impairments: Impairments = Object.fromEntries(entries);
  try {
    completeFaults(impairments);
  } catch (error) {
    throw bad(`${(error as Error).message}.`);
  }
  return impairments;
}

const wireHelp =
  'what the wire does to frames, both ways: latency=1ms,jitter=100us,rate=1G,loss=0.1%,duplicate=…,reorder=…,corrupt=…';

export const OPTIONS = {
  json: () => new Option('--json', 'one JSON object at the end, nothing else'),
  seed: () => new Option('--seed <n>', 'what all chance follows from').argParser(whole(0, 0xffffffff)).default(1),
  pcap: () => new Option('--pcap <file>', "write the wire's frames to a pcapng file"),
  trace: () => new Option('--trace <file>', 'write every register access and descriptor; "-" is standard output'),
  seconds: () => new Option('--seconds <n>', 'stop after so long').argParser(seconds),
  wire: () => new Option('--wire <faults>', wireHelp).argParser(wire),
};
