// Assembles the WebAssembly kernels: sim/kernels/simd.wat becomes a module of JavaScript in dist/, so that they load
// wherever JavaScript does. Part of the build; quick, and silent.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import loadWabt from 'wabt';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const source = 'sim/kernels/simd.wat';
const target = join(root, 'dist/sim/kernels/simd-bytes.js');

const wabt = await loadWabt();
const assembled = wabt.parseWat(source, readFileSync(join(root, source), 'utf8'), { simd: true });
const { buffer } = assembled.toBinary({});
mkdirSync(dirname(target), { recursive: true });
writeFileSync(target, `export const SIMD_BYTES = Uint8Array.of(${buffer.join()});\n`);
