import { type Command, Option } from 'commander';
import { hex, type RegisterMap } from '../../sim/registers.ts';
import { EXAMPLE } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import { OPTIONS, word32 } from '../options.ts';
import { openWorkbench } from '../rig/workbench.ts';
import { choose, chooseAll } from '../toolkit/choose.ts';
import { atLength, fieldsOf, listing, type Reading, read, type Written, write } from '../toolkit/registers.ts';

interface RegsOptions {
  readonly write?: number;
  readonly mask?: number;
  readonly all?: true;
  readonly json?: true;
}

const AFTER = `
A register goes by its name in the datasheet (RDT, MTA[5], MTA[0..7], in any case), by its offset (0x2818), or with others
of its block (receive; an unknown name is told the blocks) or its kind ('RD*'). Offsets are behind BAR 0; those of configuration
space go by name (PCI_COMMAND, MSI_CONTROL) and are the block pci-configuration.

A register that reading clears (an interrupt cause, a counter) is read where it is named. In a list of many it is only
marked, unless --all asks for it; so are the ends of queues, and memories of more than 256 words.

The card is opened, not driven, and not reset: of pci:ADDRESS and vfio-user:PATH these are the registers as somebody left
them. sim:MODEL is a fresh card, as after power-on; what is written to it ends with the command (see fauxnic shell).

--mask says which bits of a write count: the others are written as they are read; as 0 where it is 1 that acts (W1C, W1S).

Examples:
  fauxnic regs sim:${EXAMPLE.model}
  fauxnic regs qemu:${EXAMPLE.driven} interrupts
  fauxnic regs pci:0000:03:00.0 STATUS CTRL
  fauxnic regs vfio-user:/tmp/nic0 statistics --all
  fauxnic regs sim:tg3 host-coalescing 'NVRAM_*'
  fauxnic regs pci:0000:03:00.0 pci-configuration
  fauxnic regs pci:0000:03:00.0 LEDCTL --write 0x0e --mask 0x0f`;

export function addRegs(program: Command): void {
  program
    .command('regs')
    .summary("a card's registers, by name and field")
    .description("Shows a card's registers, decoded by field, or writes one.")
    .argument('<target>', 'the device: sim:MODEL, qemu:DEVICE, vfio-user:PATH or pci:ADDRESS (see fauxnic devices)')
    .argument('[what...]', 'registers or blocks; everything, if absent')
    .addOption(new Option('--write <value>', 'write the register, and show it before and after').argParser(word32))
    .addOption(new Option('--mask <bits>', 'with --write: only these bits').argParser(word32))
    .option('--all', 'read also what reading clears, and memories')
    .addOption(OPTIONS.json())
    .addHelpText('after', AFTER)
    .action(regs);
}

async function regs(target: string, what: string[], options: RegsOptions): Promise<void> {
  const { write: value, mask, all = false, json } = options;
  if (mask !== undefined && value === undefined) throw new UsageError('--mask is for a write: give --write, too');
  const bench = await openWorkbench(target, { progress: (line) => console.error(line) });
  try {
    const { chip, registers, configuration } = bench.tools;
    const maps = [registers, configuration] as const;
    const chosen = what.length === 0 ? chooseAll(maps) : what.flatMap((text) => choose(maps, text));
    if (value !== undefined) {
      const written = write(bench.device, chosen, value, mask);
      console.log(json ? JSON.stringify({ target, chip, ...written }) : change(chosen[0]!.map, written));
      return;
    }
    const readings = read(bench.device, chosen, all);
    console.log(json ? JSON.stringify(asJson(target, chip, readings)) : asText(readings));
  } finally {
    bench.close();
  }
}

function asJson(target: string, chip: string, readings: readonly Reading[]) {
  return {
    target,
    chip,
    registers: readings.map(({ map, row, name, at, value, unread }) => ({
      name,
      ...(map.space && { space: map.space }),
      at,
      block: row.block,
      access: row.access,
      value,
      ...(value === null ? { unread } : { fields: fieldsOf(row, value) }),
    })),
  };
}

const FEW = 4;

function asText(readings: readonly Reading[]): string {
  if (readings.length > FEW) return listing(readings);
  return readings.map((reading) => atLength(reading)).join('\n');
}

function change(map: RegisterMap, { name, at, before, written, after }: Written): string {
  const line = (when: string, value: number | null) =>
    `  ${when.padEnd(8)}${value === null ? 'not read: reading changes it, or cannot be done' : `${hex(value, 8)} ${map.decode(at, value)}`}`.trimEnd();
  return [name, line('before', before), line('written', written), line('after', after)].join('\n');
}
