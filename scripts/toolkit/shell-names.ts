/** What a shell's lines may name: registers with their fields, rings with their descriptors, and a few functions. */
import { inspect } from 'node:util';
import type { RingPlace } from '../../drivers/chip-tools.ts';
import type { DmaAllocator, DmaMemory, PciDevice } from '../../drivers/device.ts';
import { field, hex, maskOf, offsetOf, place } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import { inHex } from '../families/descriptor-text.ts';
import type { Driver } from '../families/family.ts';
import { linkText } from '../rig/report.ts';
import type { Workbench } from '../rig/workbench.ts';
import { table } from '../terminal/table.ts';
import { alike, blocksOf, type Chosen, choose, chooseAll, type Maps, rowsOf, slug } from './choose.ts';
import { findEntry, hexDump, valueText } from './nvram.ts';
import { atLength, listing, read, write } from './registers.ts';

/** Shown as it is. */
class Text {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  [inspect.custom](): string {
    return this.text;
  }
}

type Names = Record<string, PropertyDescriptor>;

type Help = readonly (readonly [what: string, does: string])[];

/** In names that this card has. */
function helpFor({ family, tools }: Workbench): Help {
  const { field, element, block } = family.driver.examples;
  const [register = ''] = field.split('.');
  const rings = tools.rings().map(({ name }) => name);
  return [
    [register, 'a register, decoded: it is read when it is shown'],
    [field, 'one field of it'],
    [`${field} = 1`, 'writes the field, the others as they are'],
    [`${register} = 0x41`, `writes the register; ${register} |= 0x40 too`],
    [element, 'one of an array'],
    [rings[0]!, `a ring; there are ${rings.join(', ')}`],
    [`${rings[0]}[5]`, `a descriptor; ${rings[0]}[0..5] several`],
    [
      'read(what)',
      `a register by name or offset: read('${element}'), read(${hex(offsetOf(tools.registers.r[register]!), 1)})`,
    ],
    ['write(what, value, mask)', 'writes it, or the masked bits of it; shows before and after'],
    ['dump(block)', `a block's registers, or all: dump('${block}'); with true behind also those that reading changes`],
    ...HELP,
  ];
}

const HELP: Help = [
  ['phy(n), phy(n, value)', "a register of the PHY's"],
  ['nvm(), nvm(what)', "the NVM in hex, or one thing of it: nvm('mac') (fauxnic nvram writes it)"],
  ['link()', 'the link, as the card has it'],
  ['start(), stop()', 'runs the driver on the card, which then resets it and sets up its rings'],
  ['stats()', "the running driver's counts"],
];

/** One card and what can be said of it in a line; close() leaves it quiet. */
export class ShellNames {
  /** As properties of a global object. Assigning to a register writes it. */
  readonly names: PropertyDescriptorMap;
  readonly #bench: Workbench;
  readonly #maps: Maps;
  readonly #dma: RecordedDma;
  #driver: Driver | null = null;

