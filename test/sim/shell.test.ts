/** fauxnic shell from a pipe: what names stand for, what is refused, and how it ends. */
import { Readable } from 'node:stream';
import test from 'ava';
import { Failure } from '../../scripts/errors.ts';
import { openWorkbench } from '../../scripts/rig/workbench.ts';
import { script } from '../../scripts/toolkit/evaluate.ts';
import { ShellNames } from '../../scripts/toolkit/shell-names.ts';
import { fauxnic } from '../util/command.ts';

/** A script on a fresh card: what it said, and how it failed. */
const shell = (...lines: string[]) => shellOn('sim:e1000', ...lines);

async function shellOn(target: string, ...lines: string[]): Promise<{ said: string[]; failure: string | null }> {
  const bench = await openWorkbench(target);
  const names = new ShellNames(bench);
  const said: string[] = [];
  try {
    for await (const text of script(Readable.from(lines), names.names, new AbortController().signal)) said.push(text);
    return { said, failure: null };
  } catch (error) {
    assertFailure(error);
    return { said, failure: error.message };
  } finally {
    await names.close();
    bench.close();
  }
}

function assertFailure(error: unknown): asserts error is Failure {
  if (!(error instanceof Failure)) throw error;
}

const says = (...lines: string[]) => saysOn('sim:e1000', ...lines);

async function saysOn(target: string, ...lines: string[]): Promise<string> {
  const { said, failure } = await shellOn(target, ...lines);
  if (failure !== null) throw new Error(failure);
  return said.join('\n');
}

test('a register decoded, its fields, and both written', async (t) => {
  t.regex(await says('CTRL'), /^CTRL {2}0x00000 {2}RW[\s\S]* {2}SPEED +9:8 +2$/m);
  t.is(await says('CTRL.SPEED', 'CTRL.SLU = 1', 'CTRL + 0'), '2\n1\n0x241 (577)');
  t.is(await says('CTRL = 0x41', 'CTRL |= 0x80', 'CTRL.value'), '0x41 (65)\n0xc1 (193)\n0xc1 (193)');
  t.is(await says('MTA[5] = -1', 'MTA[5].value', 'RAH[0].AV'), '-1\n0xffffffff (4294967295)\n1');
  t.regex(await says('MTA[127] = 7', 'MTA'), /MTA\[0\.\.126\] +0x00000000\n.*MTA\[127\] +0x00000007$/);
});

test('a field that acts when 1 is written leaves its neighbours alone', async (t) => {
  t.is(
    await says('IMS = 5', 'IMS.LSC', 'IMS.TXDW = 1', 'IMS + 0', 'ICS.LSC = 1', 'ICR.LSC', 'ICR.LSC'),
    '5\n1\n1\n5\n1\n1\n0',
  );
});

test('functions: read, write, dump, PHY, NVM, link', async (t) => {
  t.regex(await says("read('MTA[5]')"), /^MTA\[5\] {2}0x05214/);
  t.regex(await says('read(0x2818)'), /^RDT /);
  t.is(await says("write('LEDCTL', 0xe, 0xf)"), 'LEDCTL 0x07068302, written 0x0706830e: 0x0706830e');
  t.regex(await says("dump('interrupts')"), /cleared by reading: ICR/);
  t.notRegex(await says("dump('interrupts', true)"), /cleared by reading/);
  t.is(await says('phy(2)', 'phy(4, 0x1e1)', 'phy(4)'), '0x141 (321)\n0x1e1 (481)');
  t.is(await says("nvm('mac')", 'nvm(0x0d)', 'link()'), '02:00:00:82:54:01\n0x100e\ndown');
  t.regex(await says('help'), /start\(\), stop\(\)/);
});

test('the driver runs when asked to, and its rings are seen; stop leaves them', async (t) => {
  const out = await says('rx', 'start()', 'rx', 'rx[0..1]', 'tx[0]', 'stats().resets', 'stop()', 'RCTL.EN');
  t.regex(
    out,
    /^rx: not set up\ne1000 82540EM is started; .*\nrx: 512 descriptors at 0x[0-9a-f]{8}, head 0, tail 511$/m,
  );
  t.regex(
    out,
    /^rx\[0\] buffer=0x[0-9a-f]+ length=0\nrx\[1\] buffer=.*\ntx\[0\] legacy buffer=0x00000000 length=0\n0\n0$/m,
  );
});

