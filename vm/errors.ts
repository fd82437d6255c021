/**
 * UNAVAILABLE: this machine lacks something, and the message says what to do; INVALID: wrong use; FAILED: what should
 * have worked did not; TIMEOUT: it took longer than it may.
 */
export type VmErrorCode = 'UNAVAILABLE' | 'INVALID' | 'FAILED' | 'TIMEOUT';

export class VmError extends Error {
  override readonly name = 'VmError';
  readonly code: VmErrorCode;

  constructor(code: VmErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
