/**
 * The packet kernels in WebAssembly, over the memory they see: an arena, in which DMA memory and packet memory live. To
 * JavaScript it is an ArrayBuffer like any other.
 */
import { SIMD_BYTES } from './simd-bytes.js';

/** The exports of simd.wat: addresses and lengths in bytes, a length at most `MOST`. */
export interface SimdKernels {
  sum(at: number, length: number): number;
  copy(at: number, to: number, length: number): void;
  copyAndSum(at: number, to: number, length: number): number;
}

export const MOST = 0x10000;

const PAGE = 0x10000;

/** What of WebAssembly is used: neither Node's types nor the language's have it. */
interface WebAssemblyApi {
  Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: { kernels: { memory: object } }) => { readonly exports: unknown };
}

const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly;
const module = compile();
const kernels = new WeakMap<ArrayBufferLike, SimdKernels>();

function compile(): object | string {
  if (api === undefined) return 'no WebAssembly';
  try {
    return new api.Module(SIMD_BYTES);
  } catch {
    return 'no SIMD in WebAssembly'; // or code may not be made here: a browser's content security policy
  }
}

/** Why there are none; null where there are. */
export const whyNoSimd = typeof module === 'string' ? module : null;

/** `bytes` of zeroed memory that the kernels see; memory that they do not where there is none to be had. */
export function makeArena(bytes: number): ArrayBuffer {
  if (api === undefined || typeof module === 'string') return new ArrayBuffer(bytes);
  const pages = Math.ceil(bytes / PAGE);
  try {
    const memory = new api.Memory({ initial: pages, maximum: pages });
    kernels.set(memory.buffer, new api.Instance(module, { kernels: { memory } }).exports as SimdKernels);
    return memory.buffer;
  } catch {
    return new ArrayBuffer(bytes); // each takes gigabytes of addresses, which may be limited (`ulimit -v`)
  }
}

/** The kernels that see a buffer. */
export function simdOf(buffer: ArrayBufferLike): SimdKernels | undefined {
  return kernels.get(buffer);
}
