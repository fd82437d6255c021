/**
 * What a network card must do under Linux's own driver. Each test finds the interface up and addressed, and returns a
 * detail for the table, or throws what it found instead.
 */

import type { InterruptMode } from '../../drivers/device.ts';
import { ETHERNET_HEADER, FCS } from '../../sim/packet.ts';
import { linuxDriverOf } from '../catalogue.ts';
import type { Model } from '../families/family.ts';
import { type Bed, expect, PEER, PEER_ADDRESS, PORT } from './bed.ts';

export interface Test {
  readonly name: string;
  /** Why Linux as a process, in virtual time, cannot run it. */
  readonly notVirtual?: string;
  /** Why it is left out there, unless asked for: that all others may take seconds. */
  readonly slow?: string;
  run(bed: Bed): Promise<string>;
}

const BROADCAST = new Uint8Array(6).fill(0xff);
const GROUP = Uint8Array.of(0x01, 0x00, 0x5e, 0x01, 0x02, 0x03);
const OTHER_GROUP = Uint8Array.of(0x01, 0x00, 0x5e, 0x7d, 0x11, 0x55);
const STRANGER = Uint8Array.of(0x02, 0x00, 0x00, 0x12, 0x34, 0x56);

// ---- Coming up ------------------------------------------------------------------------------------------------------

async function probe(bed: Bed): Promise<string> {
  const { module: driver } = bed.linux;
  const said = await bed.sh('readlink /sys/class/net/eth0/device/driver; ethtool -i eth0');
  expect(said.split('\n')[0]!.endsWith(`/${driver}`), `eth0 is not ${driver}'s: ${said.split('\n')[0]}`);
  await noComplaint(bed);
  return /^bus-info: (.+)$/m.exec(said)?.[1] ?? '';
}

/** Warnings of the driver's, and traces of the kernel's; what it says of other devices is not ours. */
async function noComplaint(bed: Bed): Promise<string> {
  const about = new RegExp(`\\b(${bed.linux.module}|eth0)\\b`);
  const complaints = (await bed.sh('dmesg -r')).split('\n').filter((line) => {
    const level = Number(/^<(\d+)>/.exec(line)?.[1] ?? 7) & 7;
    return (level <= 4 && about.test(line)) || /\bWARNING:|\bBUG:|Call Trace/.test(line);
  });
  expect(complaints.length === 0, `dmesg: ${complaints[0]} (${complaints.length} of this kind)`);
  return '';
}

// ---- EEPROM, or flash -----------------------------------------------------------------------------------------------

/** The part that must hold together does, and the driver has its address from there: these bytes. */
async function soundEeprom(bed: Bed): Promise<Uint8Array> {
  const { eepromFault, eepromLength, macAt } = bed.linux;
  const bytes = await readEeprom(bed, 0, eepromLength);
  const fault = eepromFault(bytes);
  expect(fault === null, fault ?? '');
  const mac = hex(bytes.subarray(macAt, macAt + 6));
  const permanent = (await bed.sh('ethtool -P eth0')).split(' ').at(-1);
  expect(mac === permanent, `it holds ${mac}, the driver found ${permanent}`);
  return bytes;
}

async function eeprom(bed: Bed): Promise<string> {
  return `${(await soundEeprom(bed)).length} bytes`;
}

/** Of the spare place: one byte, a word, and an odd number of bytes with whole words in between. */
const WRITES = [
  [0, 1],
  [1, 2],
  [4, 7],
] as const;
const SPARE = 12;
const OTHER_MAC = Uint8Array.of(0x02, 0x00, 0x00, 0x65, 0x43, 0x21);

