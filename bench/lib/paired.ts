import { median, type Spread, short, spread, table } from './figures.ts';
import { cpuSeconds, LOAD_CPU, progress, runPinned } from './pinned.ts';

/** A server that is up. */
export interface Target {
  readonly name: string;
  /** All processes that serve. */
  readonly pids: readonly number[];
  /** The command that loads it for so many seconds. */
  readonly load: (seconds: number) => readonly string[];
}

/** What one round of one target came to. */
interface Round {
  readonly cpuMicros: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of its processor. */
  readonly generator: number;
}

/** What all rounds of one target came to. */
export interface Paired {
  readonly name: string;
  readonly cpuMicros: Spread;
  readonly perSecond: number;
  /** Answers a second over those of the base in the same round. */
  readonly rate: Spread;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly generator: number;
  /** Server CPU per request over that of the base in the same round. */
  readonly ratio: Spread;
}

/**
 * Loads all targets in turn, round after round, in reversed order every other round; the first is the base of the ratios. A
 * closed loop: wall figures are peaks, latencies those at the peak.
 */
export async function paired(
  targets: readonly Target[],
  { rounds, seconds, warm }: { rounds: number; seconds: number; warm: number },
): Promise<readonly Paired[]> {
  const found = new Map<string, Round[]>(targets.map(({ name }) => [name, []]));
  for (const target of targets) await one(target, warm);
  for (let round = 0; round < rounds; round++) {
    for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
      const figures = await one(target, seconds);
      found.get(target.name)?.push(figures);
      progress(
        `  round ${round + 1}/${rounds} ${target.name}: ${short(figures.cpuMicros)} us/req, ${Math.round(figures.perSecond)} req/s, generator ${Math.round(figures.generator * 100)} %`,
      );
    }
  }
  const [base] = found.values();
  return [...found].map(([name, all]) => ({
    name,
    cpuMicros: spread(all.map(({ cpuMicros }) => cpuMicros)),
    perSecond: median(all.map(({ perSecond }) => perSecond)),
    rate: spread(all.map(({ perSecond }, round) => perSecond / (base?.[round]?.perSecond ?? Number.NaN))),
    p50Ms: median(all.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
    generator: median(all.map(({ generator }) => generator)),
    ratio: spread(all.map(({ cpuMicros }, round) => cpuMicros / (base?.[round]?.cpuMicros ?? Number.NaN))),
  }));
}

/** The rounds as a table in Markdown. */
export function pairedTable(rows: readonly Paired[]): string {
  return table(
    ['server', 'server CPU us/req, median (range)', 'ratio to the first: median (95 %; range)', 'req/s', 'p50 / p99 ms (h2load: mean / max)', 'generator'],
    rows.map(({ name, cpuMicros, ratio, perSecond, p50Ms, p99Ms, generator }) => [
      name,
      `${short(cpuMicros.median)} (${short(cpuMicros.least)}-${short(cpuMicros.most)})`,
      `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)}; ${ratio.least.toFixed(2)}-${ratio.most.toFixed(2)})`,
      String(Math.round(perSecond)),
      `${short(p50Ms)} / ${short(p99Ms)}`,
      `${Math.round(generator * 100)} %`,
    ]),
  );
}

async function one(target: Target, seconds: number): Promise<Round> {
  const before = cpuSeconds(target.pids);
  const began = performance.now();
  const { out, cpuSeconds: own } = await runPinned(LOAD_CPU, target.load(seconds), seconds + 20);
  const took = (performance.now() - began) / 1_000;
  const spent = cpuSeconds(target.pids) - before;
  const { requests, perSecond, p50Ms, p99Ms } = figuresOf(out);
  return { cpuMicros: (spent / requests) * 1e6, perSecond, p50Ms, p99Ms, generator: own / took };
}

/** What wrk or h2load said. Answers that are no success end the run: a refusal is cheaper than a permit. */
export function figuresOf(out: string): { requests: number; perSecond: number; p50Ms: number; p99Ms: number } {
  if (/Non-2xx|Socket errors/.test(out)) throw new Error(`wrk had answers that count for nothing:\n${out}`);
  const wrk = /(\d+) requests in [\d.]+s/.exec(out);
  if (wrk !== null) {
    return {
      requests: Number(wrk[1]),
      perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)?.[1]),
      p50Ms: milliseconds(/50%\s+(\S+)/.exec(out)?.[1]),
      p99Ms: milliseconds(/99%\s+(\S+)/.exec(out)?.[1]),
    };
  }
  const h2load = /requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed/.exec(out);
  if (h2load === null) throw new Error(`No figures in:\n${out}`);
  if (h2load[2] !== h2load[3] || h2load[4] !== '0') throw new Error(`h2load had answers that count for nothing:\n${out}`);
  const mean = milliseconds(/time for request:\s+\S+\s+\S+\s+(\S+)/.exec(out)?.[1]);
  return {
    requests: Number(h2load[3]),
    perSecond: Number(/([\d.]+) req\/s/.exec(out)?.[1]),
    p50Ms: mean,
    p99Ms: milliseconds(/time for request:\s+\S+\s+(\S+)/.exec(out)?.[1]),
  };
}

function milliseconds(text = ''): number {
  const [, figure, unit] = /^([\d.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(figure) * (unit === 'us' ? 1e-3 : unit === 's' ? 1_000 : 1);
}
