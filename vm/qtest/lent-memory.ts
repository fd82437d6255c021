/**
 * A vfio-user client's memory, for a device of QEMU's. Each file that the client passes is plugged into that QEMU as a DIMM,
 * as a whole, for as long as something of it is mapped; what is mapped of it, and where, is the IOMMU's affair.
 */
import type { Range } from '../../sim/memory.ts';
import { EACCES, EINVAL, ENOMEM, ENOSPC, ENOTSUP } from '../vfio-user/codec.ts';
import type { Backing, MapRequest, Source } from '../vfio-user/guest-memory.ts';
import { type Iommu, PAGE_BYTES } from './iommu.ts';
import { DIMMS, DIMMS_END, DIMMS_START } from './machine.ts';
import type { Monitor } from './monitor.ts';
import { BELL_IOVA, type Slot } from './slot.ts';

/** Writes there are messages to an interrupt controller (VT-d 3.14), whatever the tables say. */
const MESSAGES = { start: 0xfee0_0000, end: 0xfef0_0000 };
/** DIMMs begin at its multiples, so that large pages fit wherever the client's addresses allow. */
const DIMM_ALIGN = 2 ** 30;

// ACPI memory hot-plug (QEMU, docs/specs/acpi_mem_hotplug.rst): a slot is selected, and what is in it ejected.
const HOTPLUG_SELECT = 0x0a00;
const HOTPLUG_CONTROL = 0x0a14;
const HOTPLUG_EJECT = 1 << 3;

interface Dimm {
  /** The file: the same one comes again and again, in other descriptors. */
  readonly file: string;
  readonly slot: number;
  readonly start: number;
  readonly end: number;
  /** Ranges of it that are mapped. */
  uses: number;
}

export class LentMemory implements Backing {
  readonly #monitor: Monitor;
  readonly #slot: Slot;
  readonly #iommu: Iommu;
  readonly #note: (text: string) => void;
  readonly #dimms: Dimm[] = []; // in order of address
  /** By where a range begins. */
  readonly #lent = new Map<number, Dimm>();
  #told = false;

  /** @param note is told what a client cannot have, once. */
  constructor(monitor: Monitor, slot: Slot, iommu: Iommu, note: (text: string) => void) {
    this.#monitor = monitor;
    this.#slot = slot;
    this.#iommu = iommu;
    this.#note = note;
  }

  map({ start, length, writable, source }: MapRequest): number {
    const end = start + length;
    if (source === null) return this.#refuseDistant(start, length);
    if (end > BELL_IOVA || (start < MESSAGES.end && end > MESSAGES.start)) return EINVAL;
    const dimm = this.#plug(source);
    if (typeof dimm === 'number') return dimm;
    if (!this.#iommu.map({ start, length, target: dimm.start + source.offset, writable })) {
      this.#unplugUnused();
      return ENOSPC;
    }
    dimm.uses++;
    this.#lent.set(start, dimm);
    return 0;
  }

  #refuseDistant(start: number, length: number): number {
    if (!this.#told)
      this.#note(
        `0x${start.toString(16)}, ${length} bytes: came without a descriptor, so QEMU's device cannot reach it (said once)`,
      );
    this.#told = true;
    return ENOTSUP;
  }

  /** The file's DIMM, or an errno. */
  #plug({ fd, file: { id, bytes, writable } }: Source): Dimm | number {
    const size = bytes - (bytes % PAGE_BYTES);
    // QEMU opens the file anew, and must not get more than the client was given.
    if (!writable) return EACCES;
    const file = `${id}:${size}`;
    return this.#dimms.find((dimm) => dimm.file === file) ?? this.#plugNew(fd, file, size);
  }

  #plugNew(fd: number, file: string, size: number): Dimm | number {
    const taken = new Set(this.#dimms.map(({ slot }) => slot));
    const slot = Array.from({ length: DIMMS }, (_, slot) => slot).find((slot) => !taken.has(slot));
    const place = this.#placeFor(size);
    if (slot === undefined || place === null) return ENOSPC;
    const memory = memoryOf(slot);
    const added = this.#monitor.attempt('object-add', {
      ...{ 'qom-type': 'memory-backend-file', id: memory, size, share: true },
      'mem-path': `/proc/${process.pid}/fd/${fd}`,
    });
    if (!added) return EINVAL;
    const { start } = place;
    const dimm = { driver: 'pc-dimm', id: `dimm${slot}`, memdev: memory, slot, addr: start };
    if (!this.#monitor.attempt('device_add', dimm)) {
      this.#monitor.attempt('object-del', { id: memory });
      return ENOMEM;
    }
    const plugged = { file, slot, start, end: start + size, uses: 0 };
    this.#dimms.splice(place.at, 0, plugged);
    return plugged;
  }

  /** First fit. */
  #placeFor(size: number): { at: number; start: number } | null {
    let start = DIMMS_START;
    for (const [at, dimm] of this.#dimms.entries()) {
      if (start + size <= dimm.start) return { at, start };
      start = Math.ceil(dimm.end / DIMM_ALIGN) * DIMM_ALIGN;
    }
    return start + size <= DIMMS_END ? { at: this.#dimms.length, start } : null;
  }

  unmap(ranges: readonly Range[]): void {
    this.#iommu.unmap(ranges);
    for (const { start } of ranges) {
      this.#lent.get(start)!.uses--;
      this.#lent.delete(start);
    }
    this.#unplugUnused();
  }

  /** We are the guest whose leave QEMU wants for it. */
  #unplugUnused(): void {
    for (const dimm of this.#dimms.filter(({ uses }) => uses === 0)) {
      this.#slot.out(4, HOTPLUG_SELECT, dimm.slot);
      this.#slot.out(1, HOTPLUG_CONTROL, HOTPLUG_EJECT);
      // One that stays is taken again when its file comes again.
      if (this.#monitor.attempt('object-del', { id: memoryOf(dimm.slot) }))
        this.#dimms.splice(this.#dimms.indexOf(dimm), 1);
    }
  }
}

const memoryOf = (slot: number) => `lent${slot}`;
