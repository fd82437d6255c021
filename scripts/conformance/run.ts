/** One card through all tests. */
import { lineOf } from '../errors.ts';
import { Bed, type BedOptions, Fault } from './bed.ts';
import { type Test, testsOf } from './tests.ts';

export interface TestResult {
  readonly name: string;
  readonly result: 'passed' | 'failed' | 'skipped';
  /** What was covered, or what was found instead, or why it was not run. */
  readonly detail: string;
  /** What it took: in the guest's time, and in ours. */
  readonly seconds: { readonly guest: number; readonly real: number };
}

export interface RunOptions {
  readonly bed: BedOptions;
  readonly tests?: readonly Test[];
  /** With those that are slow in virtual time, too. */
  readonly long?: boolean;
  /** Told before each test. */
  readonly beginning?: (test: Test, index: number) => void;
}

/** Throws where the guest does not come up; a guest that ends later fails the tests that remain. */
export async function runTests(options: RunOptions): Promise<TestResult[]> {
  const { beginning, long = false } = options;
  const { subject, signal } = options.bed;
  const tests = options.tests ?? testsOf(subject.model);
  const bed = await Bed.open(options.bed);
  const results: TestResult[] = [];
  try {
    for (const [index, test] of tests.entries()) {
      beginning?.(test, index);
      results.push(await measured(bed, test, long));
      signal?.throwIfAborted();
    }
  } finally {
    await bed.close();
  }
  return results;
}

async function measured(bed: Bed, test: Test, long: boolean): Promise<TestResult> {
  const [guest, real] = [bed.now, performance.now()];
  const reason = bed.virtual
    ? (test.notVirtual ?? (test.slow && !long ? `${test.slow}: --long` : undefined))
    : undefined;
  const verdict = reason === undefined ? await runTest(bed, test) : skipped(test, reason);
  return { ...verdict, seconds: { guest: bed.now - guest, real: (performance.now() - real) / 1000 } };
}

function skipped({ name }: Test, detail: string): Omit<TestResult, 'seconds'> {
  return { name, result: 'skipped', detail };
}

async function runTest(bed: Bed, test: Test): Promise<Omit<TestResult, 'seconds'>> {
  const { name } = test;
  try {
    await bed.fresh();
    return { name, result: 'passed', detail: await test.run(bed) };
  } catch (error) {
    const detail = error instanceof Fault ? error.message : `the guest: ${lineOf(error)}`;
    return { name, result: 'failed', detail };
  } finally {
    await bed.cable(true).catch(() => {}); // where QEMU has ended there is none
  }
}
