import { parseArgs } from 'node:util';
import { toMillis } from '../client/duration.ts';
import { API_ADDRESS } from './acquire-flags.ts';
import type { CliContext } from './command.ts';

/** Flags that every `sluice requests` command knows, for `--help`. */
export const REQUEST_FLAGS = `  --json               prints JSON as the server has it, a line for each
  --address URL        of the server's api listener (default: SLUICE_URL, or http://127.0.0.1:8080); without auth.keys, list and
                       redrive answer on its admin listener only: --address http://127.0.0.1:9091
  --token-file FILE    holds the API key (default: SLUICE_TOKEN)
Exit codes: 0; 1 it ended as dead or cancelled (--wait); 64 called wrongly; 65 it can never pass as asked; 66 no such request, or no
longer kept; 69 not reached, draining, or nothing can be stored; 70 a fault; 75 not now, or not ended yet (--wait); 77 not allowed.`;

/** What every command was given. */
export interface RequestArguments {
  readonly positionals: readonly string[];
  readonly address: string;
  readonly tokenFile: string | undefined;
  readonly json: boolean;
  readonly help: boolean;
  /** The value of a flag; undefined: not given. */
  text(name: string): string | undefined;
  /** All values of a flag that may be repeated. */
  texts(name: string): readonly string[];
  /** Flags that name a cost: `cost`, `cost.UNIT`. */
  readonly costNames: readonly string[];
  has(name: string): boolean;
}

/**
 * Reads arguments; a text is what is wrong with them. `texts` take a value, `lists` may be repeated, `flags` take none; `address`: where
 * the server is unless something else is set.
 */
export function requestArguments(
  args: readonly string[],
  world: CliContext,
  known: {
    readonly texts?: readonly string[];
    readonly lists?: readonly string[];
    readonly flags?: readonly string[];
    readonly costs?: boolean;
    readonly address?: string;
  },
): RequestArguments | string {
  const costs = known.costs === true ? args.map((arg) => /^--(cost\.[^=]+)/.exec(arg)?.[1]).filter((name) => name !== undefined) : [];
  const options = {
    ...Object.fromEntries(['address', 'token-file', ...(known.texts ?? []), ...costs].map((name) => [name, { type: 'string' as const }])),
    ...Object.fromEntries((known.lists ?? []).map((name) => [name, { type: 'string' as const, multiple: true }])),
    ...Object.fromEntries(['json', ...(known.flags ?? [])].map((name) => [name, { type: 'boolean' as const }])),
    help: { type: 'boolean' as const, short: 'h' },
  };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const given = values as Readonly<Record<string, string | boolean | string[] | undefined>>;
    const text = (name: string): string | undefined => (typeof given[name] === 'string' ? given[name] : undefined);
    return {
      positionals,
      address: text('address') ?? world.env['SLUICE_URL'] ?? known.address ?? API_ADDRESS,
      tokenFile: text('token-file'),
      json: given['json'] === true,
      help: given['help'] === true,
      text,
      texts: (name) => (Array.isArray(given[name]) ? given[name] : []),
      costNames: Object.keys(given).filter((name) => name === 'cost' || name.startsWith('cost.')),
      has: (name) => given[name] !== undefined,
    };
  } catch (error) {
    return (error as Error).message;
  }
}

/** A whole number in bounds; a text is what is wrong with the flag. */
export function wholeFlag(name: string, value: string, least: number, most: number): number | string {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  return number >= least && number <= most ? number : `--${name} has to be a whole number from ${least} to ${most}`;
}

/** What is wrong with flags that are durations; undefined: nothing. */
export function wrongDurations(given: RequestArguments, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = given.text(name);
    try {
      if (value !== undefined) toMillis(value);
    } catch (error) {
      return `--${name}: ${(error as Error).message}`;
    }
  }
  return undefined;
}
