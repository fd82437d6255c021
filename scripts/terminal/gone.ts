import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/**
 * Lets the process exit although its terminal has gone by then: Node sets the mode of every terminal that it began with
 * once more, and aborts where one refuses (src/node.cc, ResetStdio). One that was reopened as something else it leaves.
 */
export function outliveTerminal(): void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  process.on('exit', () => {
    for (const fd of terminals) {
      if (isatty(fd)) continue;
      closeSync(fd);
      openSync('/dev/null', 'r+'); // the lowest number that is free
    }
  });
}
