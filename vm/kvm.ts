/**
 * Whether KVM works: proved by booting a guest once, as /dev/kvm can be there and answer, and the guest hang all the
 * same. The answer is remembered.
 */
import { accessSync, constants, readFileSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { cacheFolder, writeWhole } from './cache.ts';
import { runGuest } from './guest.ts';
import { buildInitramfs } from './initramfs.ts';
import type { Kernel } from './kernel.ts';
import type { Accelerator } from './machine.ts';
import { type Progress, step } from './progress.ts';
import type { Qemu } from './qemu.ts';

export interface AcceleratorChoice {
  readonly accelerator: Accelerator;
  /** For a person. */
  readonly why: string;
}

interface Answer extends AcceleratorChoice {
  /** What it holds for. */
  readonly machine: string;
}

const PROOF = 10_000; // milliseconds; a working one boots in two

export async function chooseAccelerator(qemu: Qemu, kernel: Kernel, progress?: Progress): Promise<AcceleratorChoice> {
  const known = knownAccelerator(qemu);
  if (known !== null) return known;
  const initramfs = await buildInitramfs({ kernel, modules: [], programs: [], progress });
  const answer = await step('finding out whether KVM works (10 s at most)', progress, async () => {
    const choice = await prove(qemu, kernel, initramfs);
    return { ...choice, machine: machineOf(qemu) };
  });
  writeWhole(memory(), JSON.stringify(answer));
  return answer;
}

/** What is known without booting anything: there is no KVM, or it has been tried; else null. */
export function knownAccelerator(qemu: Qemu): AcceleratorChoice | null {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { accelerator: 'tcg', why: `/dev/kvm: ${code === 'ENOENT' ? 'not there' : code}` };
  }
  const known = remembered(memory());
  return known?.machine === machineOf(qemu) ? known : null;
}

/** Has the next one who asks try it again. */
export function forgetAccelerator(): void {
  rmSync(memory(), { force: true });
}

const memory = () => cacheFolder('kvm.json');
const machineOf = (qemu: Qemu) => `${release()} ${bootId()} ${qemu.version}`;

async function prove(qemu: Qemu, kernel: Kernel, initramfs: string): Promise<AcceleratorChoice> {
  try {
    await runGuest({ qemu, kernel, initramfs, accelerator: 'kvm', command: ['true'], timeout: PROOF });
    return { accelerator: 'kvm', why: 'a guest booted with it' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { accelerator: 'tcg', why: `/dev/kvm is there and does not work (${why})` };
  }
}

/** Another boot of the same machine may be another machine, or have another hypervisor. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

function remembered(path: string): Answer | null {
  try {
    const answer = JSON.parse(readFileSync(path, 'utf8')) as Answer;
    return answer.accelerator === 'kvm' || answer.accelerator === 'tcg' ? answer : null;
  } catch {
    return null;
  }
}
