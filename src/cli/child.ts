import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { type CliContext, ENDING_SIGNALS, type Signal, writeLine } from './command.ts';

/** A command that runs in the foreground of this one. */
export interface Child {
  /** It could be started; known once `ended` has resolved. */
  readonly started: boolean;
  /** Its exit code, 128 + the signal that ended it, 127 where there is no such command, 126 where it cannot be run. */
  readonly ended: Promise<number>;
  /** SIGTERM now, SIGKILL after `graceMs`. */
  end(graceMs: number): void;
}

/** Signals that a terminal sends to all processes in its foreground. */
const OF_TERMINAL: ReadonlySet<Signal> = new Set(['SIGINT', 'SIGQUIT']);

/**
 * Starts a command with this process's own streams and passes all signals on to it that would end this process, which holds its
 * permit until it has ended. On a terminal Ctrl-C and Ctrl-\ reach both by themselves and are not passed on a second time. Only the command gets signals, not what it started: in `sh -c`, use `exec`.
 */
export function startChild(command: readonly [string, ...string[]], env: Readonly<Record<string, string | undefined>>, world: CliContext): Child {
  const [name, ...args] = command;
  const child = spawn(name, args, { stdio: 'inherit', env: { ...env } });
  const terminal = [world.stdin, world.stdout, world.stderr].some((stream) => 'isTTY' in stream && stream.isTTY === true);
  const stops = ENDING_SIGNALS.map((signal) =>
    world.onSignal(signal, () => {
      if (!terminal || !OF_TERMINAL.has(signal)) child.kill(signal);
    }),
  );
  let killing: ReturnType<typeof setTimeout> | undefined;
  let started = true;
  const ended = new Promise<number>((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      started = false;
      writeLine(world.stderr, `sluice: ${name} does not start: ${error.code === 'ENOENT' ? 'there is no such command' : error.message}`);
      resolve(error.code === 'ENOENT' ? 127 : 126);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  }).finally(() => {
    clearTimeout(killing);
    for (const stop of stops) stop();
  });
  return {
    get started() {
      return started;
    },
    ended,
    end(graceMs) {
      child.kill('SIGTERM');
      killing ??= setTimeout(() => child.kill('SIGKILL'), graceMs);
    },
  };
}