const BROADCOMS: [target: string, chip: string, returns: number, entries: number, phy: string][] = [
  ['sim:tg3', 'BCM57762', 4, 1024, '0x362 (866)'],
  ['sim:tg3-5721', 'BCM5721', 1, 512, '0x20 (32)'],
];
for (const [target, chip, returns, entries, phy] of BROADCOMS) {
  test(`${target}: registers, PHY, NVM, link, and its rings before and after the start`, async (t) => {
    const before = await saysOn(
      target,
      'MAC_MODE.TDE_ENABLE',
      'phy(2)',
      "nvm('device-id')",
      'link()',
      'return0',
      'send',
    );
    t.regex(
      before,
      new RegExp(
        `^0\\n${phy.replace(/[()]/g, '\\$&')}\\n0x1[0-9a-f]{3}\\ndown\\nreturn0: not set up\\nsend: not set up$`,
      ),
    );
    const out = await saysOn(
      target,
      ...['start()', 'standard', 'return0', 'send', 'standard[0..1]', 'return0[0]', 'send[511]', 'MAC_MODE.TDE_ENABLE'],
    );
    const lines = out.split('\n');
    t.regex(lines[0]!, new RegExp(`^tg3 ${chip} is started`));
    t.regex(lines[1]!, /^standard: 512 descriptors at 0x[0-9a-f]{8}, head 0, tail \d+$/);
    t.regex(lines[2]!, new RegExp(`^return0: ${entries} descriptors at 0x[0-9a-f]{8}, head 0, tail 0$`));
    t.regex(lines[3]!, /^send: 512 descriptors at 0x[0-9a-f]{8}, head 0, tail 0$/);
    t.regex(lines[4]!, /^standard\[0\] buffer=0x[0-9a-f]{8} index=0 length=1536 END opaque=0x5b000000$/);
    t.regex(lines[5]!, /^standard\[1\] buffer=0x[0-9a-f]{8} index=1 length=1536 END opaque=0x5b000001$/);
    t.regex(lines[6]!, /^return0\[0\] buffer=0x00000000 index=0 length=0 opaque=0x00000000$/);
    t.regex(lines[7]!, /^send\[511\] buffer=0x00000000 length=0$/);
    t.is(lines[8], '1');
    const rings = [
      'standard',
      ...(returns > 1 ? ['jumbo'] : []),
      ...Array.from({ length: returns }, (_, i) => `return${i}`),
      'send',
    ];
    t.true((await saysOn(target, 'help')).includes(`a ring; there are ${rings.join(', ')}`));
  });
}

test('help is in names that the card has', async (t) => {
  for (const [target, rows] of [
    ['sim:e1000', /^ {2}CTRL\.SLU = 1 +writes the field.* {2}rx\[5\] +a descriptor/ms],
    ['sim:tg3', /^ {2}MAC_MODE\.TDE_ENABLE = 1 +writes the field.*read\('MAC_RCV_RULE\[3\]'\), read\(0x400\)/ms],
  ] as const)
    t.regex(await saysOn(target, 'help'), rows);
});

test('a ring that the driver does not use stays as it is', async (t) => {
  const { failure } = await shellOn('sim:tg3', 'start()', 'return1[0]');
  t.is(failure, 'line 2: return1 is not set up');
});

test('a script: several lines, await, an end without one for the driver', async (t) => {
  const out = await says(
    'const word = await phy(2)',
    'function twice(n) {',
    '  return 2 * n',
    '}',
    'twice(word)',
    'start()',
  );
  t.regex(out, /^0x141 \(321\)\n0x282 \(642\)\ne1000 82540EM is started/);
});

