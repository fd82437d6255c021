import { constants } from 'node:os';

/** What this room throws. `code` is for programs (an errno's name, or CLOSED, UNAVAILABLE); the message is for people. */
export class NativeError extends Error {
  override readonly name = 'NativeError';
  readonly code: NativeErrorCode;
  /** What was refused: a system call, or the function of this room that did not get as far as one. */
  readonly syscall: string;

  constructor(code: NativeErrorCode, syscall: string, message: string) {
    super(message);
    this.code = code;
    this.syscall = syscall;
  }
}

/** CLOSED: used after close. UNAVAILABLE: the addon is not built or does not load. EBADFD: the interface was deleted. */
export type NativeErrorCode = keyof typeof constants.errno | 'EBADFD' | 'CLOSED' | 'UNAVAILABLE' | 'UNKNOWN';

const EBADFD = 77; // asm-generic/errno.h; Node's table leaves it out

/** The name of a negative errno, as the addon returns it. */
export function codeOf(result: number): NativeErrorCode {
  if (result === -EBADFD) return 'EBADFD';
  for (const [name, errno] of Object.entries(constants.errno))
    if (errno === -result) return name as keyof typeof constants.errno;
  return 'UNKNOWN';
}

/** Throws where `result` is a negative errno; `advice` says what a person can do about the codes that are expected. */
export function check(result: number, syscall: string, what: string, advice: Advice = {}): number {
  if (result >= 0) return result;
  const code = codeOf(result);
  const hint = advice[code] ?? (code === 'UNKNOWN' ? `errno ${-result}` : undefined);
  throw new NativeError(code, syscall, `${what}: ${syscall} failed with ${code}${hint ? `: ${hint}` : ''}`);
}

export type Advice = { readonly [code in NativeErrorCode]?: string };

/** For an argument that no system call needs to see. */
export function invalid(syscall: string, message: string): NativeError {
  return new NativeError('EINVAL', syscall, message);
}