async function eepromWritten(bed: Bed): Promise<string> {
  const { eepromMend, eepromSpare, macAt } = bed.linux;
  const [sound, spare] = [await soundEeprom(bed), await readEeprom(bed, eepromSpare, SPARE)];
  try {
    for (const [at, length] of WRITES) {
      const wanted = await readEeprom(bed, eepromSpare, SPARE);
      for (let i = at; i < at + length; i++) wanted[i]! ^= 0x5a + i;
      await writeEeprom(bed, eepromSpare + at, wanted.subarray(at, at + length));
      const found = await readEeprom(bed, eepromSpare, SPARE);
      expect(hex(found) === hex(wanted), `after ${length} bytes at ${at} of ${SPARE} it holds ${hex(found)}`);
    }
    const written = hex(await readEeprom(bed, eepromSpare, SPARE));
    const image = await readEeprom(bed, 0, sound.length);
    image.set(OTHER_MAC, macAt);
    eepromMend?.(image);
    await writeEeprom(bed, 0, image);
    await reloaded(bed);
    const own = hex((await soundEeprom(bed)).subarray(macAt, macAt + 6));
    expect(own === hex(OTHER_MAC), `loaded anew the driver found ${own}`);
    const kept = hex(await readEeprom(bed, eepromSpare, SPARE));
    expect(kept === written, `loaded anew it holds ${kept}, not ${written}`);
  } finally {
    await writeEeprom(bed, eepromSpare, spare);
    await writeEeprom(bed, 0, sound);
    await reloaded(bed);
  }
  expect(hex(await soundEeprom(bed)) === hex(sound), 'it does not hold what it held before');
  return `${WRITES.length} ranges, another address`;
}

async function readEeprom(bed: Bed, offset: number, length: number): Promise<Uint8Array> {
  const dump = await bed.sh(`ethtool -e eth0 raw on offset ${offset} length ${length} | od -An -v -t x1`);
  const bytes = Uint8Array.from(dump.trim().split(/\s+/), (hex) => Number.parseInt(hex, 16));
  expect(bytes.length === length, `${bytes.length} bytes, not ${length}`);
  return bytes;
}

