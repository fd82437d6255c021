/**
 * Families from outside the repository: `fauxnic drive ./my-card.js`. The module's default export is a family, or one model.
 *
 * They are loaded before any command is, so that the catalogue's lists have them.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { lineOf, UsageError } from '../errors.ts';
import { type Family, functionOf, type Model } from './family.ts';
import { FAMILIES } from './index.ts';

/** What a module gives of a model; the rest is filled in. */
export type PluginModel = Pick<Model, 'name' | 'chip' | 'id' | 'registers' | 'configuration'> &
  (Pick<Model, 'make'> | Required<Pick<Model, 'board'>>) &
  Partial<Model>;
export type PluginFamily = Omit<Family, 'models' | 'path'> & { readonly models: readonly PluginModel[] };

/** Behind it may be the number of a board's function. */
const MODULE = /^(?:sim:)?(\.{0,2}\/.*\.m?[jt]s)(?:\/[0-7])?$/;
/** Options whose value may be a card. */
const CARD_OPTIONS = ['--nic', '--model'];
const MODEL_MEMBERS: Readonly<Record<string, string>> = {
  name: 'string',
  chip: 'string',
  id: 'string',
  registers: 'object',
  configuration: 'object',
};
const DRIVER_MEMBERS: Readonly<Record<string, string>> = {
  cards: 'object',
  rings: 'object',
  supports: 'function',
  open: 'function',
  tools: 'function',
  examples: 'object',
};

/** The modules named on a command line, as a person typed them: up to "--", behind which a guest's command may follow. */
export function pluginsIn(words: readonly string[]): string[] {
  const end = words.indexOf('--');
  const own = end < 0 ? words : words.slice(0, end);
  const paths = own.flatMap((word, index) => {
    const before = own[index - 1] ?? '';
    const [, path] = MODULE.exec(word) ?? [];
    return path === undefined || (before.startsWith('--') && !CARD_OPTIONS.includes(before)) ? [] : [path];
  });
  return [...new Set(paths)];
}

/** @throws UsageError where the module fails, exports no family, or one whose names are taken. */
export async function loadPlugin(path: string): Promise<void> {
  const wrong = (why: string) => new UsageError(`${path}: ${why}`);
  let exported: unknown;
  try {
    exported = ((await import(pathToFileURL(resolve(path)).href)) as { default?: unknown }).default;
  } catch (error) {
    throw wrong(`it cannot be loaded: ${lineOf(error)}`);
  }
  if (typeof exported !== 'object' || exported === null)
    throw wrong('its default export is neither a family nor a model (docs/new-chip.md)');
  FAMILIES.push(familyFrom(exported as Partial<PluginFamily & PluginModel>, path, wrong));
}

function familyFrom(
  exported: Partial<PluginFamily & PluginModel>,
  path: string,
  wrong: (why: string) => UsageError,
): Family {
  const single = typeof exported.make === 'function' || typeof exported.board === 'function';
  const given = single ? { name: exported.name, models: [exported as PluginModel] } : exported;
  const { name, models = [], driver } = given as Partial<PluginFamily>;
  if (typeof name !== 'string' || !/^[a-z][\w-]*$/.test(name))
    throw wrong('it has no name: lower case, as in "my-card"');
  if (!Array.isArray(models)) throw wrong('models is no list');
  if (models.length === 0 && driver === undefined) throw wrong('it has neither a model nor a driver');
  for (const [index, model] of models.entries()) checkModel(`models[${index}]`, model, wrong);
  if (driver !== undefined) checkMembers('driver', driver, DRIVER_MEMBERS, wrong);
  const taken = new Set(FAMILIES.flatMap((family) => [family.name, ...family.models.map((model) => model.name)]));
  for (const own of new Set([name, ...models.map((model) => model.name)]))
    if (taken.has(own)) throw wrong(`there is a ${own} already: give it another name`);
  return {
    ...(given as PluginFamily),
    name,
    path,
    models: models.map((model) => ({ ...defaults(path, model), ...model })),
  };
}

const defaults = (path: string, { make, board }: PluginModel) => ({
  ...{ about: `from ${path}`, interrupts: ['intx'] as const, nvram: 0 },
  make: make ?? functionOf(board!, 0),
});

function checkModel(what: string, model: PluginModel, wrong: (why: string) => UsageError): void {
  checkMembers(what, model, MODEL_MEMBERS, wrong);
  if (typeof model.make !== 'function' && typeof model.board !== 'function')
    throw wrong(`${what} lacks make, or board (function; docs/new-chip.md)`);
}

function checkMembers(
  what: string,
  value: object,
  members: Readonly<Record<string, string>>,
  wrong: (why: string) => UsageError,
): void {
  for (const [member, type] of Object.entries(members)) {
    const found = (value as Record<string, unknown> | null)?.[member];
    if (typeof found !== type || found === null) throw wrong(`${what} lacks ${member} (${type}; docs/new-chip.md)`);
  }
}
