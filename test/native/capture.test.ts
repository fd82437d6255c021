import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { FCS_ERROR, INBOUND, OUTBOUND, PcapngWriter } from '../../sim/wire/index.ts';

/** Why the tools cannot judge, or false. */
function missing(): string | false {
  for (const tool of ['tshark', 'capinfos']) {
    try {
      execFileSync(tool, ['--version'], { stdio: 'ignore' });
    } catch {
      return `${tool} is not installed`;
    }
  }
  return false;
}

const reason = missing();
const mayNotSkip = process.env.FAUXNIC_LANES === 'all';

/** An ARP request and padding: something that a dissector has an opinion about. */
const ARP = Uint8Array.from({ length: 60 });
ARP.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
ARP.set([10, 0, 0, 2], 38);

function writeSample(path: string): void {
  const chunks: Uint8Array[] = [];
  const writer = new PcapngWriter((chunk) => chunks.push(chunk.slice()), {
    hardware: 'a model',
    startSeconds: 1_893_456_000,
    startNanoseconds: 5,
  });
  const eth0 = writer.interface({ name: 'e1000-0', description: 'the first', speed: 1e9 });
  const eth1 = writer.interface({ name: 'e1000-1', speed: 10e9, mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
  writer.packet(eth0, 1, OUTBOUND, ARP, 0, 60, 0);
  writer.packet(eth1, 701, INBOUND, ARP, 0, 60, FCS_ERROR, 'bit 3 flipped');
  writer.dropped(eth1, 3);
  writer.end();
  writeFileSync(path, Buffer.concat(chunks));
}

void t.test('Wireshark reads a capture as it was meant', { skip: mayNotSkip ? false : reason }, async (t) => {
  if (reason !== false) {
    t.fail(`${reason}, and FAUXNIC_LANES=all lets no test be skipped`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-capture-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'sample.pcapng');
  writeSample(path);

  const fields = [
    'frame.time_epoch',
    'frame.interface_name',
    'frame.packet_flags_direction',
    'frame.packet_flags_crc_error',
    'frame.comment',
    'frame.len',
    'arp.dst.proto_ipv4',
  ];
  const table = run('tshark', ['-r', path, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])]);
  t.same(
    table.split('\n').map((row) => row.split('\t').map(plain)),
    [
      ['1893456000.000000006', 'e1000-0', '2', '0', '', '60', '10.0.0.2'],
      ['1893456000.000000706', 'e1000-1', '1', '1', 'bit 3 flipped', '60', '10.0.0.2'],
    ],
  );
  t.equal(run('tshark', ['-r', path, '-Y', '_ws.malformed || eth.fcs']), '', 'nothing malformed, and no FCS guessed');

  const about = run('capinfos', [path]);
  t.match(about, /File timestamp precision:\s+nanoseconds \(9\)/);
  t.match(about, /Capture hardware:\s+a model/);
  t.match(about, /Capture application:\s+fauxnic/);
  t.match(about, /Speed = 1000000000\b/);
  t.match(about, /Speed = 10000000000\b/);
  t.match(about, /Description = the first/);
});

/** One version of tshark prints hexadecimal and digits where another prints numbers and words. */
function plain(cell: string): string {
  if (/^0x/.test(cell)) return String(Number(cell));
  return cell.replace('True', '1').replace('False', '0');
}

function run(tool: string, args: string[]): string {
  return execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trimEnd();
}
