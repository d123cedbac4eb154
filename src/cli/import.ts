import { rm, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type ConfigError, collectErrors, formatError } from '../config/errors.ts';
import { loadConfig } from '../config/load.ts';
import { configText } from '../importers/config-text.ts';
import type { Finding, Imported, SourceFile, Verdict } from '../importers/importer.ts';
import type { LunarOptions } from '../importers/lunar/draft.ts';
import { importLunar } from '../importers/lunar/lunar.ts';
import { importReque } from '../importers/reque.ts';
import { TOML_BYTES_MAX } from '../importers/toml.ts';
import { decodeUtf8 } from '../importers/utf8.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { lunarFiles } from './lunar-files.ts';
import { readRegularFile, UnreadableFileError } from './source-files.ts';

/** Systems whose configuration is read. */
const SYSTEMS = ['lunar', 'reque'] as const;

const USAGE = `Usage: sluice import lunar POLICIES|FOLDER [--out FILE] [--json] [--backend [HOST=]URL ...] [--windows rolling|fixed] [--compat]
       sluice import reque SETTINGS.toml [--out FILE] [--json]

Makes a configuration of Sluice from that of another system, and reports every key of it: understood, changed (how), ignored (why).
The configuration goes to stdout and the report to stderr; with --out the configuration goes to FILE, which must not exist yet, and the
report to stdout. --json: one object with both on stdout. A mistake in the file is reported with its line, and nothing is written.

  lunar POLICIES|FOLDER Lunar: policies.yaml, or the folder that has its folders flows and quotas (docs/coming-from-lunar.md)
    --backend HOST=URL  where requests to HOST go; without it to https://HOST. --backend URL: where those of all other hosts go
    --windows fixed     windows side by side, as in Lunar, with up to twice their number around an edge; without it they roll
    --compat            requests without a known priority group come first in a remedy's queue, as in Lunar; without it last

  reque SETTINGS.toml   reQue: one deferred route that takes any method and path (docs/coming-from-reque.md)

Exit codes: 0 it was imported, ignored keys or not; 1 it has a mistake, cannot be read, or cannot be written; 2 called wrongly.`;

/** `sluice import SYSTEM FILE`: reads the configuration of another system. */
export const importCommand: Command = {
  name: 'import',
  usage: `${SYSTEMS.join('|')} FILE|FOLDER [--out FILE] [--json]`,
  summary: 'makes a configuration from that of another system, and reports what became of every key of it',
  async run(args, world) {
    const asked = askedOf(args);
    if (typeof asked === 'string' || asked.help) {
      if (typeof asked === 'string') writeLine(world.stderr, asked);
      writeLine(typeof asked === 'string' ? world.stderr : world.stdout, USAGE);
      return typeof asked === 'string' ? EXIT.usage : EXIT.ok;
    }
    const imported = await imports(asked);
    if (typeof imported === 'string') {
      writeLine(world.stderr, imported);
      return EXIT.failed;
    }
    if (imported.kind === 'mistakes') return printMistakes(imported.mistakes, asked, world);
    return write(imported, asked, world);
  },
};

/** What the command was called for. */
interface Asked {
  readonly help: boolean;
  readonly system: (typeof SYSTEMS)[number];
  readonly from: string;
  readonly out: string | undefined;
  readonly json: boolean;
  readonly lunar: LunarOptions;
}

type Done = Extract<Imported, { kind: 'imported' }>;

/** Returns what is wrong with the arguments as a sentence. */
function askedOf(args: readonly string[]): Asked | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        out: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        backend: { type: 'string', multiple: true },
        windows: { type: 'string' },
        compat: { type: 'boolean' },
      },
      allowPositionals: true,
    });
    const [system = '', from = '', ...more] = positionals;
    const known = SYSTEMS.find((each) => each === system);
    const { out, json = false, help = false, backend = [], windows = 'rolling', compat = false } = values;
    const lunar = lunarOptions(backend, windows, compat);
    if (help) return { help, system: 'lunar', from, out, json, lunar: NO_OPTIONS };
    if (typeof lunar === 'string') return lunar;
    if (known === undefined) return system === '' ? 'Name the system to import from.' : `There is no importer for ${JSON.stringify(system.slice(0, 60))}.`;
    if (from === '') return 'Name what to import.';
    if (more.length > 0) return 'Name one file or folder.';
    const other = known === 'lunar' ? undefined : (['backend', 'windows', 'compat'] as const).find((name) => values[name] !== undefined);
    return other === undefined ? { help, system: known, from, out, json, lunar } : `--${other} is an option of lunar.`;
  } catch (cause) {
    return (cause as Error).message;
  }
}

const NO_OPTIONS: LunarOptions = { windows: 'rolling', compat: false, backends: new Map(), fallback: undefined, timezone: 'UTC' };

