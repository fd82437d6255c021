/** What a guest runs where nobody named a command: a shell at the person's terminal, or what comes over a pipe. */

export interface Screen {
  readonly rows: number;
  readonly columns: number;
  /** The terminal's kind, as TERM has it. */
  readonly kind: string;
}

/** Every card is up. */
const PRELUDE = `for card in /sys/class/net/eth*; do
  [ ! -e "$card" ] || ip link set "\${card##*/}" up
done
`;

/** A script as it came over a pipe, which is at its end; its last command's exit code is the guest's. */
export function pipedShell(script: string): string {
  return `exec < /dev/null\n${PRELUDE}${script}`;
}

/**
 * A shell with lines to edit and jobs to control. Busybox's own would run its applets in place of the programs taken
 * along, so each of these is an alias. @param greeting lines to begin with.
 */
export function interactiveShell({ rows, columns, kind }: Screen, greeting: readonly string[]): string {
  const term = /^[\w.+-]+$/.test(kind) ? kind : 'dumb';
  return `${PRELUDE}stty sane rows ${rows} columns ${columns}
for program in /usr/bin/*; do echo "alias \${program##*/}=$program"; done > /etc/shrc
cat <<'GREETING'
${greeting.join('\n')}
GREETING
export TERM=${term} ENV=/etc/shrc PS1='guest:\\w# '
exec busybox sh -i
`;
}
