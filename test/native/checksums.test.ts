/** The 82540EM's transmit offloads, judged by Wireshark: no checksum of what it made is bad. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Capture, PcapngWriter } from '../../sim/wire/index.ts';
import { Bench, EOP, IC, IFCS, IXSM, R, RS, TSE, TXSM, VLE } from '../util/e1000-harness.ts';
import { type IpOptions, ip, pattern } from '../util/packets.ts';

function missing(): string | false {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'tshark is not installed';
  }
}

const reason = missing();
const mayNotSkip = process.env.FAUXNIC_LANES === 'all';

interface Case extends IpOptions {
  mss?: number;
  tag?: boolean;
}

const kinds: IpOptions[] = [{}, { version: 6 }, { protocol: 'udp' }, { version: 6, protocol: 'udp' }];
const sizes = [1, 99, 100, 1400];
const cases: Case[] = kinds.flatMap((kind) => [
  ...sizes.map((size) => ({ ...kind, data: pattern(size) })),
  { ...kind, data: pattern(333), tag: true },
  { ...kind, data: pattern(10_000), mss: 1400 },
  { ...kind, data: pattern(1000), mss: 333, tag: true },
  { ...kind, data: pattern(20), mss: 3 },
]);

/** Sends it by data descriptors with every checksum left to the card. Returns how many frames that makes. */
function send(b: Bench, options: Case): number {
  const { mss, tag = false, version = 4, protocol = 'tcp', data = [] } = options;
  const frame = ip({ ...options, segmented: mss !== undefined, checksum: 'pseudo', ipChecksum: 0 });
  const sum = frame.l4 + (protocol === 'tcp' ? 16 : 6);
  b.context({
    ipStart: frame.l3,
    ...(version === 4 ? { ipSum: frame.l3 + 10, ipEnd: frame.l4 - 1 } : {}),
    l4Start: frame.l4,
    l4Sum: sum,
    tcp: protocol === 'tcp',
    ipv4: version === 4,
    ...(mss === undefined ? {} : { mss, header: frame.payload, payload: data.length, segment: true }),
  });
  const command = EOP | IFCS | RS | (mss === undefined ? 0 : TSE) | (tag ? VLE : 0);
  b.data(frame.bytes, command, { options: TXSM | (version === 4 ? IXSM : 0), special: 5 });
  b.ring();
  return mss === undefined ? 1 : Math.ceil(data.length / mss);
}

/** The same by a legacy descriptor. */
function sendLegacy(b: Bench, options: IpOptions): number {
  const frame = ip({ ...options, checksum: 'pseudo' });
  b.send(frame.bytes, EOP | IFCS | IC | RS, { css: frame.l4, cso: frame.l4 + (options.protocol === 'udp' ? 6 : 16) });
  return 1;
}

void t.test('what the offloads made has good checksums', { skip: mayNotSkip ? false : reason }, async (t) => {
  if (reason !== false) {
    t.fail(`${reason}, and FAUXNIC_LANES=all lets no test be skipped`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-checksums-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'offloads.pcapng');

  const b = new Bench({ memory: 4 << 20 });
  const chunks: Uint8Array[] = [];
  const writer = new PcapngWriter((chunk) => chunks.push(chunk.slice()), { startSeconds: 1_893_456_000 });
  const capture = new Capture(b.clock, writer);
  b.transmitter(256);
  b.set(R.CTRL, R.CTRL.VME);
  capture.tap(b.card.port);
  const sent = [...cases.map((options) => send(b, options)), ...kinds.map((options) => sendLegacy(b, options))];
  capture.end();
  writeFileSync(path, Buffer.concat(chunks));

  const expected = sent.reduce((sum, count) => sum + count, 0);
  const summed = 'ip.checksum.status || tcp.checksum.status || udp.checksum.status';
  const tagged = cases.filter(({ tag, mss }) => tag && mss === undefined).length;
  t.equal(matching(path, 'frame'), expected, 'every frame is there');
  t.equal(matching(path, summed), expected, 'and every one was checked');
  t.equal(matching(path, 'tcp || udp'), expected, 'as TCP or UDP');
  t.equal(
    matching(path, 'ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"'),
    0,
  );
  t.equal(matching(path, 'tcp.checksum.status == "Good" || udp.checksum.status == "Good"'), expected);
  t.equal(matching(path, '_ws.malformed'), 0);
  t.ok(matching(path, 'vlan.id == 5') > tagged, 'tagged ones among them');

  // The yardstick itself: one byte wrong, and it says so.
  const spoilt = Buffer.concat(chunks);
  spoilt[spoilt.lastIndexOf(Buffer.from(pattern(20).slice(-3)))]! ^= 1;
  writeFileSync(path, spoilt);
  t.equal(matching(path, 'tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"'), 1);
});

/** How many frames a display filter lets through, with checksums validated. */
function matching(path: string, filter: string): number {
  const checks = ['ip', 'tcp', 'udp'].flatMap((protocol) => ['-o', `${protocol}.check_checksum:TRUE`]);
  const out = execFileSync('tshark', ['-r', path, ...checks, '-Y', filter, '-T', 'fields', '-e', 'frame.number'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return out.split('\n').filter((line) => line !== '').length;
}
