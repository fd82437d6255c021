/** What Linux's drivers call things, where they differ; tests ask here, and the driver itself wherever it can be asked. */

export interface LinuxDriver {
  /** The kernel's module. */
  readonly module: string;
  /** The parts of `ethtool -t`, as their lines begin. */
  readonly selfTests: readonly string[];
  /** Why they take longer than all other tests together, where they do. */
  readonly selfTestsSlow?: string;
  /** The dump that `ethtool -e` is asked for, in bytes; the rule its content keeps: what is wrong with it, or null. */
  readonly eepromLength: number;
  eepromFault(bytes: Uint8Array): string | null;
  readonly macAt: number;
  /** What `ethtool -E` must be told for this card, of that PCI id ("8086:100e"). */
  eepromMagic(id: string): number;
  /** A place of twelve bytes that nobody reads; it does not begin where a word does. */
  readonly eepromSpare: number;
  /** Makes the rule hold again, where the driver leaves that to who writes; absent where it does so itself. */
  eepromMend?(bytes: Uint8Array): void;
  /** Names of `ethtool -S` that add up to a count. */
  readonly counters: Readonly<Record<Counter, readonly string[]>>;
  /** Of the same, those that must not count. */
  readonly errorCounters: readonly string[];
  readonly pauseCounter: string;
  /** Seconds until what the card counted shows, at most. */
  readonly countersLag: number;
  /** Ring sizes to set, receive and transmit, and the usual ones. */
  readonly rings: readonly [number, number];
  readonly usualRings: readonly [number, number];
  /** What `ethtool -d` must say. */
  readonly registers: readonly RegExp[];
}

export type Counter =
  | 'rx packets'
  | 'tx packets'
  | 'rx bytes'
  | 'tx bytes'
  | 'rx broadcasts'
  | 'tx broadcasts'
  | 'rx multicasts'
  | 'tx multicasts';
