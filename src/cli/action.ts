import { SluiceRefused } from '../client/client.ts';
import { ACQUIRE_EXIT, failed } from './acquire-permit.ts';
import { type CliContext, EXIT, writeLine } from './command.ts';
import { type RequestArguments, requestArguments } from './requests-flags.ts';

/** One call of a server from the command line, or a few that belong together. `S`: the part of a client that it uses. */
export interface Action<S> {
  /** Its arguments, its own name first. */
  readonly usage: string;
  /** One line for a list of commands. */
  readonly summary: string;
  /** Lines about its own flags, for `--help`; '': none. */
  readonly flags: string;
  readonly example: string;
  readonly known: Parameters<typeof requestArguments>[2];
  /** Returns the exit code; a text is how it was called wrongly. Throws what the client throws. */
  run(server: S, given: RequestArguments, world: CliContext): Promise<number | string>;
}

/** What actions of one kind have in common. */
export interface ActionKind<S> {
  /** What stands before each usage: `sluice requests`. */
  readonly prefix: string;
  /** Lines about flags that all of them know, and exit codes. */
  readonly flags: string;
  /** Where the server is unless `--address` or SLUICE_URL names another place. */
  readonly address: string;
  /** Makes the client; a number is the exit code of what is wrong with the flags. Sends nothing. */
  connect(given: RequestArguments, world: CliContext): Promise<S | number>;
}

/** Runs an action with its arguments, and returns the exit code. Reports a wrong call, a refusal, and a server that does not answer on stderr. */
export async function runAction<S>(kind: ActionKind<S>, action: Action<S>, args: readonly string[], world: CliContext): Promise<number> {
  const given = requestArguments(args, world, { ...action.known, address: kind.address });
  if (typeof given === 'string') return misused(kind, action, given, world);
  if (given.help) {
    writeLine(world.stdout, actionHelp(kind, action));
    return EXIT.ok;
  }
  const server = await kind.connect(given, world);
  if (typeof server === 'number') return server;
  try {
    const code = await action.run(server, given, world);
    return typeof code === 'string' ? misused(kind, action, code, world) : code;
  } catch (error) {
    return failed(error, given, world);
  }
}

/** Acts on each of several ids, one after the other; a refusal of one is reported and the rest go on. Returns the last exit code that is not 0. */
export async function each(
  ids: readonly string[],
  given: RequestArguments,
  world: CliContext,
  act: (id: string) => Promise<readonly [json: object, line: string] | undefined>,
): Promise<number> {
  let code: number = EXIT.ok;
  for (const id of ids) {
    try {
      const [json, line] = (await act(id)) ?? [];
      if (json !== undefined && line !== undefined) writeLine(world.stdout, given.json ? JSON.stringify(json) : line);
    } catch (error) {
      if (!(error instanceof SluiceRefused)) throw error;
      code = failed(error, given, world);
    }
  }
  return code;
}

function actionHelp<S>(kind: ActionKind<S>, { usage, summary, flags, example }: Action<S>): string {
  const lines = [`Usage: ${kind.prefix} ${usage}`, `  ${summary}`, ...(flags === '' ? [] : [flags]), kind.flags];
  return `${lines.join('\n')}\nExample: ${example}`;
}

function misused<S>(kind: ActionKind<S>, { usage }: Action<S>, what: string, world: CliContext): number {
  const [name = ''] = usage.split(' ', 1);
  writeLine(world.stderr, `${kind.prefix} ${name}: ${what}\nUsage: ${kind.prefix} ${usage}`);
  return ACQUIRE_EXIT.usage;
}
