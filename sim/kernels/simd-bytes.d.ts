/** The assembled module of simd.wat: scripts/assemble.mjs puts it into dist/. */
export const SIMD_BYTES: Uint8Array;
