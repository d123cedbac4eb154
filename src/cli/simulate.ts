import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { type ConfigError, collectErrors, formatError } from '../config/errors.ts';
import { type Config, loadConfig } from '../config/load.ts';
import { parseDuration } from '../config/units.ts';
import { FILE_BYTES_MAX } from '../config/yaml.ts';
import { LEASE_MAX } from '../core/bounds.ts';
import type { Instant, Micros } from '../core/time.ts';
import { drawExported } from '../simulate/prometheus.ts';
import { limitTableOf, reportOf, type SimulationReport, tableOf } from '../simulate/report.ts';
import type { SimulatedRequest } from '../simulate/simulated-request.ts';
import { Simulation } from '../simulate/simulation.ts';
import { TraceReader } from '../simulate/trace.ts';
import { drawRequests, readWorkload } from '../simulate/workload.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { readRegularFile, UnreadableFileError } from './source-files.ts';
import { tableLines } from './text-table.ts';

/** Bytes of an answer of Prometheus at most. */
const EXPORT_BYTES_MAX = 64 * 1024 * 1024;

/** When a trace without dates begins: a Monday at midnight UTC, so that windows of the calendar are whole. */
const MONDAY = (Date.UTC(2024, 0, 1) * 1_000) as Instant;

const USAGE = `Usage: sluice simulate [CONFIG] [--against CONFIG] --workload FILE | --trace FILE|- | --metrics FILE [--seed NUMBER] [--hold DURATION] [--json]

Runs requests against a configuration in virtual time, with the code that the server admits by, and reports how long they waited, what was
refused, and how much of each limit was used; with --against, what another configuration makes of the same requests (docs/simulate.md).

  CONFIG            the configuration; SLUICE_CONFIG, or sluice.yaml here, if none is named
  --against CONFIG  another; each cell of the tables is then BEFORE > AFTER
  --workload FILE   requests drawn from a description in YAML
  --trace FILE|-    requests as recorded, one JSON object a line; or the log of a server with log.requests: true; - is stdin
  --metrics FILE    requests drawn from a counter of arrivals: the JSON of Prometheus' query_range, by the label group
  --seed NUMBER     draws other requests for --workload and --metrics (1)
  --hold DURATION   how long leases are held, for --metrics (0)
  --json            one object instead of tables

Example: sluice simulate sluice.yaml --against next.yaml --trace requests.log
Exit codes: 0 it ran; 1 a file has a mistake or cannot be read; 2 called wrongly.`;

/** `sluice simulate`: reports what a configuration makes of a trace, before it is applied. */
export const simulate: Command = {
  name: 'simulate',
  usage: '[CONFIG] [--against CONFIG] --workload FILE | --trace FILE|- | --metrics FILE [--json]',
  summary: 'reports what a configuration, or a change of one, makes of recorded or drawn requests, in virtual time',
  async run(args, world) {
    const asked = askedOf(args, world);
    if (typeof asked === 'string') {
      writeLine(world.stderr, asked);
      writeLine(world.stderr, USAGE);
      return EXIT.usage;
    }
    if (asked.help) {
      writeLine(world.stdout, USAGE);
      return EXIT.ok;
    }
    try {
      const configs = await Promise.all([asked.config, ...(asked.against === undefined ? [] : [asked.against])].map((name) => configOf(name, world)));
      const source = await sourceOf(asked, world);
      const [before, after] = configs.map((config, at) => simulateOne(config, source, world, configs.length > 1 ? `${at + 1} of 2: ` : ''));
      printComparison(before as SimulationReport, after, { asked, source, world });
      return EXIT.ok;
    } catch (cause) {
      if (cause instanceof MistakesError) for (const mistake of cause.mistakes) writeLine(world.stderr, formatError(mistake));
      else if (!(cause instanceof UnreadableFileError)) throw cause;
      writeLine(world.stderr, cause.message);
      return EXIT.failed;
    }
  },
};

/** What the command was called for. */
interface Asked {
  readonly help: boolean;
  readonly config: string;
  readonly against: string | undefined;
  readonly from: 'workload' | 'trace' | 'metrics';
  readonly file: string;
  readonly seed: number | undefined;
  readonly hold: Micros;
  readonly json: boolean;
}

/** Requests, and what to report about where they are from. */
interface Source {
  readonly requests: readonly SimulatedRequest[];
  readonly start: Instant;
  readonly notes: readonly string[];
}

/** A file with mistakes in it. */
class MistakesError extends Error {
  readonly mistakes: readonly ConfigError[];

  constructor(mistakes: readonly ConfigError[]) {
    super(mistakes.length === 1 ? '1 mistake' : `${mistakes.length} mistakes`);
    this.name = 'MistakesError';
    this.mistakes = mistakes;
  }
}

