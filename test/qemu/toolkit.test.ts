/** regs, nvram and shell on cards that QEMU emulates. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openWorkbench } from '../../scripts/rig/workbench.ts';
import { fauxnic } from '../util/command.ts';
import { qemuOrSkip } from '../util/qemu-lane.ts';

await qemuOrSkip();
const cwd = mkdtempSync(join(tmpdir(), 'fauxnic-toolkit-'));
t.teardown(() => rmSync(cwd, { recursive: true }));
const run = (line: string, input = '') => fauxnic(line, { cwd, input });

void t.test('regs: each card by its own table', async (t) => {
  const old = await run('regs qemu:e1000 EERD STATUS');
  t.equal(old.exitCode, 0, old.stderr);
  t.match(old.stdout, /EERD {2}0x00014 {2}RW {2}EEPROM Read \(82540EM, 13\.4\.4\)/);
  t.match(old.stdout, /^ {2}DONE +4 /m);
  const express = await run('regs qemu:e1000e interrupts EERD --json');
  const { chip, registers } = JSON.parse(express.stdout as string) as {
    chip: string;
    registers: { name: string; fields?: Record<string, number>; unread?: string }[];
  };
  t.equal(chip, '82574L');
  const names = registers.map(({ name }) => name);
  t.ok(['ICR', 'IVAR', 'EITR[4]', 'EERD'].every((name) => names.includes(name)));
  t.ok('DATA' in registers.at(-1)!.fields!);
  const written = await run('regs qemu:e1000e IVAR --write 0x80000 --mask 0xf0000');
  t.equal(written.stdout, 'IVAR\n  before  0x00000000\n  written 0x00080000 OTHER=8\n  after   0x00080000 OTHER=8');
});

const CARDS = [
  ['e1000', '0x100e'],
  ['e1000-82545em', '0x100f'],
  ['e1000e', '0x10d3'],
] as const;
for (const [device, id] of CARDS) {
  void t.test(`nvram: ${device} is checked and read`, async (t) => {
    const check = await run(`nvram qemu:${device} check`);
    t.equal(check.exitCode, 0, check.stderr);
    t.match(check.stdout, /✓ all checksums are right; the station address is 52:54:00:12:34:56/);
    t.equal((await run(`nvram qemu:${device} get device-id`)).stdout, id);
  });
}

void t.test('nvram: the 82574L takes words through EEWR', async (t) => {
  const changed = await run('nvram qemu:e1000e mac 02:00:00:00:00:07 --backup kept');
  t.equal(changed.exitCode, 0, changed.stderr);
  t.match(changed.stdout, /^4 words written and read back; the station address is 02:00:00:00:00:07/);
  const kept = readFileSync(join(cwd, 'kept'));
  t.equal(kept.subarray(0, 6).toString('hex'), '525400123456');
  writeFileSync(join(cwd, 'bad'), kept.with(0, 0));
  const refused = await run('nvram qemu:e1000e restore bad');
  t.equal(refused.exitCode, 2);
  t.match(refused.stderr, /add up to .*nothing was written/);
});

void t.test('nvram: the driver then has the new address', async (t) => {
  const bench = await openWorkbench('qemu:e1000e');
  t.teardown(() => bench.close());
  const { nvram } = bench.tools;
  const before = await nvram.read();
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
  await nvram.write(before, nvram.withMac(before, mac));
  const driver = await bench.family.driver.open(bench.device, {});
  t.same(driver.mac, mac);
  await driver.close();
});

void t.test("nvram: QEMU's e1000 takes no writes, which is noticed", async (t) => {
  const { exitCode, stderr } = await run('nvram qemu:e1000 mac 02:00:00:00:00:07 --backup unchanged');
  t.equal(exitCode, 1);
  t.match(stderr, /reads 0x5452 after 0x0002 was written; the NVM holds what it held: this card may take no writes/);
  t.equal(readFileSync(join(cwd, 'unchanged')).length, 128);
});

void t.test('shell: the driver on QEMU’s card, its rings seen', async (t) => {
  const { stdout, stderr, exitCode } = await run('shell qemu:e1000e', 'start()\nrx[0]\nRCTL.EN\nstop()\nphy(2)\n');
  t.equal(exitCode, 0, stderr);
  t.match(stdout, /^e1000 82574L is started; .*\nrx\[0\] buffer=0x[0-9a-f]+ length=0\n1\n0x141 \(321\)$/m);
});
