import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { until } from '../util/until.ts';

/** The command, for Node to run. */
export const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

/** Somewhere for a test's files, and a name by which its processes are known: both are in their environment. */
export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), 'fauxnic-native-'));

  readonly fauxnic = (line: string, { before = [] as string[], env = {} } = {}) => {
    const [tool, ...args] = [...before, process.execPath, command, ...line.split(' ')] as [string, ...string[]];
    return execa(tool, args, {
      env: { XDG_CACHE_HOME: this.folder, ...env },
      reject: false,
      forceKillAfterDelay: false,
      buffer: true,
    });
  };

  /** A shell's line at a terminal of its own, in which $FAUXNIC is the command. */
  readonly terminal = (line: string) => new Terminal(line, this.folder);

  /** Waits until something is there: a socket that is listened on. */
  async appears(path: string): Promise<void> {
    await until(() => existsSync(path), path);
  }

  /** Processes, by command line, that the command started and that are still there. */
  processes(): string[] {
    return readdirSync('/proc')
      .filter(
        (name) => /^\d+$/.test(name) && readable(`/proc/${name}/environ`).includes(`XDG_CACHE_HOME=${this.folder}\0`),
      )
      .map((pid) => readable(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim())
      .filter((line) => line !== ''); // a zombie has none
  }

  /** Waits until none is left. */
  async quiet(): Promise<void> {
    await until(() => this.processes().length === 0, 'the end of all processes');
  }

  ledger(): string[] {
    try {
      return readdirSync(join(this.folder, 'fauxnic/run'));
    } catch {
      return [];
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** util-linux's script(1) has the terminal; when it is killed, that has gone. */
export class Terminal {
  readonly child;
  #said = '';
  #from = 0;
  #heard: () => void = () => {};

  constructor(line: string, folder: string) {
    const env = { XDG_CACHE_HOME: folder, FAUXNIC: `${process.execPath} ${command}`, TERM: 'xterm' };
    this.child = execa('script', ['-qefc', line, '/dev/null'], { env, reject: false, forceKillAfterDelay: false });
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString();
      this.#heard();
    });
  }

  type(keys: string): void {
    this.child.stdin.write(keys);
  }

  /** Waits until it is there, behind what was waited for before. */
  async until(wanted: RegExp): Promise<string> {
    for (;;) {
      const found = wanted.exec(this.#said.slice(this.#from));
      if (found) {
        this.#from += found.index + found[0].length;
        return found[0];
      }
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  get said(): string {
    return this.#said;
  }
}

/** As somebody who is not root; file access stays. */
export const WITHOUT_ROOT = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--'];

export function interfaces(): string[] {
  return readdirSync('/sys/class/net').toSorted();
}

function readable(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}
