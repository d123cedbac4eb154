import { readFile } from 'node:fs/promises';
import { type AcquireOptions, createSluice, type Permit, type Place, type Sluice, SluiceRefused, SluiceUnreachable } from '../client/client.ts';
import type { AcquireFlags } from './acquire-flags.ts';
import { type CliContext, ENDING_SIGNALS, exitCodeOf, type Signal, writeLine } from './command.ts';

/** Exit codes of the commands that call a server, as in sysexits.h where it has one. */
export const ACQUIRE_EXIT = {
  /** Called wrongly (EX_USAGE). */
  usage: 64,
  /** This request can never pass as it is: `malformed`, `unknown_group`, `oversized`, `too_large`, `conflict` (EX_DATAERR). */
  never: 65,
  /** No such request, waiter or permit, or no longer kept: `unknown_request`, `unknown_permit`, `gone` (EX_NOINPUT). */
  missing: 66,
  /** No replica can decide: not reached, `draining`, `undecided`, `unstored` (EX_UNAVAILABLE). */
  unavailable: 69,
  /** `fault`, or an answer that is not Sluice's (EX_SOFTWARE). */
  fault: 70,
  /** Later it may pass: `shed`, `expired`, `infeasible`, `cancelled` (EX_TEMPFAIL). */
  later: 75,
  /** `unauthenticated`, `forbidden` (EX_NOPERM). */
  denied: 77,
  /** The lease was lost while the command ran, which was stopped for it. */
  lost: 79,
} as const;

const EXITS: Readonly<Record<string, number>> = {
  malformed: ACQUIRE_EXIT.never,
  unknown_group: ACQUIRE_EXIT.never,
  oversized: ACQUIRE_EXIT.never,
  too_large: ACQUIRE_EXIT.never,
  conflict: ACQUIRE_EXIT.never,
  unknown_request: ACQUIRE_EXIT.missing,
  unknown_permit: ACQUIRE_EXIT.missing,
  gone: ACQUIRE_EXIT.missing,
  draining: ACQUIRE_EXIT.unavailable,
  undecided: ACQUIRE_EXIT.unavailable,
  unstored: ACQUIRE_EXIT.unavailable,
  shed: ACQUIRE_EXIT.later,
  expired: ACQUIRE_EXIT.later,
  infeasible: ACQUIRE_EXIT.later,
  cancelled: ACQUIRE_EXIT.later,
  unauthenticated: ACQUIRE_EXIT.denied,
  forbidden: ACQUIRE_EXIT.denied,
};

/** What to do where the server is not at the address that was used. */
const NAME_SERVER = 'name the server with --address or SLUICE_URL';

/** What to do where an operator's call came to a listener of callers. */
const ASK_ADMIN =
  'Call its admin listener, by --address or SLUICE_URL (http://127.0.0.1:9091 unless listen.admin sets another), or set auth.keys and show a key that can read or manage.';

/** Acquires, and shows the place meanwhile. A signal gives the place up at once; a second one ends the process. Returns the permit or the exit code. */
export async function acquireWithProgress(asked: AcquireFlags, world: CliContext): Promise<Permit | number> {
  const sluice = await clientOf(asked, world);
  if (typeof sluice === 'number') return sluice;
  const leave = new AbortController();
  const stops = ENDING_SIGNALS.map((signal: Signal) =>
    world.onSignal(signal, () => {
      const code = exitCodeOf(signal);
      if (leave.signal.aborted) world.exit(code);
      leave.abort(code);
    }),
  );
  const line = placeLine(world, asked.quiet);
  const options: AcquireOptions = { ...asked.options, signal: leave.signal, onPlace: (place) => line.show(asked.group, place) };
  try {
    const permit = await sluice.acquire(asked.group, options);
    if (!leave.signal.aborted) return permit;
    await permit.release({ outcome: 'unused' }).catch(() => false);
    return leave.signal.reason as number;
  } catch (error) {
    if (leave.signal.aborted) return leave.signal.reason as number;
    line.end();
    return failed(error, asked, world);
  } finally {
    line.end();
    for (const stop of stops) stop();
  }
}

