import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { ClockSources } from '../platform/system-clock.ts';

/** How a command ended, as the exit code of the process. */
export const EXIT = {
  /** It did what it was asked for. */
  ok: 0,
  /** It could not: a mistake in the file, an address that is taken, a refusal. */
  failed: 1,
  /** It was called wrongly: an unknown command or flag, a missing argument. */
  usage: 2,
} as const;

/** Returns the exit code of a process that a signal ended, as a shell reports it: 128 and the signal's number. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Signals a command may answer to. */
export type Signal = (typeof ENDING_SIGNALS)[number];

/** Signals that end a process unless it listens, and that it may listen to; those of faults and SIGKILL are not among them. */
export const ENDING_SIGNALS = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGABRT',
  'SIGALRM',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGVTALRM',
  'SIGXCPU',
  'SIGXFSZ',
] as const;

/** The world as a command sees it; main.ts hands it in, tests make one. */
export interface CliContext {
  /** Of the package. */
  readonly version: string;
  readonly nodeVersion: string;
  /** Id of this process. */
  readonly pid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** stderr is a person's terminal: progress may be written there. */
  readonly interactive: boolean;
  /** Calls back at each such signal, in place of what the system would do; answers how to stop listening. */
  readonly onSignal: (signal: Signal, act: () => void) => () => void;
  /** The machine's clocks (`platform/system-clock.ts`). */
  readonly clocks: ClockSources;
  /** Ends the process at once with this code; for a second signal only. */
  readonly exit: (code: number) => void;
}

/** One command of `sluice`. */
export interface Command {
  readonly name: string;
  /** Its arguments, as after `sluice NAME`. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Runs to its end; answers the exit code ({@link EXIT}, or the code of a command that was run). */
  run(args: readonly string[], world: CliContext): Promise<number>;
}

/** Writes a line. */
export function writeLine(stream: Writable, line: string): void {
  stream.write(`${line}\n`);
}
