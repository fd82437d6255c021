/** Lockstep without a QEMU: scripts recorded from a run, and the list of what is known to differ. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { execa } from 'execa';
import { E1000_LOCKSTEP } from '../../scripts/families/e1000/lockstep/index.ts';
import { recordedScript } from '../../scripts/lockstep/recorded.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';

const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fauxnic-lockstep-'));
test.after.always(() => rmSync(folder, { recursive: true }));

let files = 0;
function written(...lines: string[]): string {
  const path = join(folder, `${files++}.trace`);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

const fauxnic = (...args: string[]) => execa(process.execPath, [command, ...args], { reject: false });
const { STATUS, CTRL, MTA } = I82540EM.r;

test('a trace is a script: its accesses, and the time between them', (t) => {
  const path = written(
    '# of a run',
    '0.000000000 one read  STATUS 0x00000281 FD=1 SPEED=2',
    '0.000000000 two write CTRL 0x04000000 RST=1',
    '0.002000000 one write CTRL 0x04000201 FD=1 RST=1',
    '0.002000001 one tx[0] legacy buffer=0x00001000 length=60 EOP',
    '0.002000001 one note  anything',
    '0.002000001 one write TDT 0x00000001',
    '0.002000001 one write RDT 0x00000001',
    '0.002000002 one write EERD 0x00000301 START=1 ADDR=3',
    '0.002000003 one read  EERD 0xffff0310 DONE=1',
    '0.002000004 one write MDIC 0x08210000 REG=1 OP=2',
    '0.002000005 one read  MDIC 0x18217949',
    '0.002000006 one write MDIC 0x04201140 OP=1',
    '',
    '100.5 one write MTA[127] 0x80000000',
    '100.5 one read 0x05f00 0x00000000',
  );
  t.deepEqual(recordedScript(path, I82540EM, E1000_LOCKSTEP), [
    { does: 'read', at: STATUS.at },
    { does: 'pass', ms: 2 },
    { does: 'write', at: CTRL.at, value: 0x04000201 },
    { does: 'nvm', word: 3 },
    { does: 'phy', register: 1 },
    { does: 'write', at: I82540EM.r.MDIC.at, value: 0x04201140 },
    { does: 'pass', ms: 10_000 },
    { does: 'write', at: MTA.at(127), value: 0x80000000 },
    { does: 'read', at: 0x5f00 },
  ]);
});

test("a run's own trace, played on two of the model, shows no difference", async (t) => {
  const path = join(folder, 'run.trace');
  t.is((await fauxnic('drive', 'sim:e1000', '--generate', '--count', '5', '--trace', path)).exitCode, 0);
  const { stdout, exitCode } = await fauxnic('diff', 'e1000', 'sim:e1000', '--script', path, '--json');
  t.is(exitCode, 0);
  const result = JSON.parse(stdout) as { script: string; compared: number; difference: null; known: [] };
  t.like(result, { script: path, difference: null, known: [] });
  t.true(result.compared > 100);
});

const GOOD = '0.000000000 one read STATUS 0x00000281';
const WRONG: [what: string, lines: string[], says: RegExp][] = [
  ['no trace', ['hello'], /line 1 is no line of a trace: "hello"/],
  ['no time', [GOOD, 'x.y one read STATUS 0x0'], /line 2 is no line of a trace/],
  ['an endless time', [GOOD, '9999999999999.0 one read STATUS 0x0'], /line 2 is no line of a trace/],
  ['no value', [GOOD, '', '1.0 one write CTRL'], /line 3 is no register access: "write CTRL"/],
  ['a value too long', ['1.0 one write CTRL 0x100000000'], /line 1 is no register access/],
  ['a value that is none', ['1.0 one write CTRL 12x'], /line 1 is no register access/],
  ['a register that there is not', [GOOD, '1.0 one read NOTHING 0x0'], /line 2: there is no register "NOTHING"/],
  ['an element that there is not', ['1.0 one read MTA[128] 0x0'], /line 1: there is no register "MTA\[128\]"/],
  ['an element of none', ['1.0 one read STATUS[1] 0x0'], /line 1: there is no register "STATUS\[1\]"/],
  ['an odd offset', ['1.0 one read 0x05f01 0x0'], /line 1: there is no register "0x05f01"/],
  ['an offset out of the BAR', ['1.0 one read 0xfffff0 0x0'], /line 1: there is no register/],
  ['time that goes back', ['1.0 one read STATUS 0x0', '0.5 one read STATUS 0x0'], /line 2 is earlier than/],
  ['a long line', ['x'.repeat(100_000)], /line 1 is no line of a trace: "x{60}…"$/],
  ['nothing', [''], /has no register access: record one with fauxnic drive … --trace FILE/],
  ['no access', ['1.0 one note hello'], /has no register access/],
];
for (const [what, lines, says] of WRONG)
  test(`a script with ${what} is refused, by its line`, (t) => {
    const path = written(...lines);
    const { message } = t.throws(() => recordedScript(path, I82540EM, E1000_LOCKSTEP), {
      name: 'UsageError',
      message: says,
    })!;
    t.true(message.startsWith(`--script ${path}`) && !message.includes('\n'));
  });

test('the command: a script that is not there, is a folder, or is not alone', async (t) => {
  const refusals: [args: string[], says: RegExp][] = [
    [['--script', join(folder, 'none')], /: there is no such file$/],
    [['--script', folder], /: it is a folder$/],
    [['--script', written('hello')], /line 1 is no line of a trace/],
    [['--script', written(GOOD), '--steps', '5'], /cannot be used with option '--steps/],
    [['--script', written(GOOD), '--seed', '5'], /cannot be used with option '--seed/],
    [['--steps', '-1'], /whole number/],
  ];
  for (const [args, says] of refusals) {
    const { stdout, stderr, exitCode } = await fauxnic('diff', 'e1000', 'e1000', ...args);
    t.is(exitCode, 2, args.join(' '));
    t.regex(stderr, says);
    t.regex(stderr, /^fauxnic: [^\n]+$/, 'one line');
    t.is(stdout, '');
  }
  for (const [one, other] of [
    ['e1000', 'nothing'],
    ['', 'e1000'],
    ['e1000', 'qemu:'],
  ] as const)
    t.is((await fauxnic('diff', one, other)).exitCode, 2, `${one} ${other}`);
});

test("what is known to differ cites the registers' own sections", (t) => {
  for (const { what, section } of E1000_LOCKSTEP.known) {
    const registers = I82540EM.rows.filter(({ name }) => what.test(name));
    for (const { name, section: own } of registers)
      if (section !== '-') t.true(`${own}.`.startsWith(`${section}.`), `${name}: ${section}, not ${own}`);
  }
});
