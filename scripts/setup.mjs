// Sets up a checkout: what the machine lacks, npm's packages, the addon, the build. Needs no package itself; safe to
// repeat, and quick when there is nothing to do. Long steps say how long they take; what they print goes to a log.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const logs = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fauxnic/log');
const stamp = join(root, 'node_modules/.fauxnic-installed');
const terminal = Boolean(process.stdout.isTTY);

/** Commands, and the Debian packages they are in. */
const TOOLS = {
  'g++': 'g++',
  make: 'make',
  python3: 'python3',
  npm: 'npm',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  ip: 'iproute2',
  ping: 'iputils-ping',
  iperf3: 'iperf3',
  tshark: 'tshark',
  ethtool: 'ethtool',
};

/** And what `setup.mjs kernel` needs beside them, to build one. A path is a file that no command stands for. */
const KERNEL_TOOLS = {
  gcc: 'gcc',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  xz: 'xz-utils',
  patch: 'patch',
  '/usr/include/libelf.h': 'libelf-dev',
};

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`Node ${process.versions.node} is too old: install 20.19 or later (https://nodejs.org)`);
}

function found(tool) {
  if (tool.startsWith('/')) return existsSync(tool);
  const folders = [...process.env.PATH.split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, tool)));
}

/** Missing tools are no reason to stop: what needs them says so itself. */
async function installTools(tools) {
  if (process.platform !== 'linux') return;
  const missing = [
    ...new Set(
      Object.keys(tools)
        .filter((tool) => !found(tool))
        .map((tool) => tools[tool]),
    ),
  ];
  if (missing.length === 0) return;
  const list = missing.join(' ');
  if (!found('apt-get')) return console.log(`- not installed, as there is no apt-get here: ${list}`);
  const become = process.getuid() === 0 ? [] : sudo();
  if (become === null) return console.log(`- missing, and installing takes root: sudo apt-get install ${list}`);
  const apt = (...args) => ({
    command: [...become, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '--yes', '--quiet', ...args],
    log: 'apt',
  });
  const install = apt('install', '--no-install-recommends', ...missing);
  const installed =
    (await step(`installing ${list}`, install, { mayFail: true })) || (await updateAndInstall(apt, install));
  if (!installed) console.log(`- could not install ${list}: see ${join(logs, 'apt.log')}; going on without`);
}

/** Lists that are old, or were never fetched, are the usual reason. */
async function updateAndInstall(apt, install) {
  return (
    (await step('updating the package lists', apt('update'), { mayFail: true })) &&
    (await step('installing again', install, { mayFail: true }))
  );
}

/** Asks for a password only where somebody can type one. */
function sudo() {
  if (!found('sudo')) return null;
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n'];
  return terminal && process.stdin.isTTY ? ['sudo'] : null;
}

async function installPackages() {
  const lock = readFileSync(join(root, 'package-lock.json'));
  const wanted = createHash('sha256').update(lock).update(process.version).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return false;
  // Its scripts build the addon and compile, too.
  await step("installing npm's packages, building", { command: ['npm', 'ci', '--no-fund', '--no-audit'], log: 'npm' });
  writeFileSync(stamp, wanted);
  return true;
}

async function build() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await step('compiling', { command: [process.execPath, tsc, '--build'], log: 'tsc' }, { quiet: true });
  const assemble = [process.execPath, 'scripts/assemble.mjs'];
  await step('assembling WebAssembly', { command: assemble, log: 'wat' }, { quiet: true });
}

async function buildAddon() {
  if (process.platform !== 'linux') return;
  // Says itself why it could not be built; the models and drivers run without.
  await step(
    'building the addon',
    { command: [process.execPath, 'native/install.mjs'], log: 'addon' },
    { quiet: true },
  );
  const said = readFileSync(join(logs, 'addon.log'), 'utf8').trim();
  if (said !== '') console.log(`- ${said}`);
}

/** Runs a command, its output to a log. A quiet one is told of only when it takes a while. */
async function step(what, { command, log }, { mayFail = false, quiet = false } = {}) {
  mkdirSync(logs, { recursive: true });
  const path = join(logs, `${log}.log`);
  const fd = openSync(path, 'w');
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  const child = spawn(command[0], command.slice(1), { cwd: root, stdio: ['inherit', fd, fd] });
  const drawn = setInterval(() => terminal && process.stdout.write(`\r… ${what} (${seconds()} s)`), 1000);
  if (!terminal && !quiet) console.log(`… ${what}`);
  const code = await new Promise((resolve) => {
    child.once('error', () => resolve(127));
    child.once('exit', (code, signal) => resolve(signal ? 1 : code));
  });
  clearInterval(drawn);
  closeSync(fd);
  if (terminal) process.stdout.write('\r\x1b[K');
  if (code === 0 && (!quiet || seconds() >= 2)) console.log(`✓ ${what} (${seconds()} s)`);
  if (code !== 0 && !mayFail) {
    process.stderr.write(excerpt(path));
    fail(`${what}: failed (${command.join(' ')}); all it printed is in ${path}`);
  }
  return code === 0;
}

/** What it says went wrong, first; or how it ended. */
function excerpt(path) {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const wrong = lines.filter((line) => /error|E:/i.test(line) && !/^npm error$/.test(line.trim()));
  const shown = wrong.length > 0 ? wrong.slice(0, 8) : lines.slice(-8);
  return shown.map((line) => `  ${line}\n`).join('');
}

function fail(why) {
  console.error(`fauxnic: ${why}`);
  process.exit(1);
}

checkNode();
if (process.argv[2] === 'kernel') await installTools(KERNEL_TOOLS);
else {
  await installTools(TOOLS);
  if (!(await installPackages())) {
    await buildAddon();
    await build();
  }
}
