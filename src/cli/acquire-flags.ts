import { parseArgs } from 'node:util';
import type { AcquireOptions } from '../client/client.ts';
import { toMillis } from '../client/duration.ts';
import { holderName } from './holder-name.ts';

/** What `acquire` and `run` have in common. */
export interface AcquireFlags {
  readonly group: string;
  readonly options: AcquireOptions;
  readonly address: string;
  readonly holder: string;
  /** Holds the API key; undefined: SLUICE_TOKEN, or none. */
  readonly tokenFile: string | undefined;
  /** No word about the place. */
  readonly quiet: boolean;
}

/** Where a server's api listener is by default. */
export const API_ADDRESS = 'http://127.0.0.1:8080';

/** Flags of both, for `--help`. */
export const ASK_FLAGS = `  --ttl 30s            wait timeout: how long to wait at most; 0: now or not at all (default: the group's)
  --lease 30s          life of the lease where concurrency is limited (default: the group's)
  --key KEY            partition of the group: a tenant, a shard's bucket
  --priority N         0 (most urgent) to 999; or --class NAME (--priority-class), one of the group's classes
  --cost N             what it spends in requests (default: 1); --cost.UNIT N in another unit, as --cost.tokens 400
  --holder NAME        name of the caller, for people who look at waiters and leases (default: user@host, and :command of \`run\`)
  --retry-for 5m       tries again for so long after refusals that pass, no earlier than they allow
  --address URL        of the server's api listener (default: SLUICE_URL, or http://127.0.0.1:8080)
  --token-file FILE    holds the API key (default: SLUICE_TOKEN)
  --quiet              prints nothing about the place while it waits
Exit codes: 0; 64 called wrongly; 65 it can never pass as asked; 69 no replica decides (not reached, draining); 70 a fault;
75 not now (shed, expired, infeasible): later it may pass; 77 not allowed; 130 Ctrl-C (128 + signal), the place is free again.`;

const TEXT = { type: 'string' } as const;
const FLAG = { type: 'boolean' } as const;
const COMMON = {
  ttl: TEXT,
  lease: TEXT,
  key: TEXT,
  priority: TEXT,
  class: TEXT,
  'priority-class': TEXT,
  cost: TEXT,
  holder: TEXT,
  'retry-for': TEXT,
  address: TEXT,
  'token-file': TEXT,
  quiet: FLAG,
  help: { type: 'boolean', short: 'h' },
} as const;

/** Flags as they were given. */
export type Given = Readonly<Record<string, string | boolean | undefined>>;

/** Splits arguments into flags and the rest; a text is what is wrong with them. `more`: further flags with a value. */
export function parseFlags(args: readonly string[], more: readonly string[] = []): { readonly given: Given; readonly positionals: readonly string[] } | string {
  const costs = args.map((arg) => /^--(cost\.[^=]+)/.exec(arg)?.[1]).filter((name) => name !== undefined);
  const options = { ...COMMON, ...Object.fromEntries([...more, ...costs].map((name) => [name, TEXT])) };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    return { given: values as Given, positionals };
  } catch (error) {
    return (error as Error).message;
  }
}

/** Reads what both commands know; a text is what is wrong. Bounds are the server's matter. `command`: what is run, for the holder's name. */
export function parseAcquireFlags(group: string, given: Given, env: Readonly<Record<string, string | undefined>>, command?: string): AcquireFlags | string {
  const text = (name: string): string | undefined => (typeof given[name] === 'string' ? given[name] : undefined);
  for (const name of ['ttl', 'lease', 'retry-for']) {
    const wrong = wrongDuration(name, text(name));
    if (wrong !== undefined) return wrong;
  }
  const costs: Record<string, number> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name !== 'cost' && !name.startsWith('cost.')) continue;
    if (!/^\d{1,10}$/.test(String(value))) return `--${name} has to be a whole number`;
    costs[name === 'cost' ? 'requests' : name.slice(5)] = Number(value);
  }
  const priority = text('priority');
  const named = text('class') ?? text('priority-class');
  if (text('class') !== undefined && text('priority-class') !== undefined) return '--class and --priority-class are the same: give one of them';
  if (priority !== undefined && named !== undefined) return 'Give either --priority or --class';
  if (priority !== undefined && !/^\d{1,4}$/.test(priority)) return '--priority has to be a whole number; a name goes with --class';
  const retry = text('retry-for');
  const options: AcquireOptions = {
    ttl: text('ttl'),
    lease: text('lease'),
    key: text('key'),
    priority: priority === undefined ? named : Number(priority),
    costs: Object.keys(costs).length === 0 ? undefined : costs,
    retry: retry === undefined ? undefined : { for: retry },
  };
  const address = text('address') ?? env['SLUICE_URL'] ?? API_ADDRESS;
  return { group, options, address, holder: text('holder') ?? holderName(env, command), tokenFile: text('token-file'), quiet: given['quiet'] === true };
}

/** What is wrong with a duration given as a flag; undefined: nothing. */
export function wrongDuration(name: string, value: string | undefined): string | undefined {
  try {
    if (value !== undefined) toMillis(value);
    return undefined;
  } catch (error) {
    return `--${name}: ${(error as Error).message}`;
  }
}
