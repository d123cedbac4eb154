#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { dispatch } from './cli/cli.ts';
import type { CliContext } from './cli/command.ts';
import { bootId } from './platform/system-clock.ts';

/*
 * The only file that says `process`: hands arguments, environment, streams, signals and clocks to the commands
 * (cli/table.ts) and sets the exit code they answer.
 */

const NODE_MAJOR_MIN = 22;
/** Between two looks whether the parent still lives. */
const PARENT_LOOK_MS = 250;

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const { version = 'unknown' } = manifest as { readonly version?: string };
  return version;
}

/**
 * Calls `act` once when the parent has ended; returns a function that stops looking. `npx` runs a command below a shell that dies of
 * the SIGTERM that npm passes on, and leaves the command running: this is how the command learns of it.
 */
function onOrphaned(act: () => void): () => void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    act();
  }, PARENT_LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

const world: CliContext = {
  version: packageVersion(),
  nodeVersion: process.versions.node,
  pid: process.pid,
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  interactive: process.stderr.isTTY,
  onSignal: (signal, act) => {
    process.on(signal, act);
    const forget = signal === 'SIGTERM' && process.env['npm_command'] === 'exec' ? onOrphaned(act) : () => {};
    return () => {
      process.off(signal, act);
      forget();
    };
  },
  clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: bootId() },
  exit: (code) => process.exit(code),
};

async function main(): Promise<number> {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < NODE_MAJOR_MIN) {
    world.stderr.write(`Sluice needs Node ${NODE_MAJOR_MIN} or later; this is Node ${process.versions.node}.\n`);
    return 1;
  }
  return dispatch(process.argv.slice(2), world);
}

// A reader that leaves early (`sluice help | head -1`) is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EPIPE') throw cause;
  });
}

process.exitCode = await main();
