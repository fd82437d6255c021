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

/** Modules that bring families of their own come first: what a command lists and looks up is then complete. */
async function loadPlugins(words: readonly string[]): Promise<void> {
  if (!words.some((word) => /\.m?[jt]s(\/[0-7])?$/.test(word))) return;
  const { loadPlugin, pluginsIn } = await import('./families/plugin.ts');
  for (const path of pluginsIn(words)) await loadPlugin(path);
}

const words = process.argv.slice(2);
try {
  await loadPlugins(words);
  await (await makeProgram(words.find((word) => !word.startsWith('-')))).parseAsync();
} catch (error) {
  fail(error);
}