/** Where the server is, and the API key that is shown to it. */
export interface Connection {
  readonly address: string;
  readonly token: string | undefined;
}

/** Reads the address and the key that the flags name; a number is the exit code of what is wrong with them, which has been reported. */
export async function connectionOf({ address, tokenFile }: Pick<AcquireFlags, 'address' | 'tokenFile'>, world: CliContext): Promise<Connection | number> {
  if (!/^https?:/.test(address) || !URL.canParse(address)) {
    writeLine(world.stderr, `sluice: ${address} is no address; ${NAME_SERVER}`);
    return ACQUIRE_EXIT.usage;
  }
  try {
    return { address, token: tokenFile === undefined ? world.env['SLUICE_TOKEN'] : (await readFile(tokenFile, 'utf8')).trim() };
  } catch (error) {
    writeLine(world.stderr, `sluice: ${(error as Error).message}`);
    return ACQUIRE_EXIT.usage;
  }
}

/** Makes a client of the server that the flags name; a number is the exit code of what is wrong with them. */
export async function clientOf(
  asked: Pick<AcquireFlags, 'address' | 'tokenFile'> & { readonly holder?: string | undefined },
  world: CliContext,
): Promise<Sluice | number> {
  const connection = await connectionOf(asked, world);
  return typeof connection === 'number' ? connection : createSluice({ ...connection, holder: asked.holder });
}

/** Reports what went wrong, and returns the exit code. A throw of another kind is a bug, and thrown on. */
export function failed(error: unknown, asked: Pick<AcquireFlags, 'address'>, world: CliContext): number {
  if (error instanceof SluiceUnreachable) {
    writeLine(world.stderr, `sluice: ${asked.address} does not answer: ${rootCause(error)}; ${NAME_SERVER}`);
    return ACQUIRE_EXIT.unavailable;
  }
  if (!(error instanceof SluiceRefused)) throw error;
  const after = error.retryAfterMs === undefined ? '' : `; try again in ${Math.ceil(error.retryAfterMs / 1000)} s`;
  const elsewhere = error.reason === 'forbidden' && error.message.includes('admin address') ? ` ${ASK_ADMIN}` : '';
  writeLine(world.stderr, `sluice: ${error.reason}: ${error.message}${elsewhere}${after}`);
  return EXITS[error.reason] ?? ACQUIRE_EXIT.fault;
}

/** The innermost reason: `fetch failed` alone explains nothing. */
function rootCause(error: Error): string {
  const { cause } = error;
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message;
  return cause instanceof Error ? rootCause(cause) : error.message;
}

/** Shows the queue position of a request. */
interface PositionLine {
  show(group: string, place: Place): void;
  /** Leaves the terminal's line empty. */
  end(): void;
}

const CLEAR = '\r\u001b[K';

/** On a terminal one line that is rewritten; else a line at each change. */
function placeLine(world: Pick<CliContext, 'stderr' | 'interactive'>, quiet: boolean): PositionLine {
  let open = false;
  return {
    show(group, place) {
      if (quiet) return;
      if (!world.interactive) return writeLine(world.stderr, wordsOf(group, place));
      world.stderr.write(`${CLEAR}${wordsOf(group, place)}`);
      open = true;
    },
    end() {
      if (open) world.stderr.write(CLEAR);
      open = false;
    },
  };
}

function wordsOf(group: string, { place, expectedMs, range, limit }: Place): string {
  const [from, to] = [range?.earliestMs ?? expectedMs, range?.latestMs ?? expectedMs].map((each) => each && Math.ceil(each / 1000));
  const expected = to === undefined ? 'time unknown' : `about ${from === to ? '' : `${from} to `}${to} s`;
  return `sluice: place ${place} in ${group}, ${expected}${limit === '' ? '' : `, behind limit ${limit}`}`;
}
