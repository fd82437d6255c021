/** Receive side scaling against the hashes that Microsoft publishes ("Verifying the RSS hash calculation"). */
import test from 'ava';
import { RSS_IPV4, RSS_IPV6, RSS_TCP_IPV4, RSS_TCP_IPV6, Rss } from '../../sim/nic/rss.ts';
import { ethernet, ip } from '../util/packets.ts';

const KEY = Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex');
const ADDRESSES = RSS_IPV4 | RSS_IPV6;
const PORTS = RSS_TCP_IPV4 | RSS_TCP_IPV6;

/** Source and destination, their ports, the hash of the addresses, and with the ports. */
const V4 = [
  ['66.9.149.187', '161.142.100.80', 2794, 1766, 0x323e8fc2, 0x51ccc178],
  ['199.92.111.2', '65.69.140.83', 14230, 4739, 0xd718262a, 0xc626b0ea],
  ['24.19.198.95', '12.22.207.184', 12898, 38024, 0xd2d0a5de, 0x5c2b394a],
  ['38.27.205.30', '209.142.163.6', 48228, 2217, 0x82989176, 0xafc7327f],
  ['153.39.163.191', '202.188.127.2', 44251, 1303, 0x5d1809c5, 0x10e828a2],
] as const;
const V6 = [
  ['3ffe:2501:0200:1fff:0:0:0:7', '3ffe:2501:0200:3:0:0:0:1', 2794, 1766, 0x2cc18cd5, 0x40207d3d],
  ['3ffe:501:8:0:260:97ff:fe40:efab', 'ff02:0:0:0:0:0:0:1', 14230, 4739, 0x0f0c461c, 0xdde51bbf],
  ['3ffe:1900:4545:3:200:f8ff:fe21:67cf', 'fe80:0:0:0:200:f8ff:fe21:67cf', 44251, 38024, 0x4b61e985, 0x02d1feef],
] as const;

const bytesOf = (address: string) =>
  address.includes(':')
    ? address.split(':').flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff])
    : address.split('.').map(Number);

function frame([from, to, fromPort, toPort]: readonly [string, string, number, number, ...unknown[]]): Uint8Array {
  const version = from.includes(':') ? 6 : 4;
  const { bytes, l4 } = ip({ version });
  bytes.set([...bytesOf(from), ...bytesOf(to)], version === 4 ? 26 : 22);
  bytes.set([fromPort >> 8, fromPort & 0xff, toPort >> 8, toPort & 0xff], l4);
  return bytes;
}

function scaling(types: number, entries = 128): Rss {
  const rss = new Rss(entries);
  rss.key.set(KEY);
  rss.types = types;
  for (let i = 0; i < entries; i++) rss.table[i] = i;
  return rss;
}

for (const vector of [...V4, ...V6]) {
  const [from, , , , addresses, ports] = vector;
  test(`published: from ${from}`, (t) => {
    const bytes = frame(vector);
    for (const [types, hash] of [
      [ADDRESSES, addresses],
      [PORTS, ports],
      [ADDRESSES | PORTS, ports],
    ] as const) {
      for (const entries of [128, 16]) {
        const rss = scaling(types, entries);
        t.is(rss.queue(bytes, 0, bytes.length), hash & (entries - 1));
        t.is(rss.hash, hash);
      }
    }
  });
}

test('what is not to be hashed goes to the first queue, without a hash', (t) => {
  const v4 = frame(V4[0]);
  const udp = ip({ protocol: 'udp' }).bytes;
  const other = ethernet();
  const rss = scaling(ADDRESSES | PORTS);
  rss.queue(v4, 0, v4.length);
  t.not(rss.hash, 0);
  t.is(rss.queue(other, 0, other.length), 0);
  t.is(rss.hash, 0);
  rss.types = RSS_IPV6 | RSS_TCP_IPV6;
  t.is(rss.queue(v4, 0, v4.length), 0);
  t.is(rss.hash, 0);
  rss.types = RSS_TCP_IPV4;
  t.is(rss.queue(udp, 0, udp.length), 0);
  t.is(rss.hash, 0, 'UDP has no ports here');
});

test('a key that changed counts from the next frame on', (t) => {
  const bytes = frame(V4[0]);
  const rss = scaling(RSS_IPV4);
  rss.queue(bytes, 0, bytes.length);
  rss.key.fill(0);
  rss.keyChanged();
  rss.queue(bytes, 0, bytes.length);
  t.is(rss.hash, 0);
});
