/** The command as a person types it: what it prints, what it refuses, and how it ends. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { assertRefused, fauxnic as run } from '../util/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-cli-'));
test.after.always(() => rmSync(folder, { recursive: true }));

const fauxnic = (line: string) => run(line, { env: { XDG_CACHE_HOME: folder } });

test('help names every command', async (t) => {
  const { stdout, exitCode } = await fauxnic('--help');
  t.is(exitCode, 0);
  for (const name of ['doctor', 'devices', 'demo', 'drive']) t.regex(stdout, new RegExp(`^  ${name} `, 'm'));
});

test('help of drive says what is at the other end, and which keys there are', async (t) => {
  const { stdout, exitCode } = await fauxnic('drive --help');
  t.is(exitCode, 0);
  t.regex(stdout, /At the other end of the wire/);
  for (const key of ['d', 's', 'r', 'v', 'h', 'q']) t.regex(stdout, new RegExp(`^  ${key}  [a-z]`, 'm'));
});

test('doctor --json', async (t) => {
  const { stdout, exitCode } = await fauxnic('doctor --json');
  t.is(exitCode, 0);
  const { checks, can } = JSON.parse(stdout) as { checks: { name: string; ok: boolean; about: string }[]; can: object };
  t.deepEqual(
    checks.find(({ name }) => name === 'Node'),
    { name: 'Node', ok: true, about: process.version, for: 'everything' } as never,
  );
  t.true(
    checks.every(({ about }) => about !== ''),
    'each says what was found, or what to do',
  );
  t.true('demo' in can);
  const named = (wanted: string) => checks.find(({ name }) => name === wanted)!;
  t.regex(named('QEMU').about, /PATH|FAUXNIC_QEMU|unpack/);
  for (const name of ['packet kernels', '/dev/kvm', 'stock kernel', 'own kernel', 'VFIO']) t.truthy(named(name), name);
});

test('devices', async (t) => {
  const { stdout } = await fauxnic('devices');
  t.regex(stdout, /^ {2}sim:e1000 +e1000 /m);
  t.regex(stdout, /^ {2}sim:e1000 +Linux e1000 +fauxnic vm --nic sim:e1000$/m);
  t.regex(stdout, /fauxnic serve e1000 /);
  t.false(stdout.includes('\x1b'), 'no colours where there is no terminal');
  const { targets } = JSON.parse((await fauxnic('devices --json')).stdout) as { targets: unknown[] };
  const models = ['e1000', 'tg3', 'tg3-57765', 'tg3-5721', 'tg3-5751'];
  t.deepEqual(
    targets,
    models.map((model) => ({ target: `sim:${model}`, model, backend: 'sim', driver: model.replace(/-.*/, '') })),
  );
});

test('devices --registers lists them, and what is not modelled', async (t) => {
  const { stdout } = await fauxnic('devices --registers e1000');
  t.regex(stdout, /0x00000 +CTRL +RW +13\.4\.1 +Device Control/);
  t.regex(stdout, /not modelled[\s\S]*LEDCTL +never +no LEDs/);
  t.regex(stdout, /82540EM: \d+ rows of configuration space in 256 bytes[\s\S]*0x000f2 +MSI_CONTROL +RW +6\.8\.1 /);
});

