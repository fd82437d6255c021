/** drive at a terminal: its keys, that it gives the terminal back, and that it ends when the terminal goes. */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { interfaces, Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);

const place = new Place();
t.teardown(() => place.remove());
const before = interfaces();
const skip = spawnSync('script', ['-V']).error ? 'script not found: apt-get install bsdutils' : false;
const COOKED = /[^-]icanon[\s\S]*[^-]echo\b/;
const PROMPT = /[#$] $/;
const SHELL = 'bash --norc --noprofile -i';

void t.test('each key does what help says, and the terminal is as it was', { skip }, async (t) => {
  const terminal = place.terminal('$FAUXNIC drive sim:e1000 --tap; echo code $?; stty -a');
  await terminal.until(/bring-up.+ device reset/);
  await terminal.until(/receive ring of 512: produced 511 buffers, receive MAC enabled/);
  await terminal.until(/TAP.+ fauxnic0 .*ip address add 10.0.0.1\/24 dev fauxnic0[\s\S]+quit/);
  t.match(readFileSync('/sys/class/net/fauxnic0/carrier', 'utf8'), /^1/);
  spawnSync('ip', ['address', 'add', '10.82.57.1/24', 'dev', 'fauxnic0']);
  await terminal.until(/fauxnic0 {2}10\.82\.57\.1\/24/);
  terminal.type('d');
  await terminal.until(/detected.+ e1000-0 up, 1000 Mbit\/s, full duplex, pause both ways/);
  terminal.type('x \x1b[Ayy');
  terminal.type('h');
  await terminal.until(/means nothing here/);
  await terminal.until(/d {2}link detect/);
  for (const level of ['events', 'drops', 'quiet', 'normal']) {
    terminal.type('v');
    await terminal.until(new RegExp(`verbosity.+ ${level}: `));
  }
  spawnSync('ping', ['-n', '-c', '2', '-i', '0.05', '-w', '5', '10.82.57.9']);
  terminal.type('s');
  await terminal.until(/after [\d.]+ s[\s\S]+frames received +[1-9]/);
  terminal.type('R');
  await terminal.until(/reset.+ statistics/);
  terminal.type('q');
  await terminal.until(/after [\d.]+ s, counted since [\d.]+ s/);
  await terminal.until(/code 0\b/);
  await terminal.until(COOKED);
  await terminal.child;
  t.equal(terminal.said.match(/means nothing/g)?.length, 1, 'said once for a row of them');
  t.same(interfaces(), before);
});

void t.test('Ctrl-C ends it', { skip }, async () => {
  const terminal = place.terminal('$FAUXNIC drive sim:e1000 --generate; echo code $?; stty -a');
  await terminal.until(/generator.+ sent [\d,]+ frames/);
  terminal.type('\x03');
  await terminal.until(/after [\d.]+ s/);
  await terminal.until(/code 0\b/);
  await terminal.until(COOKED);
  await terminal.child;
});

void t.test(
  'Ctrl-Z gives the shell its terminal; fg takes it again; in the background it is let be',
  { skip },
  async (t) => {
    const terminal = place.terminal(SHELL);
    await terminal.until(PROMPT);
    terminal.type('$FAUXNIC drive sim:e1000 --tap\r');
    await terminal.until(/ quit/);
    terminal.type('\x1a');
    await terminal.until(/Stopped/);
    terminal.type('stty -a\r');
    await terminal.until(COOKED);
    t.same(interfaces(), [...before, 'fauxnic0'].toSorted(), 'the TAP stays');
    terminal.type('fg\r');
    await terminal.until(/ quit/);
    terminal.type('d');
    await terminal.until(/detected.+ up, 1000/);
    terminal.type('\x1a');
    await terminal.until(/Stopped/);
    terminal.type('bg\r');
    await terminal.until(/· link 1000/);
    terminal.type('jobs\r');
    await terminal.until(/Running/);
    terminal.type('fg\r');
    await terminal.until(/ quit/);
    terminal.type('d');
    await terminal.until(/detected.+ up, 1000/);
    terminal.type('\x03');
    await terminal.until(/after [\d.]+ s/);
    await terminal.until(PROMPT);
    terminal.type('exit\r');
    await terminal.child;
    t.same(interfaces(), before);
  },
);

void t.test('a background job from the first is not stopped for wanting keys', { skip }, async (t) => {
  const terminal = place.terminal(SHELL);
  await terminal.until(PROMPT);
  terminal.type('$FAUXNIC drive sim:e1000 --tap --seconds 3; true &\r');
  await terminal.until(/after 3/);
  terminal.type('exit\r');
  await terminal.child;
  t.same(interfaces(), before);
});

// The shell lives on, to tell how the command ended.
const GONE = {
  'SIGHUP tells': 'trap "" HUP; LINE',
  'no signal tells, but reading and writing do': "setsid --wait sh -c 'LINE'",
};
for (const [how, shell] of Object.entries(GONE))
  void t.test(`the terminal gone: ${how}`, { skip }, async (t) => {
    const code = join(place.folder, 'code');
    rmSync(code, { force: true });
    const terminal = place.terminal(shell.replace('LINE', `$FAUXNIC drive sim:e1000 --tap; echo $? >${code}`));
    await terminal.until(/ quit/);
    t.same(interfaces(), [...before, 'fauxnic0'].toSorted());
    terminal.child.kill('SIGKILL');
    await place.quiet();
    t.equal(readFileSync(code, 'utf8').trim(), '129', 'as SIGHUP ends it');
    t.same(interfaces(), before);
  });

void t.test('a pipe and --json: no control characters, no keys', { skip }, async (t) => {
  const terminal = place.terminal(
    '$FAUXNIC drive sim:e1000 --echo --seconds 1 | cat; $FAUXNIC drive sim:e1000 --echo --seconds 1 --json',
  );
  await terminal.child;
  t.notOk(terminal.said.includes('\x1b'));
  t.notMatch(terminal.said, /quit/);
  t.match(terminal.said, /bring-up +device reset/);
  t.match(terminal.said, /^\{"seconds":[^\n]+\}\r?$/m);
});
