/**
 * Processor time and lateness of the clock alone: timers that are armed again for the next slot of a grid, by the thread that
 * sleeps, by the event loop that spins, and by `setTimeout` of whole milliseconds, which is what it costs to wake a loop at
 * all so many times a second. `node bench/micro/clock.ts`
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Instant, MILLISECOND, SECOND } from '../../src/core/time.ts';
import { createSystemClock, type SystemClock, type SystemClockOptions } from '../../src/platform/system-clock.ts';
import { openWakeThread } from '../../src/platform/wake-thread.ts';
import { median, quantile, short, spread, table } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';

/** How a clock waits. */
type Way = 'setTimeout' | 'spin' | 'thread';

const WAYS: readonly Way[] = ['setTimeout', 'spin', 'thread'];

/** Slots a second, over so many timers. */
const CASES: readonly { readonly rate: number; readonly timers: number }[] = [
  { rate: 100, timers: 1 },
  { rate: 1_000, timers: 1 },
  { rate: 10_000, timers: 10_000 },
];
const SECONDS = 3;

/** What one run came to. */
interface Run {
  /** Of one processor, all threads. */
  readonly cpu: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly slots: number;
  readonly early: number;
}

/** What arms timers: `at` and `now` of a clock. */
type Arming = Pick<SystemClock, 'at' | 'now' | 'stop'>;

function open(way: Way): Arming {
  const sources = { monotonic: process.hrtime.bigint, wall: Date.now, boot: '' };
  const openWaker: SystemClockOptions['openWaker'] = (called) => openWakeThread({ monotonic: sources.monotonic, ...called });
  const clock = createSystemClock({ sources, record: undefined, ...(way === 'thread' && { openWaker }) });
  if (way !== 'setTimeout') return clock;
  const at: Arming['at'] = (when, wake) => {
    const timer = setTimeout(wake, (when - clock.now()) / MILLISECOND);
    return () => clearTimeout(timer);
  };
  return { at, now: () => clock.now(), stop: () => clock.stop() };
}

/** Timers of one grid, each for every `timers`-th slot of it. */
async function measure(way: Way, rate: number, timers: number): Promise<Run> {
  const clock = open(way);
  const period = SECOND / rate;
  const start = clock.now() + SECOND / 2;
  const late: number[] = [];
  const arm = (slot: number): void => {
    const when = Math.round(start + slot * period) as Instant;
    clock.at(when, () => {
      const now = clock.now();
      late.push(now - when);
      // The next slot that has not passed.
      const passed = Math.floor((now - when) / (period * timers)) + 1;
      arm(slot + passed * timers);
    });
  };
  for (let timer = 0; timer < timers; timer++) arm(timer);
  await sleep(1_500);
  const before = late.length;
  const cpu = process.cpuUsage();
  const began = process.hrtime.bigint();
  await sleep(SECONDS * 1_000);
  const { user, system } = process.cpuUsage(cpu);
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const seen = late.slice(before);
  clock.stop();
  return {
    ...{ cpu: (user + system) / 1e6 / seconds, p50Micros: median(seen), p99Micros: quantile(seen, 0.99) },
    ...{ slots: seen.length / seconds / rate, early: seen.filter((one) => one < 0).length },
  };
}

/** Rounds of all ways in turn, each run in a process of its own. */
export function clockTable(rounds: number): string {
  const rows = CASES.flatMap(({ rate, timers }) => {
    const runs: Record<Way, Run[]> = { setTimeout: [], spin: [], thread: [] };
    for (let round = 0; round < rounds; round++) {
      for (const way of round % 2 === 0 ? WAYS : WAYS.toReversed()) {
        const run = inProcess(way, rate, timers);
        runs[way].push(run);
        progress(
          `  round ${round + 1}/${rounds} ${way} ${rate}/s: ${short(run.cpu * 100)} % of a processor, late p50 ${Math.round(run.p50Micros)} us, p99 ${Math.round(run.p99Micros)} us`,
        );
      }
    }
    return WAYS.map((way) => {
      const cpu = spread(runs[way].map((run) => run.cpu * 100));
      const of = (figure: (run: Run) => number): number => median(runs[way].map(figure));
      return [
        ...[`${rate} slots/s, ${timers} timer${timers > 1 ? 's' : ''}`, way, `${short(cpu.median)} (${short(cpu.least)}-${short(cpu.most)})`],
        ...[of((run) => run.p50Micros), of((run) => run.p99Micros)].map((micros) => short(micros / 1_000)),
        ...[`${short(of((run) => run.slots) * 100)} %`, String(runs[way].reduce((sum, run) => sum + run.early, 0))],
      ];
    });
  });
  return table(['load', 'clock', '% of a processor (range)', 'late p50, ms', 'late p99, ms', 'slots used', 'early'], rows);
}

function inProcess(way: Way, rate: number, timers: number): Run {
  const { status, stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, way, String(rate), String(timers)], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`the clock bench failed: ${stderr}`);
  return JSON.parse(stdout) as Run;
}

if (process.argv[1] === import.meta.filename) {
  const [way, rate, timers] = process.argv.slice(2);
  if (way === undefined) process.stdout.write(`${clockTable(3)}\n`);
  else process.stdout.write(`${JSON.stringify(await measure(way as Way, Number(rate), Number(timers)))}\n`, () => process.exit());
}