const OPTIONS = {
  against: { type: 'string' },
  workload: { type: 'string' },
  trace: { type: 'string' },
  metrics: { type: 'string' },
  seed: { type: 'string' },
  hold: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Returns what is wrong with the arguments as a sentence. */
function askedOf(args: readonly string[], { env }: CliContext): Asked | string {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
    const { against, json = false, help = false, seed = '', hold = '0' } = values;
    const sources = (['workload', 'trace', 'metrics'] as const).filter((name) => values[name] !== undefined);
    const [from = 'workload', ...others] = sources;
    const [config = env['SLUICE_CONFIG'] ?? 'sluice.yaml', ...more] = positionals;
    const held = parseDuration(hold);
    if (!help && (sources.length === 0 || others.length > 0)) return 'Name one of --workload, --trace and --metrics.';
    if (more.length > 0) return 'Name one configuration, and the other by --against.';
    if (!/^\d{0,9}$/.test(seed)) return '--seed is a whole number of at most nine digits.';
    if (held === undefined || held > LEASE_MAX) return '--hold is a duration of at most 7d, as in 1m30s.';
    if (values.hold !== undefined && from !== 'metrics') return '--hold is an option of --metrics: the others say it for each request.';
    if (values.seed !== undefined && from === 'trace') return '--seed is an option of --workload and --metrics: a trace is not drawn.';
    return { help, config, against, from, file: values[from] ?? '', seed: seed === '' ? undefined : Number(seed), hold: held, json };
  } catch (cause) {
    return (cause as Error).message;
  }
}

async function configOf(name: string, { env }: CliContext): Promise<Config> {
  const { bytes } = await readRegularFile(name, FILE_BYTES_MAX);
  const loaded = loadConfig({ text: Buffer.from(bytes).toString('utf8'), name, env, flags: [] });
  if (loaded.kind === 'mistakes') throw new MistakesError(loaded.mistakes);
  return loaded.config;
}

async function sourceOf(asked: Asked, world: CliContext): Promise<Source> {
  if (asked.from === 'trace') return traced(asked.file, world);
  const { bytes } = await readRegularFile(asked.file, asked.from === 'metrics' ? EXPORT_BYTES_MAX : FILE_BYTES_MAX);
  const text = Buffer.from(bytes).toString('utf8');
  if (asked.from === 'metrics') {
    const drawn = drawExported(text, { seed: asked.seed ?? 1, hold: asked.hold });
    if (typeof drawn === 'string') throw new UnreadableFileError(asked.file, drawn);
    return { requests: drawn.requests, start: drawn.startedAt as Instant, notes: [] };
  }
  const read = readWorkload(text, asked.file);
  if ('mistakes' in read) throw new MistakesError(read.mistakes);
  return { requests: drawRequests(asked.seed === undefined ? read.workload : { ...read.workload, seed: asked.seed }), start: MONDAY, notes: [] };
}

async function traced(file: string, { stdin, stderr, interactive }: CliContext): Promise<Source> {
  const { mistakes, report } = collectErrors();
  const reader = new TraceReader(file === '-' ? 'stdin' : file, report);
  try {
    if (file !== '-' && (await stat(file)).isDirectory()) throw new Error('it is a folder');
    let lines = 0;
    for await (const line of createInterface({ input: file === '-' ? stdin : createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
      if (!reader.take(line)) break;
      if (++lines % 100_000 === 0 && interactive) stderr.write(`\r${lines} lines read`);
    }
  } catch (cause) {
    throw new UnreadableFileError(file, (cause as Error).message);
  }
  if (mistakes.length > 0) throw new MistakesError(mistakes);
  const { requests, startedAt, skipped, open } = reader.finish();
  const notes = [
    ...(skipped > 0 ? [`${skipped} lines of the log are about something else`] : []),
    ...(open > 0 ? [`${open} leases had not ended with the log: they are held to its last line`] : []),
  ];
  return { requests, start: (startedAt ?? MONDAY) as Instant, notes };
}

function simulateOne({ groups }: Config, { requests, start }: Source, { stderr, interactive }: CliContext, label: string): SimulationReport {
  const progress = (came: number, of: number): void => void (interactive && stderr.write(`\r${label}${Math.floor((came / of) * 100)} % of ${of} requests`));
  const result = new Simulation(groups, start).run(requests, progress);
  if (interactive) stderr.write('\r\u001b[K');
  return reportOf(result);
}

function printComparison(
  before: SimulationReport,
  after: SimulationReport | undefined,
  { asked, source, world }: { asked: Asked; source: Source; world: CliContext },
): void {
  const { stdout, stderr } = world;
  if (asked.json) return writeLine(stdout, JSON.stringify(after === undefined ? before : { before, after }, undefined, 2));
  for (const note of source.notes) writeLine(stderr, `note: ${note}`);
  for (const [name, report] of [[asked.config, before] as const, ...(after === undefined ? [] : [[asked.against ?? '', after] as const])]) {
    const { arrived, admitted, refused, spanMs, unknownGroups } = report;
    writeLine(stdout, `${name}: ${arrived} requests in ${Math.round(spanMs / 1_000)} s: ${admitted} admitted, ${refused} refused`);
    for (const [group, count] of Object.entries(unknownGroups)) writeLine(stdout, `  ${count} for group ${group}, which is not in the file`);
  }
  for (const { head, rows } of [tableOf(before, after), limitTableOf(before, after)]) {
    writeLine(stdout, '');
    for (const line of tableLines(head, rows)) writeLine(stdout, line);
  }
}