  constructor(bench: Workbench) {
    this.#bench = bench;
    this.#maps = [bench.tools.registers, bench.tools.configuration];
    this.#dma = new RecordedDma(bench.device.dma);
    this.names = { ...this.#registers(), ...this.#rings(), ...this.#functions() };
  }

  /** What a line may go on with, and the part of it that is there: names, a register's fields, blocks in quotes. */
  complete(line: string): [string[], string] {
    const [, quote, owner, part = ''] = /(?:(['"`])|(\w+)(?:\[\d+\])?\.)?([\w-]*)$/.exec(line) ?? [];
    const rows = rowsOf(this.#maps);
    const names = () => {
      if (quote !== undefined) return [...blocksOf(this.#maps).map(slug), ...rows.map(({ row }) => row.name)];
      if (owner === undefined) return Object.keys(this.names);
      return Object.keys(rows.find(({ row }) => row.name === owner)?.row.fields ?? {});
    };
    return [names().filter((name) => name.startsWith(part)), part];
  }

  async close(): Promise<void> {
    await this.#stop();
  }

  #registers(): Names {
    return Object.fromEntries(
      rowsOf(this.#maps).map(({ map, row }) => {
        const all = { map, row, first: 0, count: row.count, named: true };
        const view = row.count === 1 ? this.#register(all) : this.#array(all);
        const set = (value: unknown) => this.#assign(all, value);
        return [row.name, { enumerable: true, get: () => view, set }];
      }),
    );
  }

  /** A register, or an array's element: its fields are properties. */
  #register(chosen: Chosen): object {
    const { row } = chosen;
    const reading = () => read(this.#bench.device, [chosen], true)[0]!;
    const value = () => {
      const found = reading().value;
      if (found === null) throw new UsageError(`${row.name} is only written: it has no value to read`);
      return found;
    };
    const view = {
      [inspect.custom]: () => atLength(reading()),
      [Symbol.toPrimitive]: value,
    };
    Object.defineProperty(view, 'value', { get: value, set: (to: unknown) => this.#assign(chosen, to) });
    for (const [name, bits] of Object.entries(row.fields ?? {})) {
      const mask = maskOf(bits);
      Object.defineProperty(view, name, {
        enumerable: true,
        get: () => field(value(), mask),
        set: (to: unknown) => {
          const most = field(mask, mask);
          const part = Number(to);
          if (!Number.isInteger(part) || part < 0 || part > most)
            throw new UsageError(`${row.name}.${name} takes 0 to ${most}`);
          write(this.#bench.device, [chosen], place(mask, part), mask);
        },
      });
    }
    const check = (key: string | symbol) => {
      if (key in view || typeof key === 'symbol') return;
      const near = alike(key, Object.keys(row.fields ?? {}));
      throw new UsageError(
        `${row.name} has no field ${key}${near.length > 0 ? `: did you mean ${near.join(', ')}?` : ''}`,
      );
    };
    return new Proxy(view, {
      get: (_, key) => {
        if (typeof key === 'string' && /^[A-Z_]/.test(key)) check(key); // what else is asked for is JavaScript's own
        return Reflect.get(view, key) as unknown;
      },
      set: (_, key, to) => {
        check(key);
        return Reflect.set(view, key, to);
      },
    });
  }

  #array(whole: Chosen): object {
    const { count } = whole;
    const { name } = whole.row;
    const element = (key: string) => {
      if (Number(key) < count) return Number(key);
      throw new UsageError(`${name} has ${count} registers: give ${name}[0] to ${name}[${count - 1}]`);
    };
    const all = () => listing(read(this.#bench.device, [whole], true));
    const one = (key: string) => ({ ...whole, first: element(key), count: 1 });
    const target = { length: count, [inspect.custom]: all };
    return new Proxy(target, {
      get: (_, key) => (isIndex(key) ? this.#register(one(key)) : Reflect.get(target, key)),
      set: (_, key, value) => {
        if (!isIndex(key)) throw new UsageError(`${name}[${String(key)}]: give a number`);
        this.#assign(one(key), value);
        return true;
      },
    });
  }

  #assign(chosen: Chosen, value: unknown): void {
    write(this.#bench.device, [chosen], wordOf(value));
  }

  #rings(): Names {
    return Object.fromEntries(
      this.#bench.tools.rings().map(({ name }) => [name, { enumerable: true, value: this.#ring(name) }]),
    );
  }

  #ring(name: string): object {
    const ring = () => this.#bench.tools.rings().find((ring) => ring.name === name)!;
    const slice = (from = 0, to = from + 1) => new Text(this.#descriptors(ring(), from, to));
    const show = () => {
      const { iova, descriptors, head, tail } = ring();
      if (descriptors === 0) return `${name}: not set up`;
      return `${name}: ${descriptors} descriptors at ${hex(iova, 8)}, head ${head}, tail ${tail}`;
    };
    const target = { slice, [inspect.custom]: show };
    return new Proxy(target, {
      get: (_, key) => (isIndex(key) ? slice(Number(key)) : Reflect.get(target, key)),
    });
  }

  #descriptors({ name, iova, bytes, descriptors }: RingPlace, from: number, to: number): string {
    if (!(from >= 0 && from < to && to <= descriptors))
      throw new UsageError(
        descriptors === 0
          ? `${name} is not set up${this.#driver === null ? ': start() does' : ''}`
          : `${name}[0] to ${name}[${descriptors - 1}] are there`,
      );
    const words = this.#dma.find(iova, descriptors * bytes);
    const count = bytes / 4;
    const { describe = inHex } = this.#bench.family;
    return Array.from({ length: to - from }, (_, i) => {
      const index = from + i;
      return `${name}[${index}] ${describe(name, words, index * count, count)}`;
    }).join('\n');
  }

  #functions(): Names {
    const { tools } = this.#bench;
    const functions = {
      read: (what: unknown) => new Text(this.#list(choose(this.#maps, nameOf(what)), true)),
      write: (what: unknown, value: unknown, mask: unknown = 0xffffffff) => {
        const chosen = choose(this.#maps, nameOf(what));
        const { name, before, written, after } = write(this.#bench.device, chosen, wordOf(value), wordOf(mask));
        const shown = (value: number | null) => (value === null ? 'unread' : hex(value, 8));
        return new Text(`${name} ${shown(before)}, written ${hex(written, 8)}: ${shown(after)}`);
      },
      dump: (what?: unknown, all: unknown = false) => {
        const chosen = what === undefined ? chooseAll(this.#maps) : choose(this.#maps, nameOf(what));
        return new Text(listing(read(this.#bench.device, chosen, all === true)));
      },
      phy: async (register: unknown, value?: unknown) => {
        const number = within(register, 31, 'a register of the PHY');
        if (value === undefined) return tools.readPhy(number);
        await tools.writePhy(number, within(value, 0xffff, 'a value of 16 bits'));
        return undefined;
      },
      nvm: async (what?: unknown) => {
        const image = await tools.nvram.read();
        if (what === undefined) return new Text(hexDump(tools.nvram, image));
        const entry = findEntry(tools.nvram, image, nameOf(what));
        return new Text(entry.text ?? valueText(tools.nvram, image, entry));
      },
      link: async () => new Text(linkText(this.#driver?.link ?? (await tools.link()))),
      start: () => this.#start(),
      stop: () => this.#stop(),
      stats: () => this.#running().statistics(),
    };
    const help = new Text(table(helpFor(this.#bench), { head: false }));
    const all = Object.entries({ ...functions, help }).map(([name, value]) => [name, { enumerable: true, value }]);
    return Object.fromEntries(all) as Names;
  }

  #list(chosen: readonly Chosen[], all: boolean): string {
    const readings = read(this.#bench.device, chosen, all);
    return readings.length === 1 ? atLength(readings[0]!) : listing(readings);
  }

  async #start(): Promise<Text> {
    if (this.#driver !== null) throw new UsageError('the driver runs already: stop() ends it');
    const { family, device } = this.#bench;
    const driver = await family.driver.open(recording(device, this.#dma), {});
    this.#driver = driver;
    try {
      await driver.start();
    } catch (error) {
      await this.#stop();
      throw error;
    }
    return new Text(`${driver.model} is started; link() tells when it has a link`);
  }

  async #stop(): Promise<void> {
    const driver = this.#driver;
    this.#driver = null;
    await driver?.close();
  }

  #running(): Driver {
    if (this.#driver === null) throw new UsageError('the driver does not run: start() it');
    return this.#driver;
  }
}

const isIndex = (key: string | symbol): key is string => typeof key === 'string' && /^\d+$/.test(key);

function nameOf(what: unknown): string {
  if (typeof what === 'string' || typeof what === 'number') return String(what);
  throw new UsageError("a name or a number, please, as in read('CTRL')");
}

/** 32 bits, which an operator of JavaScript's may have made negative. */
function wordOf(value: unknown): number {
  const word = typeof value === 'object' || typeof value === 'number' ? Number(value) : NaN;
  if (value !== null && Number.isInteger(word) && word >= -0x80000000 && word <= 0xffffffff) return word >>> 0;
  throw new UsageError('a register takes a whole number of 32 bits');
}

function within(value: unknown, most: number, what: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw new UsageError(`${what}: give 0 to ${most}`);
}

/** Remembers what a driver allocated, so that what the card's registers point at is found again. */
class RecordedDma implements DmaAllocator {
  readonly #dma: DmaAllocator;
  readonly #live = new Set<DmaMemory>();

  constructor(dma: DmaAllocator) {
    this.#dma = dma;
  }

  get used(): number {
    return this.#dma.used;
  }

  alloc(bytes: number, align: number): DmaMemory {
    const memory = this.#dma.alloc(bytes, align);
    const { iova, bytes: all, words } = memory;
    const recorded = {
      iova,
      bytes: all,
      words,
      free: () => {
        this.#live.delete(recorded);
        memory.free();
      },
    };
    this.#live.add(recorded);
    return recorded;
  }

  /** @throws UsageError where it is not this process's. */
  find(iova: number, bytes: number): Uint32Array {
    for (const { iova: start, bytes: memory, words } of this.#live) {
      if (iova >= start && iova + bytes <= start + memory.length && (iova - start) % 4 === 0)
        return words.subarray((iova - start) / 4);
    }
    throw new UsageError(`what is at ${hex(iova, 8)} is not this process's to see: start() sets rings up`);
  }
}

function recording(device: PciDevice, dma: DmaAllocator): PciDevice {
  const { name, id, config, interrupts, time } = device;
  return {
    name,
    id,
    config,
    dma,
    interrupts,
    time,
    bar: (index) => device.bar(index),
    enable: (on) => device.enable(on),
    reset: () => device.reset(),
    close: () => device.close(),
  };
}
