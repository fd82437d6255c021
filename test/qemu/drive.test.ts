/** fauxnic drive qemu:DEVICE, as somebody at a command line has it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import t from 'tap';
import { qemuOrSkip } from '../util/qemu-lane.ts';

await qemuOrSkip();

const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fauxnic-drive-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
/** By which the processes of a run are known. */
const MARK = `FAUXNIC_TEST_RUN=${folder}`;

function fauxnic(line: string) {
  const [name, value] = MARK.split('=') as [string, string];
  return execa(process.execPath, [command, ...line.split(' ')], {
    env: { [name]: value },
    reject: false,
    forceKillAfterDelay: false,
  });
}

/** The QEMUs of this test's runs. */
function qemus(): number[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && read(`/proc/${pid}/environ`).split('\0').includes(MARK))
    .filter((pid) => read(`/proc/${pid}/cmdline`).includes('qemu-system'))
    .map(Number);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

for (const device of ['e1000', 'e1000-82545em', 'e1000e'])
  void t.test(`qemu:${device} sends frames to a model that sends them back`, async (t) => {
    const pcap = join(folder, `${device}.pcapng`);
    const line = `drive qemu:${device} --generate --count 500 --rate 2k --size 64-1500 --pcap ${pcap} --json`;
    const { stdout, stderr, exitCode } = await fauxnic(line);
    t.equal(exitCode, 0, stderr);
    const { cards } = JSON.parse(stdout);
    const [near, far] = cards;
    t.match(near, { target: `qemu:${device}`, link: { up: true, speed: 1000 }, statistics: { rxErrors: 0 } });
    t.match([near.statistics.txPackets, far.statistics.rxPackets, near.joined.received], [500, 500, 500]);
    t.ok(near.statistics.txBytes >= 0);
    t.ok(read(pcap).length > 500 * 64, 'all of it is in the capture');
    t.same(qemus(), []);
  });

void t.test('a QEMU that dies ends the run with a line', async (t) => {
  const run = fauxnic('drive qemu:e1000e --echo');
  for await (const line of run)
    if (/^ +e1000-1 to /.test(line)) for (const pid of qemus()) process.kill(pid, 'SIGKILL');
  const { exitCode, stderr } = await run;
  t.equal(exitCode, 1);
  t.match(stderr, /^fauxnic: qemu:e1000e no longer answers.*$/);
});

void t.test('what no driver knows, and what QEMU does not', async (t) => {
  t.match(await fauxnic('drive qemu:rtl8139 --echo'), {
    exitCode: 2,
    stderr: /^fauxnic: .*no driver here knows it.*$/,
  });
  t.match(await fauxnic('drive qemu:e100 --echo'), { exitCode: 1, stderr: /^fauxnic: .*not a valid device.*$/ });
  t.same(qemus(), []);
});
