/**
 * B12: five times what a backend can do, then twice as many connections beside that, in an open loop: what still gets through,
 * how fast the others are refused, what memory it takes, and how soon it is over. `npm run bench -- overload`
 */
import { resolve } from 'node:path';
import type { Effort } from '../api/acquire.ts';
import { median, short, table } from '../lib/figures.ts';
import { cpuSeconds, LOAD_CPU, progress, residentBytes, runPinned } from '../lib/pinned.ts';
import { openLoop } from './generator.ts';
import type { PhaseFigures } from './plan.ts';
import { bareDispatch, haproxy, nginx, sluice, sluiceInMemory, startBackend, together, type Way } from './proxies.ts';

/** The backend: so many at once, so long each. */
const AT_ONCE = 20;
const SERVICE_MS = 20;
/** In front of it: a tenth of a second's work may wait. */
const QUEUE = 100;
const WAIT_MS = 500;
/** A caller's. */
const WAIT_TIMEOUT_MS = 1_000;
const TIMES = 5;
const BYTES = 1_000;
/** Twice the connections that the callers of the overload have. */
const STORM = 1_000;
const CONNECTIONS = 500;

interface Run {
  readonly phases: readonly PhaseFigures[];
  /** Part of the processor in each phase. */
  readonly busy: number;
  /** Megabytes resident: before the overload, at most, and at the end. */
  readonly memory: readonly [number, number, number];
}

/** Rounds of every way in turn, as a table. */
export async function overload(effort: Effort): Promise<string> {
  const backend = await startBackend(BYTES, SERVICE_MS, AT_ONCE);
  const task = { backend: backend.port, bound: { atOnce: AT_ONCE, queue: QUEUE, waitMs: WAIT_MS } };
  const up = await together([sluice, sluiceInMemory, haproxy, nginx, bareDispatch], task).catch(async (cause) => {
    await backend.process.stop();
    throw cause;
  });
  try {
    const peak = await peakOf(backend.port);
    const rounds = Math.min(3, effort.rounds);
    const found = new Map<Way, Run[]>(up.ways.map((way) => [way, []]));
    for (let round = 0; round < rounds; round++) {
      for (const way of round % 2 === 0 ? up.ways : up.ways.toReversed()) {
        const run = await one(way, peak, 2 * effort.seconds);
        found.get(way)?.push(run);
        progress(
          `  round ${round + 1}/${rounds} ${way.name}, ${Math.round(run.busy * 100)} % of its processor: ${run.phases.map(({ name, good, due, shed }) => `${name} ${good} + ${shed} of ${due}`).join(', ')}`,
        );
      }
    }
    const missing = up.missing.length === 0 ? '' : `\n\nNot installed, and so not measured: ${up.missing.join(', ')}.`;
    const intro = `The backend gives ${Math.round(peak)} answers a second to exactly ${AT_ONCE} callers (its peak). ${TIMES} times that, then the same with ${STORM} new connections each second:`;
    return `${intro}\n\n${overloadTable(found, peak)}${missing}`;
  } finally {
    await up.stop();
    await backend.process.stop();
  }
}

/** Answers a second that the backend gives to as many callers as it serves at once. */
async function peakOf(port: number): Promise<number> {
  const lua = resolve('bench/proxy/post.lua');
  const { out } = await runPinned(LOAD_CPU, ['wrk', '-t1', `-c${AT_ONCE}`, '-d3s', '-s', lua, `http://127.0.0.1:${port}/`, '--', String(BYTES)], 30);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(out)?.[1]);
}