const MISTAKES: [line: string, says: RegExp][] = [
  ['frobnicate', /unknown command 'frobnicate'/],
  ['drive', /missing required argument 'target'/],
  ['drive e1000 --echo', /no target "e1000": there is sim:e1000/],
  ['drive sim:e100 --echo', /no model "e100": there is sim:e1000/],
  ['drive qemu:e1000 --echo --trace x', /--trace is for models/],
  ['drive qemu: --echo', /give qemu:DEVICE/],
  ['drive sim:e1000', /give one of --tap, --echo and --generate/],
  ['drive sim:e1000 --echo --generate', /give one of .*, not 2/],
  ['drive sim:e1000 --echo --fast', /unknown option '--fast'/],
  ['drive sim:e1000 --echo extra', /too many arguments/],
  ['drive sim:e1000 --echo --peer sinking', /Allowed choices are tap, echo/],
  ['drive sim:e1000 --echo --peer sink --rate 5', /--rate is for generated frames/],
  ['drive sim:e1000 --echo --peer sink --to 02:00:00:00:00:01', /--to is for generated frames/],
  ['drive sim:e1000 --generate --to 02:00:00:00:01', /six bytes/],
  ['drive sim:e1000 --generate --to 00:00:00:00:00:00', /all zeros/],
  ['drive sim:e1000 --echo --mac 02:00:00:00:01', /six bytes/],
  ['drive sim:e1000 --echo --mac 01:00:5e:00:00:01', /multicast/],
  ['drive sim:e1000 --echo --mac 00:00:00:00:00:00', /all zeros/],
  ['drive sim:e1000 --echo --rx-ring 81', /--rx-ring 81: the e1000 driver takes 80 to 4096, a multiple of 8/],
  ['drive sim:e1000 --echo --tx-ring 8192', /--tx-ring 8192: .* 80 to 4096/],
  ['drive sim:e1000 --echo --tx-ring many', /whole number/],
  ['drive qemu:e1000e --echo --rx-ring 72', /the e1000 driver takes 80 to 4096/],
  ['drive sim:tg3 --echo --rx-ring 24', /--rx-ring 24: the tg3 driver takes 32 to 512, a multiple of 8/],
  ['drive sim:tg3-5751 --echo --tx-ring 520', /--tx-ring 520: the tg3 driver takes 32 to 512/],
  ['drive sim:e1000 --echo --mtu 67', /68 to 16110/],
  ['drive sim:e1000 --echo --mtu 16111', /68 to 16110/],
  ['drive sim:e1000 --generate --rate 0', /1 to 100M packets/],
  ['drive sim:e1000 --generate --rate fast', /or max/],
  ['drive sim:e1000 --generate --size 13', /14 bytes at least/],
  ['drive sim:e1000 --generate --size 59', /60 bytes at least/],
  ['drive sim:e1000 --generate --size 1515', /at most 1514/],
  ['drive sim:e1000 --generate --size 90-80', /ends before it begins/],
  ['drive sim:e1000 --generate --count 0', /whole number/],
  ['drive sim:e1000 --generate --seconds 0', /0\.1 to 86400/],
  ['drive sim:e1000 --generate --wire loss=2', /loss must be a probability/],
  ['drive sim:e1000 --generate --wire delay=2', /A wire has no delay/],
  ['drive sim:e1000 --generate --features tso7', /no feature tso7/],
  ['drive sim:e1000 --generate --pcap /nowhere/x.pcapng', /there is no folder \/nowhere/],
  ['drive sim:e1000 --generate --pcap /', /it is a folder/],
  ['drive sim:e1000 --generate --trace /nowhere/x', /there is no folder/],
  ['drive sim:e1000 --generate --trace - --json', /both want standard output/],
  ['devices --registers x540', /no model "x540"/],
  ['demo --generated --seconds 0', /whole number/],
  ['vm --kernel nowhere true', /no kernel nowhere: give stock, dev, an image or a folder/],
  ['vm --kernel test --refresh true', /--refresh is for the stock kernel/],
];

for (const [line, says] of MISTAKES) test.serial(`refused: fauxnic ${line}`, (t) => assertRefused(t, line, says));

interface Result {
  cards: {
    mac: string;
    link: { up: boolean; speed: number };
    rings: object;
    mtu: number;
    joined: Record<string, number>;
  }[];
  wire: { forward: { sent: number; lost: number } };
  pcap: { bytes: number };
}

test('generate --json: every frame goes there and comes back', async (t) => {
  const pcap = join(folder, 'generate.pcapng');
  const options = `--count 5000 --size imix --rx-ring 80 --tx-ring 128 --mac 02:00:00:00:00:99 --pcap ${pcap}`;
  const { stdout, stderr, exitCode } = await fauxnic(`drive sim:e1000 --generate --json ${options}`);
  t.is(stderr, '');
  t.is(exitCode, 0);
  const { cards, wire, pcap: capture } = JSON.parse(stdout) as Result;
  const [near, far] = cards as [Result['cards'][0], Result['cards'][0]];
  t.like(near, { mac: '02:00:00:00:00:99', mtu: 1500, link: { up: true, speed: 1000 }, rings: { rx: 80, tx: 128 } });
  t.like(near.joined, { sent: 5000, received: 5000, lost: 0, duplicates: 0, reordered: 0, foreign: 0 });
  t.like(far.joined, { answered: 5000 }); // it takes every multicast, and so PAUSE frames, too
  t.true(wire.forward.sent >= 5000, 'the frames, and PAUSE where the echo was behind');
  t.is(capture.bytes, readFileSync(pcap).length);
});

test('generated frames go where they are told to', async (t) => {
  const sent = async (options: string) => {
    const pcap = join(folder, 'to.pcapng');
    const { stdout } = await fauxnic(`drive sim:e1000 --generate --count 10 --json --pcap ${pcap} ${options}`);
    const { received } = (JSON.parse(stdout) as Result).cards[0]!.joined;
    const frames = readFileSync(pcap).toString('latin1');
    return { received, to: (mac: string) => frames.split(Buffer.from(mac, 'hex').toString('latin1')).length - 1 };
  };
  const elsewhere = await sent('--to 02:00:00:00:00:77');
  t.deepEqual([elsewhere.to('020000000077'), elsewhere.received], [10, 0], 'which the other card is not');
  t.is((await sent('--to 01:00:5e:01:02:03')).to('01005e010203'), 10, 'a group');
});

