/** What the kernel's build prints, read for a person. */

/** Newer kernels have them, and ours does not need them. */
const NEWER = ['CONFIG_IOMMUFD'];

/** Options that merge_config.sh could not set as the fragment wants them: names that are gone, or that lack another. */
export function refusedOptions(said: string): string[] {
  const names = [...said.matchAll(/^Value requested for (CONFIG_\w+) not in final/gm)].map(([, name]) => name!);
  return names.filter((name) => !NEWER.includes(name));
}

/** What is being made, where the line says so: "  CC [M]  drivers/net/tun.o". */
export function stepOf(line: string): string | null {
  return /^ {2}(?:CC|AS|LD|AR|HOSTCC|OBJCOPY|VDSO)(?: \[M\])? +(\S+)/.exec(line)?.[1] ?? null;
}

/** The line that says what went wrong: a compiler's or a linker's, else the last. */
export function errorIn(lines: readonly string[]): string {
  const error = lines.find((line) => /(?:error|undefined reference)[: ]|: not found|No space left/i.test(line));
  return (error ?? lines.findLast((line) => line.trim() !== '') ?? 'it said nothing').trim();
}
