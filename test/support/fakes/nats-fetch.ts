import { execFile } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

type Environment = Readonly<Record<string, string | undefined>>;

/** What both ways to fetch a server have in common. */
interface Fetch {
  /** The folder that keeps servers, one folder per version. */
  readonly cache: string;
  readonly env: Environment;
  readonly versionOf: (path: string, env: Environment) => Promise<string>;
}

/** Long enough to compile it on a small machine, short enough for a suite. */
const MINUTES_MAX = 5;
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Builds this version with Go, which checks the sources' sums; answers the path in the cache. Throws when there is no Go, or Go fails. */
export async function installWithGo({ cache, version, env, versionOf }: Fetch & { readonly version: string }): Promise<string> {
  // Go's own instructions for installing put it here, whether or not a shell's profile has been told.
  const path = [env['PATH'], join(env['GOROOT'] || '/usr/local/go', 'bin')].filter(Boolean).join(':');
  return inFolder(async (folder) => {
    await run('go', ['install', `github.com/nats-io/nats-server/v2@v${version}`], { ...env, PATH: path, GOBIN: folder, CGO_ENABLED: '0' });
    return keep({ binary: join(folder, 'nats-server'), cache, env, versionOf });
  });
}

/**
 * Unpacks the package of a suite of Debian without installing it; answers the path in the cache. Asks the mirrors that apt is
 * set up for, then deb.debian.org; apt itself checks the index's signature and the package's sum, and knows of proxies.
 * Throws when there is no apt, or no mirror has it.
 */
export async function fetchFromDebian({ cache, suite, env, versionOf }: Fetch & { readonly suite: string }): Promise<string> {
  const failures = new Set<string>();
  for (const source of sources(suite)) {
    try {
      return await inFolder(async (folder) => {
        const archive = await download(folder, source, env);
        await run('dpkg-deb', ['-x', archive, join(folder, 'unpacked')], env);
        const [binary] = globSync(join(folder, 'unpacked/usr/*bin/nats-server'));
        if (binary === undefined) throw new Error('the package holds no nats-server');
        return keep({ binary, cache, env, versionOf });
      });
    } catch (cause) {
      failures.add(cause instanceof Error ? cause.message : String(cause));
    }
  }
  throw new Error([...failures].join(', then '));
}

/** One file for apt's folder of sources. */
interface Source {
  readonly name: 'one.list' | 'one.sources';
  readonly text: string;
}

/** Names by which apt knows Debian's own releases; other vendors' repositories go by other names. */
const SUITES = /(?<=\s)(bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)(?=\s)/;

/** What apt is set up for in this folder, pointed at another suite, with its keys and options; deb.debian.org last. */
export function sources(suite: string, folder = '/etc/apt'): readonly Source[] {
  const files = globSync([`${folder}/sources.list`, `${folder}/sources.list.d/*.{list,sources}`]);
  const found = files.flatMap((file) => (file.endsWith('.sources') ? stanzas(readFileSync(file, 'utf8'), suite) : lines(readFileSync(file, 'utf8'), suite)));
  if (found.some(({ text }) => /\/\/deb\.debian\.org\/debian\/?\s/.test(text))) return found;
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
  return [...found, { name: 'one.list', text: `deb ${signed}http://deb.debian.org/debian ${suite} main\n` }];
}

function lines(text: string, suite: string): readonly Source[] {
  const entries = [...text.matchAll(/^deb\s+(\[[^\]]*\]\s+)?(\S+)(\s+\S+\s)(?:.*\s)?main\b.*$/gm)].filter(([, , , named]) => SUITES.test(named ?? ''));
  const unique = new Set(entries.map(([, options, address]) => `deb ${options ?? ''}${address} ${suite} main\n`));
  return [...unique].map((line) => ({ name: 'one.list', text: line }));
}

function stanzas(text: string, suite: string): readonly Source[] {
  const entries = text.split(/\n\s*\n/).filter((entry) => /^Components:.*\bmain\b/m.test(entry) && !/^Enabled:\s*no/m.test(entry));
  const debian = entries.filter((entry) => SUITES.test(`${/^Suites:.*$/m.exec(entry)?.[0]} `));
  const set = { Suites: suite, Components: 'main', Types: 'deb' };
  const pointed = debian.map((entry) =>
    Object.entries(set).reduce((now, [field, value]) => now.replace(new RegExp(`^${field}:.*$`, 'm'), `${field}: ${value}`), entry),
  );
  return pointed.map((entry) => ({ name: 'one.sources', text: `${entry.trim()}\n` }));
}

/** Has apt fetch the package into this folder, with lists and state of its own: nothing of the machine's is touched. */
async function download(folder: string, source: Source, env: Environment): Promise<string> {
  for (const name of ['lists/partial', 'archives/partial', 'parts']) mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, 'parts', source.name), source.text);
  writeFileSync(join(folder, 'status'), '');
  const options = {
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(folder, 'parts'),
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': join(folder, 'status'),
    'Dir::Cache': folder,
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '1',
    'Acquire::http::Timeout': '20',
    'Acquire::https::Timeout': '20',
  };
  const set = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await run('apt-get', [...set, 'update'], env, folder);
  await run('apt-get', [...set, 'download', 'nats-server'], env, folder);
  const [archive] = globSync(join(folder, 'nats-server_*.deb'));
  if (archive === undefined) throw new Error('apt-get download left no package');
  return archive;
}

/** Moves a fetched server into the cache in one step, for another process may be doing the same; the first one's stays. */
async function keep({ binary, cache, env, versionOf }: Fetch & { readonly binary: string }): Promise<string> {
  const version = await versionOf(binary, env);
  const target = join(cache, version);
  mkdirSync(cache, { recursive: true });
  const staged = mkdtempSync(join(cache, '.staged-'));
  try {
    await run('cp', ['-p', binary, join(staged, 'nats-server')], env);
    renameSync(staged, target);
  } catch (cause) {
    if (!existsSync(join(target, 'nats-server'))) throw cause;
  } finally {
    rmSync(staged, { recursive: true, force: true });
  }
  return join(target, 'nats-server');
}

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-fetch-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(command: string, args: readonly string[], env: Environment, cwd?: string): Promise<void> {
  try {
    await promisify(execFile)(command, args, { env, cwd, timeout: MINUTES_MAX * 60_000, maxBuffer: 16 << 20 });
  } catch (cause) {
    const { code, stderr, message } = cause as { code?: unknown; stderr?: string; message: string };
    if (code === 'ENOENT') throw new Error(`there is no ${command}`, { cause });
    const said = (stderr ?? '').trim().split('\n').slice(-2).join(' ').slice(0, 300);
    throw new Error(`${command} failed: ${said === '' ? message : said}`, { cause });
  }
}
