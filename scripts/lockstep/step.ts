/** What two cards are told to do, what came of it, and what a family brings so that they can be told. */
import type { DeviceError, PciDevice } from '../../drivers/device.ts';
import type { RegisterMap } from '../../sim/registers.ts';

/** One of two cards that are driven alike. */
export interface Side {
  /** As on the command line. */
  readonly name: string;
  readonly device: PciDevice;
  /** Towards the card. */
  send(frame: Uint8Array): void;
  /** The oldest frame from the card. */
  take(): Uint8Array | null;
  pass(ms: number): Promise<void>;
  close(): void;
  /** Why it has come to its end: what is read from then on means nothing. */
  readonly failure: DeviceError | null;
}

/** The address in both cards' NVM. */
export const MAC = Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, 0x01);

/** How a frame is sent: by a plain descriptor, with a tag inserted, checksums filled in, or cut into segments. */
export type Offload = 'none' | 'tag' | 'checksums' | 'segments';

export type Step =
  | { readonly does: 'read'; readonly at: number }
  | { readonly does: 'write'; readonly at: number; readonly value: number }
  | { readonly does: 'nvm'; readonly word: number }
  | { readonly does: 'phy'; readonly register: number }
  | { readonly does: 'set up' }
  | { readonly does: 'transmit'; readonly frame: Uint8Array; readonly offload: Offload }
  | { readonly does: 'receive'; readonly frame: Uint8Array }
  | { readonly does: 'pass'; readonly ms: number };

export type Access = Extract<Step, { does: 'read' | 'write' }>;

/** What a card showed. A number is compared bit by bit. */
export interface Observation {
  /** "STATUS", "RAL[3]", "rx status": what known differences are listed by. */
  readonly what: string;
  readonly value: number | string;
  /** The register's, where it is one. */
  readonly at?: number;
}

/** Plays steps on one card, with rings of its own. */
export interface Player {
  play(step: Step): Promise<Observation[]>;
}

export interface KnownDifference {
  /** The register or observation, by name. */
  readonly what: RegExp;
  /** Which of its bits; all, if absent. */
  readonly mask?: number;
  /** What one of the two shows whenever they differ so. */
  readonly shows?: number;
  readonly why: string;
  /** Of the datasheet; "-" where it says nothing. */
  readonly section: string;
  readonly right: 'model' | 'qemu' | 'either';
}

export interface Lockstep {
  /** The document that known differences are judged by: "317453". */
  readonly datasheet: string;
  readonly known: readonly KnownDifference[];
  /** A fixed part that looks at everything once, then `steps` at random. */
  script(seed: number, steps: number): Step[];
  /** A recorded access as a step; null where it is left out. */
  recorded(access: Access): Step | null;
  player(side: Side, map: RegisterMap): Player;
}
