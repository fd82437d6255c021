import type { Command } from 'commander';
import { hex, type NamedRow, type NotModelled, type RegisterMap } from '../../sim/registers.ts';
import { BACKENDS, DRIVEN, familyOf, findModel, MODELS } from '../catalogue.ts';
import type { Model } from '../families/family.ts';
import { OPTIONS } from '../options.ts';
import { bold, dim, paint } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';

export function addDevices(program: Command): void {
  program
    .command('devices')
    .summary('models, drivers and backends, and which work with which')
    .description('Lists models, drivers and backends, and the targets they make together.')
    .argument('[module...]', 'modules that bring families of their own: ./my-card.js')
    .option('--registers <model>', "a model's registers, and what of them is not modelled")
    .addOption(OPTIONS.json())
    .action((_modules: string[], { registers, json }: { registers?: string; json?: true }) => {
      if (registers !== undefined) showRegisters(findModel(registers), json);
      else if (json) console.log(JSON.stringify(everything()));
      else showEverything();
    });
}

function everything() {
  const drivers = MODELS.map(familyOf).map(({ name, driver }) => (driver === undefined ? [] : [name]));
  return {
    models: MODELS.map(({ name, chip, about, id }, index) => ({ name, chip, about, id, drivers: drivers[index] })),
    drivers: DRIVEN.map(({ name, driver: { cards } }) => ({ name, cards })),
    backends: BACKENDS.map(({ name, target, about }) => ({ name, target, about })),
    targets: MODELS.flatMap(({ name }, index) =>
      drivers[index]!.map((driver) => ({ target: `sim:${name}`, model: name, backend: 'sim', driver })),
    ),
  };
}

function showEverything(): void {
  const { models, drivers, backends, targets } = everything();
  const section = (title: string, rows: readonly (readonly string[])[]) => `${bold(title)}\n${table(rows)}`;
  const sections = [
    section('Models', [
      ['NAME', 'CHIP', 'PCI ID', 'WHAT IT IS'],
      ...models.map(({ name, chip, id, about }) => [name, chip, id, about]),
    ]),
    section('Drivers', [['NAME', 'CARDS'], ...drivers.map(({ name, cards }) => [name, cards.join(', ')])]),
    section('Backends', [
      ['NAME', 'TARGET', 'WHAT IT IS'],
      ...backends.map(({ name, target, about }) => [name, target, about]),
    ]),
    section('Targets', [
      ['TARGET', 'DRIVER', 'RUN IT'],
      ...targets.map(({ target, driver }) => [target, driver, `fauxnic drive ${target} --generate --seconds 3`]),
    ]),
    section("For guests, and their systems' drivers", [
      ['CARD', 'DRIVER', 'RUN IT'],
      ...MODELS.map((model) => [`sim:${model.name}`, linuxText(model), `fauxnic vm --nic sim:${model.name}`]),
      ...MODELS.map((model) => [model.name, linuxText(model), `fauxnic serve ${model.name} --socket PATH`]),
    ]),
  ];
  console.log(sections.join('\n\n'));
}

const linuxText = ({ linux }: Model) => (linux === undefined ? '' : `Linux ${linux.module}`);

/** "0x05400 +8 × 16" where a register is an array. */
function placeOf({ runs }: NamedRow): string {
  return runs.map(({ at, count, stride }) => (count === 1 ? hex(at) : `${hex(at)} +${stride} × ${count}`)).join(', ');
}

const byPlace = ({ rows }: RegisterMap) => [...rows].sort((a, b) => a.at - b.at);

function showRegisters({ registers, configuration }: Model, json?: true): void {
  if (json) {
    const { chip, size } = registers;
    const plain = (map: RegisterMap) => byPlace(map).map(({ offsets: _, ...row }) => row);
    const config = { size: configuration.size, registers: plain(configuration) };
    console.log(JSON.stringify({ chip, size, registers: plain(registers), configuration: config }));
    return;
  }
  showMap(registers, 'rows of registers in');
  console.log();
  showMap(configuration, 'rows of configuration space in');
}

function showMap(map: RegisterMap, what: string): void {
  const rows = byPlace(map);
  const lines = rows.map((row) => [
    placeOf(row),
    row.name,
    row.access,
    row.section,
    row.title,
    row.modelled ? '*' : '',
  ]);
  const lacking = rows.filter(({ modelled }) => modelled !== undefined);
  const size = map.size < 1024 ? `${map.size} bytes` : `${map.size / 1024} KiB`;
  console.log(bold(`${map.chip}: ${rows.length} ${what} ${size}`));
  console.log(table([['OFFSET', 'NAME', 'ACCESS', 'SECTION', 'TITLE', ''], ...lines]));
  if (lacking.length === 0) return;
  console.log(`\n${paint('yellow', '*')} ${bold('not modelled')} ${dim('(a trace says so when one is touched)')}`);
  console.log(table(groups(lacking), { head: false }));
}

/** Registers that lack the same are told of together. */
function groups(rows: readonly NamedRow[]): string[][] {
  const reasons = new Map<string, { modelled: NotModelled; names: string[] }>();
  for (const { name, modelled } of rows) {
    if (modelled === undefined) continue;
    const group = reasons.get(modelled.why) ?? { modelled, names: [] };
    reasons.set(modelled.why, { ...group, names: [...group.names, name] });
  }
  return [...reasons.values()].map(({ modelled: { when, why }, names }) => [names.join(' '), when, why]);
}
