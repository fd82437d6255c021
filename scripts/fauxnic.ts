#!/usr/bin/env node
import '../drivers/tune.ts'; // first: before anything it is for is compiled
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addBind } from './commands/bind.ts';
import { addConformance } from './commands/conformance.ts';
import { addDemo } from './commands/demo.ts';
import { addDevices } from './commands/devices.ts';
import { addDiff } from './commands/diff.ts';
import { addDoctor } from './commands/doctor.ts';
import { addDrive } from './commands/drive.ts';
import { addNvram } from './commands/nvram.ts';
import { addRegs } from './commands/regs.ts';
import { addServe } from './commands/serve.ts';
import { addShell } from './commands/shell.ts';
import { addVm } from './commands/vm.ts';
import { exitCodeOf, lineOf } from './errors.ts';
import { hangUp } from './stop-signals.ts';
import { outliveTerminal } from './terminal/gone.ts';
import { paint } from './terminal/style.ts';

const DEBUG = process.argv.includes('--debug');

function makeProgram(): Command {
  const program = new Command('fauxnic')
    .description('Write, test and break network-card drivers without the card.')
    .version(version())
    .option('--debug', 'show a stack trace when something fails')
    .showSuggestionAfterError()
    .enablePositionalOptions() // what follows a guest's command is the command's
    .configureOutput({ outputError: () => {} }) // said once, below
    .exitOverride();
  addDoctor(program);
  addDevices(program);
  addDemo(program);
  addDrive(program);
  addDiff(program);
  addServe(program);
  addVm(program);
  addConformance(program);
  addRegs(program);
  addNvram(program);
  addShell(program);
  addBind(program);
  for (const command of program.commands) {
    command.copyInheritedSettings(program);
    command.option('--debug', 'show a stack trace when something fails');
  }
  return program;
}

function version(): string {
  // From dist/scripts/ as well as from scripts/.
  for (const up of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {}
  }
  return 'unknown';
}

/** Help and version are no errors; what a person typed wrong ends with 2, a failure with 1. */
function fail(error: unknown): never {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) process.exit(0);
    if (error.code === 'commander.help') process.exit(2);
    say(error.message.replace(/^error: /, ''));
    process.exit(2);
  }
  say(DEBUG && error instanceof Error ? (error.stack ?? error.message) : lineOf(error));
  process.exit(exitCodeOf(error));
}

function say(text: string): void {
  process.stderr.write(`${paint('red', 'fauxnic:')} ${DEBUG ? text : text.replace(/\s*\n\s*/g, ' ')}\n`);
}

// A reader that has gone (head, less) is no failure. A terminal that has gone ends the command as SIGHUP does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  if (error.code === 'EIO') hangUp();
  else fail(error);
});
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EIO') hangUp();
});
process.on('uncaughtException', fail);
outliveTerminal();

await makeProgram().parseAsync().catch(fail);
