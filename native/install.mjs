// Builds the addon, as npm's install script and as `npm run build:native`. Without it the models and drivers still run,
// so a machine that cannot build it is told what is missing and the installation goes on; with --must that is a failure.
// Nothing is downloaded: Node's headers are taken from beside the running Node, or not at all.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const addon = join(here, 'build/Release/fauxnic.node');
const log = join(here, 'build/install.log');

function giveUp(why) {
  console.error(`fauxnic: native addon not built, so no TAP interfaces: ${why}`);
  process.exit(process.argv.includes('--must') ? 1 : 0);
}

function isFresh() {
  if (!existsSync(addon)) return false;
  const sources = readdirSync(join(here, 'src')).map((name) => join(here, 'src', name));
  const newest = Math.max(...[...sources, join(here, 'binding.gyp')].map((path) => statSync(path).mtimeMs));
  return statSync(addon).mtimeMs > newest;
}

function globalModules() {
  try {
    return execFileSync('npm', ['root', '-g'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

/** npm names its own copy of node-gyp to the scripts it runs; outside of npm it is looked for where npm lives. */
function findNodeGyp() {
  const { npm_config_node_gyp: named, npm_execpath: npm } = process.env;
  const inNpm = 'node_modules/node-gyp/bin/node-gyp.js';
  const nearby = [named, npm && join(dirname(npm), '..', inNpm)].find((path) => path && existsSync(path));
  return nearby ?? [join(globalModules(), 'npm', inNpm)].find((path) => existsSync(path));
}

/** What node-gyp needs, unless the environment names another, as it may. */
function missingTools() {
  const tools = { 'g++': process.env.CXX, make: process.env.MAKE, python3: process.env.PYTHON };
  const runs = (tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0;
  return Object.keys(tools).filter((tool) => !runs(tools[tool] ?? tool));
}

function build(nodeGyp, nodedir) {
  const result = spawnSync(process.execPath, [nodeGyp, 'configure', 'build', '--release', `--nodedir=${nodedir}`], {
    cwd: here,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    // binding.gyp asks `node` where node-addon-api is: let it be this one.
    env: { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}` },
  });
  mkdirSync(dirname(log), { recursive: true });
  writeFileSync(log, `${result.stdout}${result.stderr}${result.error ?? ''}`);
  return result.status === 0 && isFresh();
}

function install() {
  if (process.platform !== 'linux') giveUp('it needs Linux');
  if (isFresh()) return;
  const nodedir = dirname(dirname(process.execPath));
  const headers = join(nodedir, 'include/node');
  if (!['node_api.h', 'uv.h', 'common.gypi'].every((file) => existsSync(join(headers, file))))
    giveUp(`no headers of this Node in ${headers}: use a Node that brings them (nodejs.org's, NodeSource's)`);
  const missing = missingTools();
  if (missing.length > 0) giveUp(`${missing.join(', ')} not found: apt-get install g++ make python3`);
  const nodeGyp = findNodeGyp();
  if (!nodeGyp) giveUp('node-gyp, which comes with npm, not found: apt-get install npm');
  if (!build(nodeGyp, nodedir)) giveUp(`the compiler failed: see ${log}`);
}

install();
