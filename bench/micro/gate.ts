/**
 * B6: waiters in the core. Enqueue, grant and the timer of each, with 1 % cancels; the trap: most of the waiters blocked on
 * their keys, a few admissible, at the same cost; beside a simple 4-ary heap. `node --expose-gc bench/micro/gate.ts`
 */
import { spawnSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { Gate } from '../../src/core/gate/gate.ts';
import { type GroupSpec, type LimitSpec, ONE_REQUEST } from '../../src/core/group.ts';
import type { WaiterRef } from '../../src/core/request.ts';
import { DISTANT_PAST, type Instant, MINUTE, NEVER, SECOND } from '../../src/core/time.ts';
import { median, short, spread, table, threadMs } from '../lib/figures.ts';
import { machineLine, progress } from '../lib/pinned.ts';
import { type Simple, SimpleQueue } from './heap.ts';

/** What one run came to. */
export interface Run {
  /** Nanoseconds a waiter: all of it, and its halves. */
  readonly ns: number;
  readonly enqueueNs: number;
  readonly grantNs: number;
  readonly bytes: number;
  /** Longest single step, in microseconds, collections of garbage included. */
  readonly worstUs: number;
  /** 99.99 % of the steps took no longer, in microseconds. */
  readonly mostUs: number;
}

const TAG = { high: 1, low: 2 };
const START = 1_700_000_000_000_000 as Instant;
const RATE = 10_000;

function gateOf(name: string, limit: Pick<LimitSpec, 'scope' | 'quota'>): Gate {
  const backlog = { requests: 2_000_000, bytes: 1e12, perKey: 2_000_000, keys: 2_000_000, wait: undefined, onFull: 'leastUrgent' as const };
  const limits: readonly LimitSpec[] = [{ name: 'limit', unit: 'requests', keys: new Map(), ...limit }];
  const group: GroupSpec = {
    name,
    limits,
    parent: undefined,
    enforce: true,
    settleMax: 10,
    backlog,
    aging: undefined,
    fairness: { by: 'key', weights: new Map() },
  };
  return new Gate({ term: 1n, groups: [group], from: DISTANT_PAST, recording: false, restored: undefined });
}

/** One step on its own is timed only where `steps` is given: the clock costs as much as a step. */
class Steps {
  readonly #took: Float64Array;
  #count = 0;

  constructor(count: number) {
    this.#took = new Float64Array(count);
  }

  run<T>(step: () => T): T {
    const began = performance.now();
    const made = step();
    this.#took[this.#count++] = performance.now() - began;
    return made;
  }

  get worstUs(): number {
    return this.#took.reduce((most, each) => Math.max(most, each), 0) * 1_000;
  }

  get mostUs(): number {
    const sorted = this.#took.subarray(0, this.#count).sort();
    return (sorted[Math.floor(sorted.length * 0.9999)] ?? 0) * 1_000;
  }
}

/**
 * `groups` gates, each with a rate that is used up; then waiters of three priorities, round robin; 1 % leave; then time, in
 * which each gate admits one at a time, all gates in turn as their timers would come.
 */
export function waiters(count: number, groups: number, timed = false): Run {
  const quota = { kind: 'rate', permits: RATE, per: SECOND, burst: 1 } as const;
  const gates = Array.from({ length: groups }, (_, at) => gateOf(`g${at}`, { scope: 'group', quota }));
  const leavers: { gate: Gate; ref: WaiterRef }[] = [];
  const steps = new Steps(timed ? 2.2 * count : 0);
  const step = timed ? <T>(run: () => T): T => steps.run(run) : <T>(run: () => T): T => run();
  const before = memory();
  const began = threadMs();
  for (let at = 0; at < count; at++) {
    const gate = gates[at % groups] as Gate;
    const waitUntil = (START + 10 * MINUTE + (at % 977) * 1_000) as Instant;
    const ref = step(() => {
      const made = gate.acquire(START, {
        group: 0,
        key: '',
        priority: at % 3,
        costs: ONE_REQUEST,
        waitUntil,
        lease: 0,
        bytes: 0,
        holder: '',
        tag: TAG,
        token: at,
      });
      gate.takeEvents();
      return made;
    });
    if (at % 100 === 99) leavers.push({ gate, ref });
  }
  const queued = threadMs();
  const held = memory() - before;
  const resumed = threadMs();
  for (const { gate, ref } of leavers) step(() => gate.cancel(START, ref));
  let granted = groups;
  let busy = gates.map((gate) => ({ gate, now: gate.wakeAt(START) })).filter(({ now }) => now !== NEVER);
  while (busy.length > 0) {
    for (const each of busy) {
      step(() => {
        each.gate.tick(each.now);
        for (const event of each.gate.takeEvents()) if (event.kind === 'admitted') granted++;
        each.now = each.gate.wakeAt(each.now);
      });
    }
    busy = busy.filter(({ now }) => now !== NEVER);
  }
  const done = threadMs();
  if (granted < count * 0.985) throw new Error(`only ${granted} of ${count} were admitted`);
  const per = (ms: number): number => (ms / count) * 1e6;
  return {
    ns: per(queued - began + done - resumed),
    enqueueNs: per(queued - began),
    grantNs: per(done - resumed),
    bytes: held / count,
    worstUs: timed ? steps.worstUs : 0,
    mostUs: timed ? steps.mostUs : 0,
  };
}

/** `blocked` waiters of 100 busy keys in front, and `free` ones whose keys are free: enqueued behind them and granted when their group is resumed. */
export function trap(blocked: number, free: number): Run {
  const gate = gateOf('trap', { scope: 'key', quota: { kind: 'spacing', spacing: 60 * MINUTE, slack: 0 } });
  const ask = (key: string): void => {
    gate.acquire(START, {
      group: 0,
      key,
      priority: 1,
      costs: ONE_REQUEST,
      waitUntil: (START + 30 * MINUTE) as Instant,
      lease: 0,
      bytes: 0,
      holder: '',
      tag: TAG,
      token: key,
    });
    gate.takeEvents();
  };
  for (let at = 0; at < blocked; at++) ask(`busy${at % 100}`);
  const names = Array.from({ length: free }, (_, at) => `free${at}`);
  memory();
  gate.pause(START, 0, (START + MINUTE) as Instant);
  const began = threadMs();
  for (const name of names) ask(name);
  const queued = threadMs();
  let granted = 0;
  gate.resume(START, 0);
  let now: Instant = START;
  while (granted < free) {
    for (const event of gate.takeEvents()) if (event.kind === 'admitted') granted++;
    if (granted === free) break;
    now = gate.wakeAt(now);
    if (now > START) throw new Error(`only ${granted} of ${free} were admitted`);
    gate.tick(now);
  }
  const done = threadMs();
  const per = (ms: number): number => (ms / free) * 1e6;
  return { ns: per(done - began), enqueueNs: per(queued - began), grantNs: per(done - queued), bytes: 0, worstUs: 0, mostUs: 0 };
}

/** The same waiters in a simple queue, which knows no limits: its grants are bare pops. */
export function simple(count: number): Run {
  const queue = new SimpleQueue();
  const leavers: Simple[] = [];
  const before = memory();
  const began = threadMs();
  for (let at = 0; at < count; at++) {
    const waiter = queue.acquire(at % 3, START + 10 * MINUTE + (at % 977) * 1_000, at);
    if (at % 100 === 99) leavers.push(waiter);
  }
  const queued = threadMs();
  const bytes = (memory() - before) / count;
  const resumed = threadMs();
  for (const waiter of leavers) waiter.gone = true;
  for (let at = 0; at < count - leavers.length; at++) queue.grant(START + at);
  const done = threadMs();
  const per = (ms: number): number => (ms / count) * 1e6;
  return { ns: per(queued - began + done - resumed), enqueueNs: per(queued - began), grantNs: per(done - resumed), bytes, worstUs: 0, mostUs: 0 };
}

/** After a collection, so that only what is held counts. */
function memory(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const CASES: readonly (readonly [name: string, run: string])[] = [
  ['gate, 1k waiters, 10 groups', 'waiters 1000 10'],
  ['gate, 10k waiters, 100 groups', 'waiters 10000 100'],
  ['gate, 100k waiters, 1k groups', 'waiters 100000 1000'],
  ['gate, 1M waiters, 10k groups', 'waiters 1000000 10000'],
  ['gate, 10k waiters, 1 group', 'waiters 10000 1'],
  ['gate, 100k waiters, 1 group', 'waiters 100000 1'],
  ['gate, 1M waiters, 1 group', 'waiters 1000000 1'],
  ['trap: 10k admissible, nobody blocked', 'trap 100 10000'],
  ['trap: 10k admissible behind 990k blocked', 'trap 990000 10000'],
  ['simple 4-ary heaps, 10k', 'simple 10000'],
  ['simple 4-ary heaps, 1M', 'simple 1000000'],
];

function runOf(kind: string, a: number, b: number, timed = false): Run {
  if (kind === 'waiters') return waiters(a, b, timed);
  return kind === 'trap' ? trap(a, b) : simple(a);
}

/** Every case, each run in a process of its own that is warm; a table in Markdown. */
export function gateTable(runs: number): string {
  const rows = CASES.map(([name, words]) => {
    const found = Array.from({ length: runs }, (_, run) => {
      const args = ['--expose-gc', '--max-old-space-size=8192', import.meta.filename, 'one', ...words.split(' '), run === runs - 1 ? 'timed' : 'whole'];
      const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`${words}: ${stderr}`);
      return JSON.parse(stdout) as Run;
    });
    // The last run timed each step, which costs too much for it to count among the others.
    const whole = found.slice(0, -1);
    const { median: middle, least, most } = spread(whole.map(({ ns }) => ns));
    progress(`  ${name}: ${short(middle)} ns`);
    const half = (pick: (run: Run) => number): string => short(median(whole.map(pick)));
    const bytes = median(whole.map((run) => run.bytes));
    const last = found.at(-1) as Run;
    return [
      name,
      `${short(middle)} (${short(least)}-${short(most)})`,
      half(({ enqueueNs }) => enqueueNs),
      half(({ grantNs }) => grantNs),
      bytes === 0 ? '-' : short(bytes),
      last.worstUs === 0 ? '-' : `${short(last.mostUs)} / ${short(last.worstUs)}`,
    ];
  });
  return table(
    ['case', 'ns of processor time a waiter: enqueue + timer + grant, median (range)', 'enqueue', 'grant', 'bytes', 'step p99.99 / worst, us'],
    rows,
  );
}

if (import.meta.main) {
  const [one, kind = '', a = '0', b = '0', timed] = process.argv.slice(2);
  if (one === 'one') {
    // The same code, warm, as in a server that has run for a while.
    for (let warm = 0; warm < 3; warm++) runOf(kind, Math.min(Number(a), 30_000), Math.min(Number(b), 300));
    // Small ones until there is something to measure.
    const runs = Array.from({ length: kind === 'trap' ? 1 : Math.max(1, Math.ceil(300_000 / Number(a))) }, () =>
      runOf(kind, Number(a), Number(b), timed === 'timed'),
    );
    // A mean: the kernel counts in steps of milliseconds.
    const middle = (pick: (run: Run) => number): number => runs.reduce((sum, run) => sum + pick(run), 0) / runs.length;
    const { worstUs, mostUs } = runs.at(-1) as Run;
    const whole: Run = {
      ns: middle(({ ns }) => ns),
      enqueueNs: middle((run) => run.enqueueNs),
      grantNs: middle((run) => run.grantNs),
      bytes: middle(({ bytes }) => bytes),
      worstUs,
      mostUs,
    };
    process.stdout.write(JSON.stringify(whole));
  } else process.stdout.write(`${machineLine()}\n\n${gateTable(Number(one ?? 8))}\n`);
}
