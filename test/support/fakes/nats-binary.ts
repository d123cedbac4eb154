import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { fetchFromDebian, installWithGo } from './nats-fetch.ts';

/** The least nats-server that Sluice works with. */
export const LEAST = '2.10.27';
/** What Go is asked for when no server is at hand: the newest release when this was written. */
const PINNED = '2.15.2';

/** A nats-server that answered `--version`. */
export interface NatsBinary {
  readonly path: string;
  readonly version: string;
  /** Where it is from and what was passed over on the way, for the line at the start of a run. */
  readonly why: string;
}

/** `newest`: whatever is at hand or can be had, and is acceptable. `least`: exactly the least server that Sluice works with. */
export type Wanted = 'newest' | 'least';

/** Where to look: the variables PATH, HOME, XDG_CACHE_HOME and those of Go and apt. */
type Environment = Readonly<Record<string, string | undefined>>;

/** A way to servers; it may throw. */
interface Way {
  readonly name: string;
  readonly candidates: () => Promise<readonly string[]>;
}

/** Why this version is of no use to Sluice, undefined when it is. */
export function objection(version: string): string | undefined {
  if (compare(version, LEAST) < 0) return `nats-server ${version} is older than ${LEAST}`;
  // A sync that was put off could lose pending writes: nats-server#7594, put right in 2.12.3.
  if (compare(version, '2.12.0') >= 0 && compare(version, '2.12.3') < 0) return `nats-server ${version} can lose acknowledged writes (2.12.0 to 2.12.2)`;
  return undefined;
}

/** Orders versions by their three numbers; what follows them (`-RC.1`) does not count. */
export function compare(left: string, right: string): number {
  const [one, two] = [left, right].map((text) => text.split(/[.-]/).map(Number));
  for (const place of [0, 1, 2]) {
    const difference = (one?.[place] ?? 0) - (two?.[place] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/**
 * A nats-server for the tests: the one on the PATH, else one fetched earlier, else built by Go, else Debian's newer package
 * unpacked aside. What is fetched stays in `$XDG_CACHE_HOME/sluice-tests/nats-server/VERSION` (`~/.cache` without the variable).
 * Throws an error that says of each way why it led nowhere.
 */
export async function findNatsServer(wanted: Wanted, environment: Environment = process.env): Promise<NatsBinary> {
  const env: Environment = { HOME: homedir(), ...environment };
  const cache = join(env['XDG_CACHE_HOME'] || join(env['HOME'] ?? homedir(), '.cache'), 'sluice-tests', 'nats-server');
  const passed: string[] = [];
  for (const way of waysTo(wanted, cache, env)) {
    try {
      const candidates = await way.candidates();
      if (candidates.length === 0) passed.push(`${way.name}: none`);
      for (const path of candidates) {
        const { version, against } = await judge(path, wanted, env);
        if (version !== undefined) return { path, version, why: passed.length === 0 ? way.name : `${way.name} (${passed.join('; ')})` };
        passed.push(`${way.name}: ${against}`);
      }
    } catch (cause) {
      passed.push(`${way.name}: ${(cause as Error).message}`);
    }
  }
  const which = wanted === 'least' ? `nats-server ${LEAST}` : `nats-server ${LEAST} or later (not 2.12.0 to 2.12.2)`;
  throw new Error(`The tests found no ${which}. Put one on the PATH, or Go, or run on Debian with its mirror in reach.\n  ${passed.join('\n  ')}`);
}

function waysTo(wanted: Wanted, cache: string, env: Environment): readonly Way[] {
  const version = wanted === 'least' ? LEAST : PINNED;
  const debian = (suite: string): Way => ({ name: `Debian ${suite}`, candidates: async () => [await fetchFromDebian({ cache, suite, env, versionOf })] });
  const cached = (old: boolean): Way => ({ name: 'fetched earlier', candidates: async () => inCache(cache).filter((path) => path.includes(LEAST) === old) });
  return [
    { name: 'on the PATH', candidates: async () => onPath('nats-server', env) },
    cached(wanted === 'least'),
    { name: `built by Go from v${version}`, candidates: async () => [await installWithGo({ cache, version, env, versionOf })] },
    // Debian 13 has exactly the least version; it serves as the newest only where nothing newer is to be had.
    ...(wanted === 'least' ? [] : [debian('sid'), cached(true)]),
    debian('trixie'),
  ];
}

/** Every program of this name in the environment's PATH, in its order. */
function onPath(program: string, env: Environment): readonly string[] {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return [...new Set(folders.map((folder) => join(folder, program)))].filter((path) => existsSync(path));
}

/** Servers fetched earlier, newest first. */
function inCache(cache: string): readonly string[] {
  if (!existsSync(cache)) return [];
  const versions = readdirSync(cache).filter((name) => /^\d+\.\d+\.\d+$/.test(name));
  return versions.sort((left, right) => compare(right, left)).map((version) => join(cache, version, 'nats-server'));
}

/** The version of a server that will do, or what speaks against it. */
async function judge(path: string, wanted: Wanted, env: Environment): Promise<{ readonly version?: string; readonly against?: string }> {
  try {
    const version = await versionOf(path, env);
    const against = wanted === 'least' && version !== LEAST ? `nats-server ${version} is not ${LEAST}` : objection(version);
    return against === undefined ? { version } : { against };
  } catch (cause) {
    return { against: (cause as Error).message };
  }
}

async function versionOf(path: string, env: Environment): Promise<string> {
  const { stdout } = await promisify(execFile)(path, ['--version'], { env, timeout: 10_000 });
  const version = /v(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (version === undefined) throw new Error(`${path} --version says ${JSON.stringify(stdout.trim())}`);
  return version;
}