function lunarOptions(backend: readonly string[], windows: string, compat: boolean): LunarOptions | string {
  if (windows !== 'rolling' && windows !== 'fixed') return '--windows is rolling or fixed.';
  const backends = new Map<string, string>();
  let fallback: string | undefined;
  for (const each of backend) {
    const [, host, url = ''] = /^(?:([^=/]+)=)?(.*)$/.exec(each) ?? [];
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    const bare = parsed !== undefined && /^https?:$/.test(parsed.protocol) && parsed.pathname === '/' && parsed.search === '' && parsed.username === '';
    if (!bare) return `--backend ${JSON.stringify(each.slice(0, 100))} has no URL of a host and a port alone: http://10.0.0.1:7780.`;
    if (host === undefined) fallback = parsed.origin;
    else backends.set(host.toLowerCase(), parsed.origin);
  }
  return { windows, compat, backends, fallback, timezone: new Intl.DateTimeFormat().resolvedOptions().timeZone };
}

/** Reads and imports. Returns a sentence where a file cannot be read. */
async function imports({ system, from, lunar }: Asked): Promise<Imported | string> {
  try {
    const { mistakes, report } = collectErrors();
    const files: SourceFile[] = [];
    for (const { name, bytes } of system === 'lunar' ? await lunarFiles(from) : [await readRegularFile(from, TOML_BYTES_MAX)]) {
      const text = decodeUtf8(bytes, name, report);
      if (text !== undefined) files.push({ name, text });
    }
    if (mistakes.length > 0) return { kind: 'mistakes', mistakes };
    if (system === 'lunar') return importLunar(files, lunar);
    const [settings = { name: from, text: '' }] = files;
    return importReque(settings);
  } catch (cause) {
    if (cause instanceof UnreadableFileError) return cause.message;
    return `${from}: cannot be read: ${(cause as Error).message}`;
  }
}

function printMistakes(mistakes: readonly ConfigError[], { json }: Asked, { stdout, stderr }: CliContext): number {
  if (json) writeLine(stdout, JSON.stringify({ mistakes }, undefined, 2));
  for (const mistake of mistakes) writeLine(stderr, formatError(mistake));
  writeLine(stderr, `${mistakes.length === 1 ? '1 mistake' : `${mistakes.length} mistakes`}; nothing was written`);
  return EXIT.failed;
}

/** Writes the configuration and the report, once the configuration has passed what `sluice check` looks at. */
async function write({ config, findings, notes }: Done, asked: Asked, world: CliContext): Promise<number> {
  const { system, from, out, json } = asked;
  const text = configText(config, [`Made by \`sluice import ${system} ${from}\`.`]);
  const loaded = loadConfig({ text, name: out ?? 'sluice.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') {
    writeLine(world.stderr, `what was made of ${from} does not pass \`sluice check\`:`);
    return printMistakes(loaded.mistakes, asked, world);
  }
  if (out !== undefined) {
    const failed = await writeNew(out, text);
    if (failed !== undefined) {
      writeLine(world.stderr, failed);
      return EXIT.failed;
    }
  }
  const counts = countsOf(findings);
  if (json) {
    writeLine(world.stdout, JSON.stringify({ system, from, ...(out === undefined ? { config: text } : { out }), counts, findings, notes }, undefined, 2));
    return EXIT.ok;
  }
  if (out === undefined) world.stdout.write(text);
  const report = out === undefined ? world.stderr : world.stdout;
  for (const line of reportOf(findings)) writeLine(report, line);
  for (const note of notes) writeLine(report, `note: ${note}`);
  const total = `${findings.length} keys: ${counts.understood} understood, ${counts.changed} changed, ${counts.ignored} ignored`;
  writeLine(report, out === undefined ? total : `${total}; wrote ${out}`);
  return EXIT.ok;
}

/** Writes a file that does not exist yet, whole or not at all. Returns a sentence where it cannot. */
async function writeNew(file: string, text: string): Promise<string | undefined> {
  try {
    await writeFile(file, text, { flag: 'wx', flush: true });
    return undefined;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return `${file} is there already: nothing was written. Name another file, or remove it.`;
    if (code === 'ENOSPC' || code === 'EIO' || code === 'EDQUOT') await rm(file, { force: true });
    return `${file}: cannot be written: ${message}`;
  }
}

function countsOf(findings: readonly Finding[]): Readonly<Record<Verdict, number>> {
  const counts = { understood: 0, changed: 0, ignored: 0 };
  for (const { verdict } of findings) counts[verdict]++;
  return counts;
}

/** A line for each key: place, verdict, the key as written, and what became of it. */
function reportOf(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ source, line, column, verdict, path, value, how }) => `${source}:${line ?? 1}:${column ?? 1}: ${verdict}: ${path} = ${value}: ${how}`);
}
