/**
 * Sets these counters to 0 so that they count beyond 2^31 at no cost. V8 has a field hold a small integer until it must hold
 * more; a count of bytes gets there within seconds, and all compiled code that knows the object is thrown away at that moment.
 * A field that has held a fraction holds doubles for good.
 */
export function wide<Field extends string>(counters: Record<NoInfer<Field>, number>, ...fields: Field[]): void {
  for (const field of fields) {
    counters[field] = 0.5;
    counters[field] = 0;
  }
}
