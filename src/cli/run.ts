import { spawn } from 'node:child_process';
import type { Permit } from '../client/client.ts';
import { toMillis } from '../client/duration.ts';
import { type AcquireFlags, ASK_FLAGS, parseAcquireFlags, parseFlags, wrongDuration } from './acquire-flags.ts';
import { ACQUIRE_EXIT, acquireWithProgress } from './acquire-permit.ts';
import { type CliContext, type Command, ENDING_SIGNALS, EXIT, exitCodeOf, type Signal, writeLine } from './command.ts';

interface RunArguments {
  readonly asked: AcquireFlags;
  readonly command: readonly [string, ...string[]];
  readonly onLost: 'kill' | 'warn';
  /** Milliseconds between SIGTERM and SIGKILL. */
  readonly graceMs: number;
}

const RUN_FLAGS = `  --group GROUP        the group to acquire from; required
  --on-lost kill       what to do with the command when the lease is lost: kill (default) or warn
  --grace 10s          time between SIGTERM and SIGKILL for a command whose lease is lost`;
const RUN_EXITS = `Else the command's own code, or 128 + the signal that ended it; 79 it was ended because its lease was lost; 126, 127 it does not start.
The command finds SLUICE_PERMIT, SLUICE_GROUP and, with a lease, SLUICE_FENCE and SLUICE_FENCE_FLOOR in its environment.`;

/** `sluice run --group G -- COMMAND`: runs a command while it holds a permit, whose lease is kept alive and released at the end. */
export const run: Command = {
  name: 'run',
  usage: '--group GROUP [--ttl 30s] [--lease 30s] [...] -- COMMAND [ARGUMENTS]',
  summary: 'waits for a permit of GROUP, runs COMMAND while its lease is kept alive, releases it and passes on the exit code',
  async run(args, world) {
    const read = runArguments(args, world);
    if (read === 'help') {
      writeLine(world.stdout, `Usage: sluice run ${this.usage}\n${RUN_FLAGS}\n${ASK_FLAGS}\n${RUN_EXITS}`);
      return EXIT.ok;
    }
    if (typeof read === 'string') {
      writeLine(world.stderr, `sluice run: ${read}\nUsage: sluice run ${this.usage}`);
      return ACQUIRE_EXIT.usage;
    }
    const permit = await acquireWithProgress(read.asked, world);
    return typeof permit === 'number' ? permit : runHolding(read, permit, world);
  },
};

function runArguments(args: readonly string[], world: CliContext): RunArguments | string {
  const mark = args.indexOf('--');
  const parts = parseFlags(mark < 0 ? args : args.slice(0, mark), ['group', 'on-lost', 'grace']);
  if (typeof parts === 'string') return parts;
  const { given, positionals } = parts;
  if (given['help'] === true) return 'help';
  const { group, 'on-lost': onLost = 'kill', grace = '10s' } = given;
  if (typeof group !== 'string') return 'name the group with --group';
  const [name, ...rest] = mark < 0 ? [] : args.slice(mark + 1);
  if (name === undefined || positionals.length > 0) return 'the command comes after --, as in: sluice run --group G -- make deploy';
  if (onLost !== 'kill' && onLost !== 'warn') return '--on-lost is kill or warn';
  const wrong = wrongDuration('grace', String(grace));
  if (wrong !== undefined) return wrong;
  const asked = parseAcquireFlags(group, given, world.env, name);
  return typeof asked === 'string' ? asked : { asked, command: [name, ...rest], onLost, graceMs: toMillis(String(grace)) };
}

async function runHolding({ command, onLost, graceMs, asked }: RunArguments, permit: Permit, world: CliContext): Promise<number> {
  const lost = permit.keepAlive();
  const child = startChild(command, environment(permit, world), world);
  let killed = false;
  const react = (): void => {
    const end = onLost === 'kill' ? `ending ${command[0]}` : `${command[0]} goes on without it`;
    writeLine(world.stderr, `sluice: the lease on ${asked.group} is lost (${why(lost)}); ${end}`);
    if (onLost === 'warn') return;
    killed = true;
    child.end(graceMs);
  };
  lost.addEventListener('abort', react);
  const code = await child.ended;
  lost.removeEventListener('abort', react);
  if (!lost.aborted) await release(permit, child, world);
  return killed ? ACQUIRE_EXIT.lost : code;
}

async function release(permit: Permit, child: Child, world: CliContext): Promise<void> {
  try {
    await permit.release({ outcome: child.started ? 'used' : 'unused' });
  } catch (error) {
    writeLine(world.stderr, `sluice: the permit could not be released: ${(error as Error).message}`);
  }
}

function environment(permit: Permit, world: CliContext): Record<string, string | undefined> {
  const { id, group, fence, fenceFloor } = permit;
  return {
    ...world.env,
    SLUICE_PERMIT: id,
    SLUICE_GROUP: group,
    SLUICE_FENCE: fence?.toString(),
    SLUICE_FENCE_FLOOR: fenceFloor?.toString(),
  };
}

function why(lost: AbortSignal): string {
  const { cause } = lost.reason as Error;
  return cause instanceof Error ? cause.message : 'it was not renewed in time';
}

/** A command that runs in the foreground of this one. */
interface Child {
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
function startChild(command: readonly [string, ...string[]], env: Readonly<Record<string, string | undefined>>, world: CliContext): Child {
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
    // Node sets one of the two.
    child.once('exit', (code, signal) => resolve(code ?? exitCodeOf(signal as NodeJS.Signals)));
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