test('the same seed loses the same frames', async (t) => {
  const run = async (seed: number) => {
    const { stdout } = await fauxnic(
      `drive sim:e1000 --generate --peer sink --count 2000 --wire loss=5% --seed ${seed} --json`,
    );
    return (JSON.parse(stdout) as Result).wire.forward.lost;
  };
  const [first, second, other] = await Promise.all([run(7), run(7), run(8)]);
  t.true(first > 50 && first < 150, `${first} of 2000`);
  t.is(first, second);
  t.not(first, other);
});

test('a jumbo frame, an echo that was driven, nobody at the other end', async (t) => {
  t.is((await fauxnic('drive sim:e1000 --echo --count 100 --mtu 9000 --json')).exitCode, 0);
  const alone = await fauxnic('drive sim:e1000 --echo --peer none --seconds 0.1');
  t.is(alone.exitCode, 0);
  t.regex(alone.stdout, /link +down: nobody at the other end/);
});

test('the trace names registers, fields and descriptors', async (t) => {
  const { stdout, exitCode } = await fauxnic('drive sim:e1000 --generate --count 1 --trace -');
  t.is(exitCode, 0);
  const lines = stdout.split('\n');
  t.true(lines.every((line) => /^\d+\.\d{9} e1000-[01] /.test(line)));
  t.regex(stdout, /e1000-0 write CTRL 0x[\da-f]{8} FD=1 .*SLU=1/);
  t.regex(stdout, /e1000-0 tx\[0\] \S+ buffer=0x[\da-f]{8} length=60 .*EOP/);
  t.regex(stdout, /e1000-1 rx\[0\] buffer=0x[\da-f]{8} length=60 DD EOP/);
  t.regex(stdout, /e1000-0 read {2}(EERD|EECD) /, 'from the first access on');
  t.regex(stdout, /e1000-0 write config PCI_COMMAND 0x00\d{2} MEMORY=1/);
});

test('a capture that stays incomplete is a failure', async (t) => {
  const { stdout, stderr, exitCode } = await fauxnic('drive sim:e1000 --generate --count 10 --pcap /dev/full');
  t.is(exitCode, 1);
  t.regex(stderr, /^fauxnic: capture \/dev\/full is not complete: ENOSPC[^\n]*$/);
  t.regex(stdout, /10 frames: 0 lost/);
});

test('demo on generated traffic', async (t) => {
  const { stdout, exitCode } = await fauxnic('demo --generated --seconds 1 --json');
  t.is(exitCode, 0);
  const result = JSON.parse(stdout) as Result & { traffic: string; why: string; pcap: { path: string } };
  t.like(result, { traffic: 'generated', why: '--generated' });
  t.true(result.cards[0]!.joined.received! > 100);
  t.is(result.pcap.path, join(folder, 'fauxnic/demo.pcapng'));
});

for (const [signal, code] of [
  ['SIGINT', 0], // how a run without end ends
  ['SIGTERM', 143],
] as const) {
  test(`${signal} stops a run cleanly`, async (t) => {
    const child = fauxnic('drive sim:e1000 --generate');
    for await (const line of child) if (/^ {13}e1000-1 to echo/.test(line)) child.kill(signal);
    const { stdout, stderr, exitCode } = await child;
    t.is(exitCode, code);
    t.is(stderr, '');
    t.regex(stdout, /^after [\d.]+ s$/m, 'the summary is there');
  });
}

test('a reader that goes away ends it quietly', async (t) => {
  const child = fauxnic('drive sim:e1000 --generate --trace -');
  child.stdout.once('data', () => child.stdout.destroy());
  const { stderr, exitCode } = await child;
  t.is(exitCode, 0);
  t.is(stderr, '');
});

test('a device outside of this process: what is not here is refused, in one line', async (t) => {
  const refusals: [line: string, says: RegExp][] = [
    ['drive vfio-user: --echo', /target vfio-user: lacks something: give vfio-user:PATH/],
    ['drive vfio-user:/nowhere --echo --peer echo', /--peer is for models in this process/],
    ['drive vfio-user:/nowhere --echo --pcap x.pcapng', /--pcap is for models in this process/],
    ['drive vfio-user:/nowhere --echo --trace -', /--trace is for models/],
    ['drive vfio-user:/nowhere --echo --wire loss=1%', /--wire is for models/],
    ['drive nothing:e1000 --echo', /no target "nothing:e1000": there is sim:e1000, .*vfio-user:PATH/],
  ];
  for (const [line, says] of refusals) {
    const { stdout, stderr, exitCode } = await fauxnic(line);
    t.is(exitCode, 2, line);
    t.regex(stderr, says);
    t.notRegex(stderr, /\n/);
    t.is(stdout, '');
  }
});
