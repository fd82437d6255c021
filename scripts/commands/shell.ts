import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type REPLServer, Recoverable, start } from 'node:repl';
import type { Context } from 'node:vm';
import type { Command } from 'commander';
import { EXAMPLE } from '../catalogue.ts';
import { lineOf } from '../errors.ts';
import { openWorkbench } from '../rig/workbench.ts';
import { StopSignals } from '../stop-signals.ts';
import { paint } from '../terminal/style.ts';
import { evaluate, script, show } from '../toolkit/evaluate.ts';
import { ShellNames } from '../toolkit/shell-names.ts';

const AFTER = `
Registers, rings and descriptors go by name; Tab completes them; the rest is JavaScript.
  > CTRL                        the register, decoded
  > CTRL.SLU = 1                one field of it; CTRL = 0x41 writes the whole
  > dump('interrupts')          a block of registers
  > phy(1)                      the PHY, nvm() the NVM, link() the link
  > start()                     now the driver runs: rx[0..5] are descriptors
  > help                        all there is

The card is opened and not driven until start(). From a pipe each line is a line; the first that fails ends it, with 1.

Examples:
  fauxnic shell sim:${EXAMPLE.model}
  echo 'start(); rx[0..3]' | fauxnic shell qemu:${EXAMPLE.driven}`;

export function addShell(program: Command): void {
  program
    .command('shell')
    .summary('a prompt with registers, rings and descriptors by name')
    .description(
      'A prompt at which a card is looked at and changed: registers, rings, descriptors, PHY and NVM by name.',
    )
    .argument('<target>', 'the device: sim:MODEL, qemu:DEVICE, vfio-user:PATH or pci:ADDRESS (see fauxnic devices)')
    .addHelpText('after', AFTER)
    .action(shell);
}

async function shell(target: string): Promise<void> {
  const stop = new StopSignals();
  const bench = await openWorkbench(target, { progress: (line) => console.error(line) });
  const names = new ShellNames(bench);
  try {
    if (process.stdin.isTTY)
      await atTerminal(names, `${target}> `, `${bench.tools.chip}: help tells what there is`, stop.signal);
    else await fromPipe(names, stop.signal);
  } finally {
    await names.close().finally(() => bench.close());
    stop.close();
  }
  if (stop.received !== null) process.exitCode = stop.exitCode;
}

async function atTerminal(names: ShellNames, prompt: string, greeting: string, signal: AbortSignal): Promise<void> {
  process.stdout.write(`${greeting}\n`);
  const server: REPLServer = start({
    prompt,
    preview: false, // it would read registers while their names are typed
    ignoreUndefined: true,
    completer: (line: string) => names.complete(line),
    writer: (result) => {
      try {
        return show(result);
      } catch (error) {
        return paint('red', lineOf(error)); // a register is read only here
      }
    },
    eval: (code, context, _file, done) => {
      evaluate(code, context).then(
        (result) => done(null, result),
        (error: unknown) => {
          if (error instanceof Recoverable) return done(error, undefined);
          process.stdout.write(`${paint('red', lineOf(error))}\n`);
          return done(null, undefined);
        },
      );
    },
  });
  Object.defineProperties(server.context, names.names);
  server.on('reset', (context: Context) => Object.defineProperties(context, names.names));
  keepHistory(server);
  signal.addEventListener('abort', () => server.close(), { once: true });
  await new Promise<void>((resolve) => void server.once('exit', resolve));
}

async function fromPipe(names: ShellNames, signal: AbortSignal): Promise<void> {
  const lines = createInterface({ input: process.stdin });
  const end = () => lines.close();
  signal.addEventListener('abort', end, { once: true });
  try {
    for await (const text of script(lines, names.names, signal)) process.stdout.write(`${text}\n`);
  } finally {
    end();
    process.stdin.destroy();
  }
}

/** Where there is no place for it the prompt goes without. */
function keepHistory(server: REPLServer): void {
  const folder = join(process.env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'fauxnic');
  try {
    mkdirSync(folder, { recursive: true });
  } catch {
    return;
  }
  server.setupHistory(join(folder, 'shell-history'), () => {});
}