const MISTAKES: [line: string, says: RegExp][] = [
  ['CTRL.SLX = 1', /CTRL has no field SLX: did you mean SLU\?/],
  ['CTRL.SLX', /no field SLX/],
  ['CTRL.SPEED = 4', /CTRL\.SPEED takes 0 to 3/],
  ['CTRL.SPEED = {}', /takes 0 to 3/],
  ['CTRL = 2 ** 32', /32 bits/],
  ["CTRL = 'x'", /32 bits/],
  ['CTRL = null', /32 bits/],
  ['STATUS = 1', /STATUS is only read/],
  ['STATUS.LU = 1', /STATUS is only read/],
  ['ICS + 0', /ICS is only written/],
  ['MTA = 1', /for one register/],
  ['MTA[128]', /give MTA\[0\] to MTA\[127\]/],
  ['MTA.x = 1', /give a number/],
  ["read('CTRK')", /did you mean CTRL/],
  ['read({})', /a name or a number/],
  ["write('CTRL')", /32 bits/],
  ['phy(32)', /give 0 to 31/],
  ['phy(0, 65536)', /give 0 to 65535/],
  ["nvm('mak')", /did you mean mac/],
  ['rx[0]', /rx is not set up: start\(\) does/],
  ['RDBAL = 0x100000; RDLEN = 128; rx[0]', /not this process's to see/],
  ['stats()', /the driver does not run/],
  ['nonsense', /nonsense is not defined/],
  ['throw new Error("one\\ntwo")', /one\\s*;? two|one/],
  ['if (1) {', /ends in the middle/],
  ['Promise.reject(3)', /3/],
];
for (const [line, what] of MISTAKES) {
  test(`refused: ${line}`, async (t) => {
    const { said, failure } = await shell('1', line, '"not reached"');
    t.regex(failure!, what);
    t.regex(failure!, /^line [23]: [^\n]+$/, 'one line');
    t.deepEqual(said, ['1'], 'and what follows is not done');
  });
}

test('rings end where they end', async (t) => {
  t.regex((await shell('start()', 'rx[510..512]')).failure!, /^line 2: rx\[0\] to rx\[511\] are there/);
});

test.serial('the command: results out, and 1 where a line failed', async (t) => {
  const { stdout, stderr, exitCode } = await fauxnic('shell sim:e1000', { input: 'CTRL.SPEED\nCTRL.SLX = 1\n3\n' });
  t.deepEqual([stdout, exitCode], ['2', 1]);
  t.is(stderr, 'fauxnic: line 2: CTRL has no field SLX: did you mean SLU?');
});

test.serial('nothing in, nothing out', async (t) => {
  const { stdout, stderr, exitCode } = await fauxnic('shell sim:e1000');
  t.deepEqual([stdout, stderr, exitCode], ['', '', 0]);
});

for (const [what, line, signal, code] of [
  ['between two lines', '', 'SIGTERM', 143],
  ['a line that waits', ', await new Promise(() => {})', 'SIGTERM', 143],
  ['a line that goes on for ever', '; while (true) {}', 'SIGINT', 1],
] as const) {
  test.serial(`a signal ends ${what}, the driver and the card closed`, async (t) => {
    const run = fauxnic('shell sim:e1000', { input: null });
    run.stdin!.write(`start()\nconsole.log('there')${line}\n`);
    run.stdout!.on('data', (text: Buffer) => void (String(text).includes('there') && run.kill(signal)));
    const { stdout, exitCode } = await run;
    t.regex(stdout as string, /is started/);
    t.is(exitCode, code);
  });
}

test('completion: names, fields of a register or an element, blocks in quotes', async (t) => {
  const bench = await openWorkbench('sim:e1000');
  const names = new ShellNames(bench);
  t.deepEqual(names.complete('CTRL.SL'), [['SLU'], 'SL']);
  t.deepEqual(names.complete('1 + RAH[3].A'), [['AS', 'AV'], 'A']);
  t.deepEqual(names.complete('RDL'), [['RDLEN'], 'RDL']);
  t.deepEqual(names.complete('sta'), [['start', 'stats'], 'sta']);
  t.deepEqual(names.complete("dump('rec"), [['receive'], 'rec']);
  t.deepEqual(names.complete("dump('flow-c"), [['flow-control'], 'flow-c']);
  t.deepEqual(names.complete('nothing.X'), [[], 'X']);
  t.true(names.complete('')[0].includes('rx'));
  await names.close();
  bench.close();
});
