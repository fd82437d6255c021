#!/usr/bin/env node
import '../drivers/tune.ts'; // first: before anything it is for is compiled
import { CommanderError } from 'commander';
import { asSaid, endingOf, makeProgram } from './program.ts';
import { hangUp } from './stop-signals.ts';
import { outliveTerminal } from './terminal/gone.ts';

const DEBUG = process.argv.includes('--debug');

function fail(error: unknown): never {
  const { exitCode, says } = endingOf(error);
  const stack = DEBUG && error instanceof Error && !(error instanceof CommanderError) ? error.stack : undefined;
  if (says !== null) process.stderr.write(`${stack ?? asSaid(says)}\n`);
  process.exit(exitCode);
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

const asked = process.argv.slice(2).find((word) => !word.startsWith('-'));
await (await makeProgram(asked)).parseAsync().catch(fail);