async function one({ port, path, pids }: Way, peak: number, seconds: number): Promise<Run> {
  const samples: { at: number; bytes: number }[] = [];
  const sampler = setInterval(() => samples.push({ at: Date.now(), bytes: residentBytes(pids) }), 100);
  const cpu = cpuSeconds(pids);
  const began = performance.now();
  try {
    const phases = await openLoop({
      port,
      path,
      bytes: BYTES,
      connections: CONNECTIONS,
      connectionsMax: 6_000,
      waitTimeoutMs: WAIT_TIMEOUT_MS,
      phases: [
        // Compiled code for both answers first.
        { name: 'warm', perSecond: 2 * peak, seconds: 4, storm: 0 },
        { name: 'before', perSecond: peak / 2, seconds: 2, storm: 0 },
        { name: 'overload', perSecond: TIMES * peak, seconds, storm: 0 },
        { name: 'storm', perSecond: TIMES * peak, seconds, storm: STORM },
        { name: 'after', perSecond: peak / 2, seconds: 4, storm: 0 },
      ],
    });
    const busy = (cpuSeconds(pids) - cpu) / ((performance.now() - began) / 1_000);
    const until = named(phases, 'before').ended;
    const before = Math.max(...samples.filter(({ at }) => at <= until).map(({ bytes }) => bytes));
    const most = Math.max(...samples.map(({ bytes }) => bytes));
    return { phases, busy, memory: [before / 1e6, most / 1e6, residentBytes(pids) / 1e6] };
  } finally {
    clearInterval(sampler);
  }
}

function overloadTable(found: ReadonlyMap<Way, readonly Run[]>, peak: number): string {
  const rows = [...found].flatMap(([{ name }, runs]) =>
    (['overload', 'storm'] as const).map((phase) => {
      const of = (figure: (phase: PhaseFigures) => number): number => median(runs.map(({ phases }) => figure(named(phases, phase))));
      const others = runs.flatMap(({ phases }) => Object.entries(named(phases, phase).others));
      const memory = [0, 1, 2].map((which) => Math.round(median(runs.map((run) => run.memory[which] ?? Number.NaN))));
      const goods = runs.map(({ phases }) => ratio(named(phases, phase), peak));
      return [
        `${name}${phase === 'storm' ? ', storm' : ''}`,
        `${median(goods).toFixed(2)} (${Math.min(...goods).toFixed(2)}-${Math.max(...goods).toFixed(2)})`,
        `${short(of(({ goodMs }) => goodMs.p50))} / ${short(of(({ goodMs }) => goodMs.p99))}`,
        `${Math.round(of(({ shed, due }) => (shed / due) * 100))} %`,
        `${short(of(({ shedMs }) => shedMs.p50))} / ${short(of(({ shedMs }) => shedMs.p99))}`,
        String(of(({ shedWithoutRetryAfter }) => shedWithoutRetryAfter)),
        othersOf(others, runs.length),
        phase === 'storm' ? '' : memory.join(' / '),
        phase === 'storm' ? '' : wells(runs),
        `${short(of(({ lateMs }) => lateMs.p99))}`,
      ];
    }),
  );
  const head = ['way', 'goodput of the peak (range)', 'its p50 / p99 ms', 'refused', 'refusals p50 / p99 ms', 'without Retry-After', 'others'];
  return table([...head, 'MB before / most / after', 'well again after', 'sent late p99 ms'], rows);
}

function named(phases: readonly PhaseFigures[], name: string): PhaseFigures {
  const found = phases.find((phase) => phase.name === name);
  if (found === undefined) throw new Error(`The generator told of no phase ${name}.`);
  return found;
}

/** Answers in time, a second, of those that the backend can give. */
function ratio({ good, began, ended }: PhaseFigures, peak: number): number {
  return good / ((ended - began) / 1_000) / peak;
}

function othersOf(entries: readonly (readonly [what: string, count: number])[], runs: number): string {
  const sums = new Map<string, number>();
  for (const [what, count] of entries) sums.set(what, (sums.get(what) ?? 0) + count / runs);
  return sums.size === 0 ? '-' : [...sums].map(([what, count]) => `${Math.round(count)} ${what}`).join(', ');
}

function wells(runs: readonly Run[]): string {
  const all = runs.map(({ phases }) => named(phases, 'after').wellAfterMs);
  return all.map((ms) => (ms == null ? 'never' : `${(ms / 1_000).toFixed(1)} s`)).join(', ');
}
