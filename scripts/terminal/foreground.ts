import { readFileSync } from 'node:fs';

/**
 * Whether this process may use its terminal: a shell's background job that reads it, or sets its mode, is stopped.
 * /proc/PID/stat has the process's group (pgrp) and the one in the terminal's foreground (tpgid; -1 without a terminal).
 */
export function inForeground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(foreground) <= 0 || group === foreground;
  } catch {
    return true; // no /proc: not Linux
  }
}
