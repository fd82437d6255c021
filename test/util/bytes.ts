import type { ExecutionContext } from 'ava';

/** For memories and images: AVA's deepEqual looks at each byte as a property, and takes 20 ms for 128 KiB. */
export function sameBytes(t: ExecutionContext, found: Uint8Array, wanted: Uint8Array): void {
  if (Buffer.compare(found, wanted) === 0) {
    t.pass();
    return;
  }
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  const lengths = `${found.length} bytes, not ${wanted.length}`;
  t.fail(found.length === wanted.length ? `at ${at}: ${found[at]}, not ${wanted[at]}` : lengths);
}
