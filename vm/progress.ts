/** Where lines about what takes long go; nowhere, if absent. */
export type Progress = (line: string) => void;

const SILENT = 2000; // milliseconds

/** Does something, and tells of it where it takes longer than two seconds. */
export async function step<T>(what: string, progress: Progress | undefined, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  let told = false;
  const timer = setTimeout(() => {
    told = true;
    progress?.(`… ${what}`);
  }, SILENT);
  try {
    const result = await work();
    if (told) progress?.(`✓ ${what} (${((performance.now() - started) / 1000).toFixed(0)} s)`);
    return result;
  } finally {
    clearTimeout(timer);
  }
}