async function writeEeprom(bed: Bed, offset: number, bytes: Uint8Array): Promise<void> {
  const magic = bed.linux.eepromMagic(bed.subject.model.id);
  const octal = [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  await bed.sh(`printf '${octal}' | ethtool -E eth0 magic ${magic} offset ${offset} length ${bytes.length}`);
}

/** Unloads the driver and loads it: the card comes up anew. */
async function reloaded(bed: Bed): Promise<void> {
  await bed.sh(`reload ${bed.linux.module}`);
  await bed.fresh();
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

// ---- Interrupts -----------------------------------------------------------------------------------------------------

/** As the tests' names have them. */
const INTERRUPTS: Readonly<Record<InterruptMode, string>> = { msix: 'MSI-X', msi: 'MSI', intx: 'INTx' };
/** A driver's own tick may cause one every now and then: so many come only where the card asks for them. */
const MANY = 20;

function interrupts(mode: InterruptMode): Test['run'] {
  return async (bed) => {
    const best = bed.subject.model.interrupts[0];
    try {
      if (mode === 'intx') await bed.allowMessages(false);
      else if (mode !== best) await bed.guestWithoutMsix();
      const before = await countInterrupts(bed);
      expect(before.mode === mode, `the driver uses ${INTERRUPTS[before.mode]}`);
      const said = await bed.sh(`pings -c 5 -i 0.02 ${PEER_ADDRESS}`);
      expect(said.includes(' 0% packet loss'), `${/\d+% packet loss/.exec(said)?.[0]}`);
      await bed.transfer('out');
      await bed.transfer('in');
      const came = sum((await countInterrupts(bed)).counts) - sum(before.counts);
      expect(came >= MANY, `${came} interrupts came in 2 MiB`);
    } finally {
      if (mode === 'intx') await bed.allowMessages(true);
    }
    await noComplaint(bed);
    return '1 MiB each way';
  };
}

function interruptTest(mode: InterruptMode): Test {
  return { name: `interrupts: ${INTERRUPTS[mode]}`, run: interrupts(mode) };
}

/** The driver's interrupts by vector, as the kernel counts them. */
async function countInterrupts(bed: Bed): Promise<{ mode: InterruptMode; counts: number[] }> {
  const show = 'cat /sys/class/net/eth0/device/msi_irqs/* 2> /dev/null; cat /proc/interrupts';
  const [kinds = '', table = ''] = (await bed.sh(show)).split('CPU0');
  const lines = table.split('\n').filter((line) => /\beth0\b/.test(line));
  const counts = lines.map((line) => Number(/:\s+(\d+)/.exec(line)?.[1]));
  return { mode: kinds.includes('msix') ? 'msix' : kinds.includes('msi') ? 'msi' : 'intx', counts };
}

const QUEUES = 4;
const CONNECTIONS = 16;

/** Receive side scaling: each connection goes to the queue that its hash says, and there are several. */
async function spread(bed: Bed): Promise<string> {
  await bed.sh(`ethtool -L eth0 rx ${QUEUES}; ethtool -X eth0 equal ${QUEUES}; until_ok 20 carrier 1; reachable`);
  try {
    const table = await bed.sh('ethtool -x eth0');
    const used = new Set([...table.matchAll(/^\s*\d+:(.+)$/gm)].flatMap(([, row]) => row!.trim().split(/\s+/)));
    expect(used.size === QUEUES, `the table has ${used.size} queues, not ${QUEUES}`);
    const before = await countInterrupts(bed);
    expect(before.counts.length === QUEUES + 1, `${before.counts.length} vectors, not ${QUEUES + 1}`);
    const connect = `wget -q -O /dev/null http://${PEER_ADDRESS}:${PORT}/kilobyte`;
    await bed.sh(`for i in $(seq ${CONNECTIONS}); do ${connect} || exit 1; done`);
    const { counts } = await countInterrupts(bed);
    const [, ...came] = counts.map((count, vector) => count - before.counts[vector]!);
    const busy = came.filter((count) => count > 0).length; // all in one: once in 10^9 runs
    expect(busy > 1, `${CONNECTIONS} connections came in through ${busy} of ${QUEUES} queues`);
    await bed.transfer('in');
    return `${QUEUES} queues, ${CONNECTIONS} connections`;
  } finally {
    await bed.try('ethtool -L eth0 rx 1');
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

// ---- The link -------------------------------------------------------------------------------------------------------

async function link(bed: Bed): Promise<string> {
  const said = await bed.sh('ethtool eth0');
  for (const line of ['Speed: 1000Mb/s', 'Duplex: Full', 'Auto-negotiation: on', 'Link detected: yes'])
    expect(said.includes(line), `ethtool does not say "${line}"`);
  return '1000 Mbit/s, full duplex';
}

async function linkLoss(bed: Bed): Promise<string> {
  for (let round = 0; round < 3; round++) {
    await bed.cable(false);
    await bed.sh('until_ok 10 carrier 0');
    await bed.cable(true);
    await bed.sh('until_ok 20 carrier 1 && reachable');
  }
  const told = (await bed.sh('dmesg')).match(/Link is Down/gi)?.length ?? 0;
  expect(told >= 3, `the driver told of ${told} losses, not 3`);
  return '3 times';
}

async function speeds(bed: Bed): Promise<string> {
  // Linux's link mode bits (linux/ethtool.h): 10, 100 and 1000 Mbit/s, full duplex.
  for (const [speed, bits] of [
    [10, '0x002'],
    [100, '0x008'],
    [1000, '0x020'],
  ] as const) {
    await bed.sh(`ethtool -s eth0 autoneg on advertise ${bits}; until_ok 20 carrier 1; reachable`);
    const said = /Speed: (.+)/.exec(await bed.sh('ethtool eth0'))?.[1];
    expect(said === `${speed}Mb/s`, `advertising ${speed} Mbit/s alone made ${said}`);
  }
  await bed.sh('ethtool -s eth0 autoneg on advertise 0x02f; until_ok 20 carrier 1');
  return '10, 100, 1000 Mbit/s';
}

async function renegotiation(bed: Bed): Promise<string> {
  const changes = '/sys/class/net/eth0/carrier_changes';
  const before = Number(await bed.sh(`cat ${changes}`));
  // Some seconds for a driver that looks once in two; Linux's tg3 is too slow to see a change in an emulated guest.
  const seen = `seen() { read now < ${changes} && [ "$now" -ge ${before + 2} ]; }`;
  await bed.sh(`${seen}; ethtool -r eth0; until_ok 5 seen; reachable`);
  return '';
}

// ---- Traffic --------------------------------------------------------------------------------------------------------

async function ping(bed: Bed): Promise<string> {
  const sizes = [0, 17, 18, 56, 1472, 1473, 8000, 65_507];
  for (const size of sizes) {
    const said = await bed.sh(`pings -c 5 -i 0.02 -s ${size} ${PEER_ADDRESS}`);
    expect(said.includes(' 0% packet loss'), `${size} bytes: ${/\d+% packet loss/.exec(said)?.[0]}`);
  }
  return `${sizes.length} sizes, 0 to 65507 bytes`;
}

/** What ethtool -K can turn off in Linux's e1000, by itself and all at once. */
const OFFLOADS = ['', 'tx off', 'rx off', 'sg off', 'tso off', 'gso off', 'gro off', 'rxvlan off', 'txvlan off'];
const NO_OFFLOADS = 'tx off rx off sg off tso off gso off gro off rxvlan off txvlan off';

function tcp(direction: 'out' | 'in'): Test['run'] {
  return async (bed) => {
    for (const setting of [...OFFLOADS, NO_OFFLOADS]) {
      await bed.fresh();
      if (setting !== '') await bed.sh(`ethtool -K eth0 ${setting}; reachable`);
      bed.wire.clear();
      await bed.transfer(direction);
      const about = setting || 'all on';
      for (const { segments, badChecksums, longest } of [bed.wire.fromCard, bed.wire.toCard]) {
        expect(segments > 0, `${about}: no TCP on the wire`);
        expect(badChecksums === 0, `${about}: ${badChecksums} of ${segments} segments with a wrong checksum`);
        expect(longest <= 1500 + ETHERNET_HEADER, `${about}: a frame of ${longest} bytes`);
      }
    }
    return `1 MiB with ${OFFLOADS.length + 1} settings`;
  };
}

const MTUS = [68, 576, 1280, 1499, 1500, 1501, 1518, 2026, 2048, 4078, 4096, 8174, 9000, 12_000, 16_109, 16_110];

async function mtus(bed: Bed): Promise<string> {
  const most = Number(/maxmtu (\d+)/.exec(await bed.sh('ip -d link show eth0'))?.[1] ?? Infinity);
  const possible = MTUS.filter((mtu) => mtu <= most);
  for (const mtu of possible) {
    await bed.sh(`mtu ${mtu}; until_ok 20 carrier 1; reachable`);
    bed.wire.clear();
    const said = await bed.sh(`pings -c 3 -i 0.05 -M do -s ${mtu - 28} ${PEER_ADDRESS}`);
    expect(said.includes(' 0% packet loss'), `${mtu}: ${/\d+% packet loss/.exec(said)?.[0]}`);
    const least = Math.max(60, mtu + ETHERNET_HEADER);
    for (const { longest } of [bed.wire.fromCard, bed.wire.toCard])
      expect(longest === least, `${mtu}: a frame of ${longest} bytes on the wire, not ${least}`);
  }
  await bed.transfer('out');
  await bed.transfer('in');
  return `${possible.length} from ${possible[0]} to ${possible.at(-1)}`;
}

async function vlans(bed: Bed): Promise<string> {
  const make = (where: string, dev: string, last: number) =>
    `ip ${where} link add link ${dev} name v5 type vlan id 5; ip ${where} address add 10.9.5.${last}/24 dev v5; ip ${where} link set v5 up`;
  await bed.sh(`${make('', 'eth0', 1)}; ${make('-n peer', 'eth1', 2)}`);
  try {
    for (const setting of ['rxvlan on txvlan on', 'rxvlan off txvlan off']) {
      await bed.sh(`ethtool -K eth0 ${setting}; until_ok 20 carrier 1; until_ok 10 ping -q -c 1 -W 1 10.9.5.2`);
      bed.wire.clear();
      await bed.sh('ping -q -c 3 -i 0.05 10.9.5.2');
      const { fromCard, toCard } = bed.wire;
      expect(fromCard.vlanTagged >= 3 && toCard.vlanTagged >= 3, `${setting}: the tags are not on the wire`);
    }
    await bed.sh('ethtool -K eth0 rxvlan on txvlan on; until_ok 20 carrier 1; reachable');
    const filters = /rx-vlan-filter: on/.test(await bed.sh('ethtool -k eth0'));
    const strange = await heard(bed, () => bed.wire.inject(BROADCAST, { vlan: 6 }));
    expect(!filters || strange === 0, `${strange} frames of a VLAN that nobody asked for got through`);
    expect((await heard(bed, () => bed.wire.inject(BROADCAST, { vlan: 5 }))) > 0, 'frames of VLAN 5 are not heard');
    return `tagged by card and by kernel${filters ? ', filtered' : ''}`;
  } finally {
    await bed.try('ip link delete v5; ip -n peer link delete v5');
  }
}

// ---- Filters --------------------------------------------------------------------------------------------------------

const BURST = 20;
/** A request at the peer and the reply at the card. */
const ECHO = 2;
/** Others' frames that may come in between: ARP looks after its neighbours. */
const STRAYS = 5;

/**
 * How many of so many frames the guest's stack got to see: counted by it (softnet_stat), not by the card. An echo's reply
 * comes in behind all that went before it.
 */
async function heard(bed: Bed, inject: () => void): Promise<number> {
  const count = 'read n rest < /proc/net/softnet_stat; echo $((0x$n))';
  const settled = async () => Number(await bed.sh(`reachable && ${count}`));
  const before = await settled();
  for (let i = 0; i < BURST; i++) inject();
  const got = (await settled()) - before - ECHO;
  return got <= STRAYS ? 0 : got > BURST && got <= BURST + STRAYS ? BURST : got;
}

async function filters(bed: Bed, group: number, otherGroup: number, stranger: number): Promise<void> {
  const wanted = [
    ['broadcasts', BROADCAST, BURST],
    ['its group', GROUP, group],
    ['another group', OTHER_GROUP, otherGroup],
    ["a stranger's", STRANGER, stranger],
  ] as const;
  await bed.sh('reachable'); // QEMU's e1000 hears nothing for a second after a change
  for (const [what, to, count] of wanted) {
    const got = await heard(bed, () => bed.wire.inject(to));
    expect(got === count, `${what}: ${got} of ${BURST} frames got through, not ${count}`);
  }
}

async function multicast(bed: Bed): Promise<string> {
  await filters(bed, 0, 0, 0);
  const group = hex(GROUP);
  await bed.sh(`ip maddress add ${group} dev eth0`);
  try {
    await filters(bed, BURST, 0, 0);
  } finally {
    await bed.try(`ip maddress del ${group} dev eth0`);
  }
  return '';
}

async function manyGroups(bed: Bed): Promise<string> {
  // More than the card has exact filters for (15), so that the hash table comes in.
  const group = (number: number) => Uint8Array.of(0x01, 0x00, 0x5e, 0x01, number, 0x03);
  const numbers = Array.from({ length: 60 }, (_, i) => i + 1);
  // Not in a batch: of several `ip maddress` it does the first.
  const each = (action: string) =>
    numbers.map((number) => `ip maddress ${action} ${hex(group(number))} dev eth0`).join(' && ');
  await bed.sh(`${each('add')} && reachable`);
  try {
    for (const last of [1, 2, 30, 60]) {
      const got = await heard(bed, () => bed.wire.inject(group(last)));
      expect(got === BURST, `group ${last} of 60: ${got} of ${BURST} frames got through`);
    }
  } finally {
    await bed.try(each('del'));
  }
  return '60 groups';
}

async function promiscuous(bed: Bed): Promise<string> {
  await bed.sh('ip link set eth0 allmulticast on');
  await filters(bed, BURST, BURST, 0);
  await bed.sh('ip link set eth0 allmulticast off promisc on');
  await filters(bed, BURST, BURST, BURST);
  await bed.sh('ip link set eth0 promisc off');
  await filters(bed, 0, 0, 0);
  return '';
}

async function anotherAddress(bed: Bed): Promise<string> {
  const own = await bed.sh('cat /sys/class/net/eth0/address');
  await bed.sh('ip link set eth0 down; ip link set eth0 address 02:00:00:12:34:56; bring_up && address && reachable');
  try {
    expect((await heard(bed, () => bed.wire.inject(STRANGER))) === BURST, 'frames to it are not heard');
  } finally {
    await bed.try(`ip link set eth0 down; ip link set eth0 address ${own}`);
  }
  return '';
}

// ---- ethtool --------------------------------------------------------------------------------------------------------

const selfTests = new WeakMap<Bed, Promise<string>>();

/** One part of `ethtool -t offline`, which runs once. */
function selfTest(part: string): Test['run'] {
  return async (bed) => {
    const running = selfTests.get(bed) ?? bed.try('ethtool -t eth0 offline', 90).then(({ output }) => output);
    selfTests.set(bed, running);
    const line = (await running).split('\n').find((line) => line.toLowerCase().startsWith(part));
    expect(line !== undefined, `no ${part} test: ${(await running).split('\n').at(-1)}`);
    const result = Number(/(\d+)\s*$/.exec(line)?.[1]);
    expect(result === 0, `result ${result}`);
    return '';
  };
}

type Counts = (name: string) => number;

/** `ethtool -S`: a name's count, or NaN. */
async function counters(bed: Bed): Promise<Counts> {
  const said = await bed.sh('ethtool -S eth0');
  const counts = new Map([...said.matchAll(/^\s*(\w+): (\d+)$/gm)].map(([, name, value]) => [name!, Number(value)]));
  return (name) => counts.get(name) ?? Number.NaN;
}

/** Such counts as `enough` wants, which may come late; what there is when it is too late for that. */
async function countersWhere(bed: Bed, enough: (counts: Counts) => boolean): Promise<Counts> {
  for (let attempt = 1; ; attempt++) {
    const counts = await counters(bed);
    if (enough(counts) || attempt === ATTEMPTS) return counts;
    await bed.sh('sleep 0.2');
  }
}

/** So long a driver has to fetch counts from its card: 5 s and more. */
const ATTEMPTS = 25;

/** The counts at a moment when nothing passes, so that what shows late is in them; the wire's counts start there. */
async function countersAtRest(bed: Bed): Promise<Counts> {
  const { countersLag } = bed.linux;
  for (let attempt = 1; ; attempt++) {
    bed.wire.clear();
    await bed.sh(`sleep ${countersLag}`);
    const counts = await counters(bed);
    if (bed.wire.fromCard.frames + bed.wire.toCard.frames === 0 || attempt === 10) return counts;
  }
}

async function statistics(bed: Bed): Promise<string> {
  const driver = bed.linux;
  const before = await countersAtRest(bed);
  for (let i = 0; i < 7; i++) bed.wire.inject(BROADCAST);
  await bed.sh(`ping -q -c 50 -i 0.01 -s 1000 ${PEER_ADDRESS}; ping -q -c 3 -i 0.02 -W 0.1 -b 10.9.0.255 || true`);
  await bed.transfer('in');
  const wanted = () => {
    const { fromCard, toCard } = bed.wire;
    const { counters } = driver;
    return [
      ['rx packets', counters['rx packets'], toCard.frames],
      ['tx packets', counters['tx packets'], fromCard.frames],
      ['rx bytes', counters['rx bytes'], toCard.bytes + FCS * toCard.frames],
      ['tx bytes', counters['tx bytes'], fromCard.bytes + FCS * fromCard.frames],
      ['rx broadcasts', counters['rx broadcasts'], toCard.broadcasts],
      ['tx broadcasts', counters['tx broadcasts'], fromCard.broadcasts],
      ['rx multicasts', counters['rx multicasts'], toCard.multicasts],
      ['tx multicasts', counters['tx multicasts'], fromCard.multicasts],
      ...driver.errorCounters.map((name) => [name, [name], 0] as const),
    ] as const;
  };
  const counted = (counts: Counts, names: readonly string[]) => sum(names.map((name) => counts(name) - before(name)));
  const after = await countersWhere(bed, (counts) =>
    wanted().every(([, names, count]) => counted(counts, names) === count),
  );
  for (const [about, names, count] of wanted()) {
    const found = counted(after, names);
    expect(found === count, `${about}: it counted ${found}, the wire saw ${count}`);
  }
  return `${wanted().length} counters, ${bed.wire.fromCard.frames + bed.wire.toCard.frames} frames`;
}

async function pauseFrames(bed: Bed): Promise<string> {
  const { pauseCounter } = bed.linux;
  const before = (await counters(bed))(pauseCounter); // none are on their way: nobody else sends any
  for (let i = 0; i < 5; i++) bed.wire.injectPause(100);
  await bed.sh('reachable');
  const after = await countersWhere(bed, (counts) => counts(pauseCounter) - before >= 5);
  const counted = after(pauseCounter) - before;
  expect(counted === 5, `of 5 PAUSE frames it counted ${counted}`);
  return '';
}

async function rings(bed: Bed): Promise<string> {
  const { rings, usualRings } = bed.linux;
  const set = ([rx, tx]: readonly [number, number]) => `ethtool -G eth0 rx ${rx} tx ${tx}`;
  const wanted = [new RegExp(`Current[\\s\\S]*RX:\\s+${rings[0]}`), new RegExp(`Current[\\s\\S]*TX:\\s+${rings[1]}`)];
  return setting(set(rings), 'ethtool -g eth0', wanted, set(usualRings))(bed);
}

/** Sets something, sees that it holds, and that frames still pass. */
function setting(set: string, show: string, wanted: readonly RegExp[], restore: string): Test['run'] {
  return async (bed) => {
    try {
      const said = await bed.sh(`${set}; bring_up; ${show}`);
      for (const line of wanted) expect(line.test(said), `after "${set}" ${show} does not say ${line.source}`);
      await bed.sh('reachable');
      await bed.transfer('out');
    } finally {
      await bed.try(restore);
    }
    return '';
  };
}

/** Linux's e1000 sets it on the 82545 and later only. */
async function coalescing(bed: Bed): Promise<string> {
  const { exitCode, output } = await bed.try('ethtool -c eth0');
  if (exitCode !== 0 && /not supported/i.test(output)) return 'the driver has none for this chip';
  return await setting(
    'ethtool -C eth0 rx-usecs 100',
    'ethtool -c eth0',
    [/rx-usecs:\s+100\b/],
    'ethtool -C eth0 rx-usecs 3',
  )(bed);
}

async function registers(bed: Bed): Promise<string> {
  const said = await bed.sh('ethtool -d eth0');
  const words = said.match(/0x[0-9A-F]{8}/gi)?.length ?? 0;
  expect(words > 5, 'no registers');
  for (const line of bed.linux.registers) expect(line.test(said), `it does not say ${line.source}`);
  return `${words} registers`;
}

async function identify(bed: Bed): Promise<string> {
  await bed.sh('ethtool -p eth0 1', 20);
  return '';
}

/** Commands for `ip`, which ends at the first that fails: to start a program takes an emulated processor 10 ms and more. */
function batch(commands: readonly string[]): string {
  return `printf '${commands.join('\\n')}\\n' | ip -batch -`;
}

// ---- Endurance ------------------------------------------------------------------------------------------------------

async function reload(bed: Bed): Promise<string> {
  await bed.sh(`for i in $(seq 20); do reload ${bed.linux.module} || exit 1; done`, 200);
  await bed.fresh();
  return '20 times';
}

async function upDown(bed: Bed): Promise<string> {
  await bed.sh(batch(Array(100).fill('link set eth0 down\nlink set eth0 up')), 200);
  await bed.fresh();
  return '100 times';
}

/** Segments after which a connection carries its load. */
const ESTABLISHED = 100;

async function flaps(bed: Bed): Promise<string> {
  bed.wire.clear();
  const load = bed.sh(
    `${PEER} iperf3 -s -1 > /dev/null & until_ok 5 ${PEER} sh -c 'netstat -ltn | grep -q :5201'
    iperf3 -c ${PEER_ADDRESS} -t 5 > /run/iperf || { cat /run/iperf; exit 1; }`,
    60,
  );
  let over = false;
  const ended = () => {
    over = true;
  };
  load.then(ended, ended); // its failure is awaited below
  while (!over && bed.wire.fromCard.segments < ESTABLISHED) await bed.pause(20); // a slow guest takes its time to connect
  for (let round = 0; round < 10; round++) {
    await bed.pause(300); // load goes on meanwhile
    await bed.cable(round % 2 === 1);
  }
  await bed.cable(true);
  await load;
  await bed.sh('until_ok 20 carrier 1; reachable');
  await bed.transfer('out');
  await bed.transfer('in');
  return '5 losses in one connection';
}

async function reboot(bed: Bed): Promise<string> {
  await bed.guest.restart();
  await bed.setUp();
  await bed.fresh();
  await bed.transfer('out');
  return noComplaint(bed);
}

/** The tests of a card like that model. */
export function testsOf(model: Model): readonly Test[] {
  const { selfTests, selfTestsSlow: slow } = linuxDriverOf(model);
  const [best, ...others] = model.interrupts;
  const anotherGuest = 'it takes another guest on the same card';
  const worse = others.filter((mode) => mode !== 'intx'); // they take a guest of their own
  const inPlace = model.interrupts.filter((mode) => mode === best || mode === 'intx');
  return [
    { name: 'probe, without a warning', run: probe },
    { name: 'EEPROM: checksum, address', run: eeprom },
    { name: 'EEPROM: written', run: eepromWritten },
    ...inPlace.map(interruptTest),
    ...(inPlace.includes('msix') ? [{ name: 'RSS: connections spread over queues', run: spread }] : []),
    { name: 'link', run: link },
    { name: 'link lost and found', run: linkLoss },
    { name: 'every speed negotiated', run: speeds },
    { name: 'renegotiation', run: renegotiation },
    { name: 'ping', run: ping },
    { name: 'TCP out, every offload', run: tcp('out') },
    { name: 'TCP in, every offload', run: tcp('in') },
    { name: 'MTU sweep', run: mtus },
    { name: 'VLANs', run: vlans },
    { name: 'multicast filter', run: multicast },
    { name: 'multicast hash table', run: manyGroups },
    { name: 'promiscuous, all multicast', run: promiscuous },
    { name: 'another address', run: anotherAddress },
    ...selfTests.map((part) => ({
      name: `ethtool -t: ${part}`,
      run: selfTest(part),
      slow,
    })),
    { name: 'ethtool -S: as the wire saw it', run: statistics },
    { name: 'PAUSE frames counted', run: pauseFrames },
    { name: 'ethtool -g: rings', run: rings },
    { name: 'ethtool -c: coalescing', run: coalescing },
    {
      name: 'ethtool -a: pause',
      run: setting(
        'ethtool -A eth0 autoneg off rx on tx off',
        'ethtool -a eth0',
        [/RX:\s+on/, /TX:\s+off/],
        'ethtool -A eth0 autoneg on rx on tx on',
      ),
    },
    { name: 'ethtool -d: registers', run: registers },
    { name: 'ethtool -p: LED', run: identify },
    { name: 'module reloaded', run: reload },
    { name: 'up and down', run: upDown },
    { name: 'link flaps under load', run: flaps, notVirtual: 'load has no end where computing takes no time' },
    { name: 'nothing in dmesg so far', run: noComplaint },
    { name: 'guest rebooted, server kept', run: reboot, notVirtual: anotherGuest },
    ...worse.map((mode) => ({ ...interruptTest(mode), notVirtual: anotherGuest })),
  ];
}
