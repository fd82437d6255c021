// Builds the addon with AddressSanitizer, beside the one in use, and says what a Node that loads it needs in its environment:
// one assignment a line. Leaks are not looked for, as Node itself leaves memory to the kernel.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'build/asan/fauxnic.node');
const compiler = process.env.CXX ?? 'g++';
const sources = readdirSync(join(here, 'src')).map((name) => join(here, 'src', name));

function isFresh() {
  return existsSync(out) && sources.every((path) => statSync(path).mtimeMs < statSync(out).mtimeMs);
}

/** The flags that are the addon's own are in binding.gyp alone. */
function flags() {
  const { targets } = JSON.parse(readFileSync(join(here, 'binding.gyp'), 'utf8'));
  const [{ defines, cflags_cc }] = targets;
  const api = dirname(createRequire(import.meta.url).resolve('node-addon-api'));
  const include = [join(dirname(dirname(process.execPath)), 'include/node'), api];
  return [...defines.map((it) => `-D${it}`), ...cflags_cc, ...include.map((it) => `-I${it}`)];
}

if (!isFresh()) {
  mkdirSync(dirname(out), { recursive: true });
  const sanitize = ['-fsanitize=address', '-fno-omit-frame-pointer', '-O1', '-g', '-fPIC', '-shared'];
  const units = sources.filter((path) => path.endsWith('.cc'));
  execFileSync(compiler, [...flags(), ...sanitize, ...units, '-o', out], { stdio: ['ignore', 'ignore', 'inherit'] });
}
const library = execFileSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
console.log(`FAUXNIC_ADDON=${out}`);
console.log(`LD_PRELOAD=${library}`);
// SIGBUS is the addon's own to mend.
console.log('ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0:abort_on_error=1');
