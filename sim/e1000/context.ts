/** What the blocks and queues of a chip of the family are handed: none of them knows which chip it is part of. */
import type { BusMaster } from '../memory.ts';
import type { Host } from '../pci/function.ts';
import { type AnyRegister, offsetOf, type RegisterFile } from '../registers.ts';
import type { FamilyRegisters } from './registers.ts';

export interface BlockContext {
  /** The chip's, in traces. */
  readonly name: string;
  readonly host: Host;
  /** Of the function that the chip is. */
  readonly dma: BusMaster;
  readonly registers: RegisterFile;
  readonly r: FamilyRegisters;
}

/** A queue's own registers are named by their words in the register file. */
export interface QueueContext {
  readonly index: number;
  /** In traces, behind the chip's: "tx", "tx1". */
  readonly name: string;
  readonly chip: string;
  /** Of the function that owns the queue. */
  readonly dma: BusMaster;
  readonly registers: RegisterFile;
  /** The ring's base (its high half follows the low one) and bytes. */
  readonly base: number;
  readonly length: number;
  readonly head: number;
  readonly tail: number;
  /** TXDCTL or RXDCTL. */
  readonly control: number;
  /** The bits of ICR for a descriptor that was written back. */
  readonly cause: number;
}

/** One for each of a direction's queues: as many as there are causes. */
export function queueContexts(
  { name: chip, dma, registers, r }: BlockContext,
  direction: 'tx' | 'rx',
  causes: readonly number[],
): QueueContext[] {
  const [base, length, head, tail, control] =
    direction === 'tx' ? [r.TDBAL, r.TDLEN, r.TDH, r.TDT, r.TXDCTL] : [r.RDBAL, r.RDLEN, r.RDH, r.RDT, r.RXDCTL];
  return causes.map((cause, index) => {
    const wordOf = (register: AnyRegister) => offsetOf(register, index) / 4;
    return {
      index,
      name: index === 0 ? direction : `${direction}${index}`,
      chip,
      dma,
      registers,
      base: wordOf(base!),
      length: wordOf(length!),
      head: wordOf(head!),
      tail: wordOf(tail!),
      control: wordOf(control!),
      cause,
    };
  });
}
