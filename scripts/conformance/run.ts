/** One card through all tests. */
import type { GuestParts } from '../../vm/parts.ts';
import { lineOf } from '../errors.ts';
import { Bed, Fault, type Subject } from './bed.ts';
import { type Test, testsOf } from './tests.ts';

export interface TestResult {
  readonly name: string;
  readonly result: 'passed' | 'failed';
  /** What was covered, or what was found instead. */
  readonly detail: string;
}

export interface RunOptions {
  readonly parts: GuestParts;
  readonly subject: Subject;
  readonly tests?: readonly Test[];
  /** Ends it. */
  readonly signal?: AbortSignal;
  /** Told of each machine's process. */
  readonly started?: (pid: number) => void;
  /** Told before each test. */
  readonly beginning?: (test: Test, index: number) => void;
}

/** Throws where the guest does not come up; a guest that ends later fails the tests that remain. */
export async function runTests(options: RunOptions): Promise<TestResult[]> {
  const { parts, subject, signal, started, beginning } = options;
  const tests = options.tests ?? testsOf(subject.model);
  const bed = await Bed.open({ ...parts, subject, signal, started });
  const results: TestResult[] = [];
  try {
    for (const [index, test] of tests.entries()) {
      beginning?.(test, index);
      results.push(await runTest(bed, test));
      signal?.throwIfAborted();
    }
  } finally {
    await bed.close();
  }
  return results;
}

async function runTest(bed: Bed, test: Test): Promise<TestResult> {
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
