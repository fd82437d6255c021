import { DeviceError } from '../drivers/device.ts';
import { NativeError } from '../native/index.ts';
import { VmError } from '../vm/errors.ts';

/** Wrong usage: one line that says what, and how to mend it. The command ends with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something that should have worked did not. The command ends with 1. */
export class Failure extends Error {
  override readonly name = 'Failure';
}

/** A signal ended what was being waited for. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** 128 and the signal's number. */
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** What the person at the terminal can mend: names, privileges, and what the machine lacks. */
const USAGE_CODES = [
  'EPERM',
  'EACCES',
  'EADDRINUSE',
  'EBUSY',
  'EEXIST',
  'ENAMETOOLONG',
  'EINVAL',
  'ENOENT',
  'ENODEV',
  'ENOTDIR',
  'EROFS',
  'UNAVAILABLE',
];

export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode;
  if (error instanceof UsageError) return 2;
  if (error instanceof DeviceError) return error.code === 'INVALID' ? 2 : 1;
  if (error instanceof NativeError) return USAGE_CODES.includes(error.code) ? 2 : 1;
  if (error instanceof VmError) return error.code === 'INVALID' || error.code === 'UNAVAILABLE' ? 2 : 1;
  return 1;
}

/** One line, whatever was thrown. */
export function lineOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().replace(/\s*\n\s*/g, '; ');
}
