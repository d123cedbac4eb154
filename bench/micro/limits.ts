/**
 * B7: nanoseconds of one decision of each limit, one limit instance, 1k and 1M keys in random order, by index and by string; beside
 * rate-limiter-flexible and limiter (`npm ci` in bench/peers) and the governor crate (cargo in bench/peers/governor).
 * `node --expose-gc bench/micro/limits.ts`
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { Gate } from '../../src/core/gate/gate.ts';
import { ONE_REQUEST, type Quota } from '../../src/core/group.ts';
import { createLimit } from '../../src/core/limits/create-limit.ts';
import type { Limit } from '../../src/core/limits/limit.ts';
import { DISTANT_PAST, HOUR, type Instant, SECOND } from '../../src/core/time.ts';
import { PACKAGES } from '../api/peers.ts';
import { median, short, spread, table, threadMs, xorshift } from '../lib/figures.ts';
import { machineLine, progress } from '../lib/pinned.ts';

const START = 1_700_000_000_000_000 as Instant;
const SIZES = [1, 1_000, 1_000_000] as const;
const DECISIONS = 2_000_000;

const QUOTAS: Readonly<Record<string, Quota>> = {
  'rate (GCRA)': { kind: 'rate', permits: 1e9, per: SECOND, burst: 1e9 },
  spacing: { kind: 'spacing', spacing: 1, slack: 0 },
  'rolling window': { kind: 'window', permits: 1e9, per: SECOND },
  'fixed window': { kind: 'fixed', permits: 1e9, per: HOUR, align: 'epoch', day: 1, time: 0, timezone: 'UTC', spill: 0 },
  'calendar month': { kind: 'fixed', permits: 1e9, per: 'month', align: 'calendar', day: 1, time: 0, timezone: 'Europe/Berlin', spill: 0 },
  concurrency: { kind: 'concurrency', max: 1e9 },
};

/** Picks made before, so that picking is not measured. */
function picks(keys: number): Uint32Array {
  const next = xorshift(88_172_645);
  return Uint32Array.from({ length: 1 << 20 }, () => next() % keys);
}

/** Ask and charge, as an admission does; the clock moves 1 us every time. Concurrency gives back too. */
function decide(limit: Limit, now: Instant, concurrency: boolean): boolean {
  if (limit.readyAt(now, 1) > now) return false;
  limit.take(now, 1);
  if (concurrency) limit.refund(now, now, 1);
  return true;
}

/** Nanoseconds a decision. */
function ofLimit(name: string, keys: number, byName: boolean): number {
  const quota = QUOTAS[name] as Quota;
  const limits = Array.from({ length: keys }, () => createLimit(quota));
  const table = new Map(limits.map((limit, at) => [`key-${at}`, limit]));
  const names = limits.map((_, at) => `key-${at}`);
  const order = picks(keys);
  const concurrency = quota.kind === 'concurrency';
  let passed = 0;
  return timed(
    keys,
    (at) => {
      const pick = order[at & (order.length - 1)] as number;
      const limit = byName ? (table.get(names[pick] as string) as Limit) : (limits[pick] as Limit);
      if (decide(limit, (START + at) as Instant, concurrency)) passed++;
    },
    () => passed,
  );
}

/** Nanoseconds of a whole ask through the gate whose slot is free: key looked up, order, events and all. */
function ofGate(keys: number): number {
  const rate = { name: 'rate', unit: 'requests', scope: 'key', quota: QUOTAS['rate (GCRA)'] as Quota, keys: new Map() } as const;
  const backlog = { requests: 10, bytes: 1e12, perKey: 10, keys: 2_000_000, wait: undefined, onFull: 'leastUrgent' as const };
  const group = {
    name: 'g',
    limits: [rate],
    parent: undefined,
    enforce: true,
    settleMax: 10,
    backlog,
    aging: undefined,
    fairness: { by: 'key', weights: new Map() },
  } as const;
  const gate = new Gate({ term: 1n, groups: [group], from: DISTANT_PAST, recording: false, restored: undefined });
  const names = Array.from({ length: keys }, (_, at) => `key-${at}`);
  const order = picks(keys);
  let passed = 0;
  const ask = (key: string, now: Instant): void => {
    gate.acquire(now, {
      group: 0,
      key,
      priority: 1,
      costs: ONE_REQUEST,
      waitUntil: now,
      lease: 0,
      bytes: 0,
      holder: '',
      tag: { high: 1, low: 2 },
      token: undefined,
    });
    for (const event of gate.takeEvents()) if (event.kind === 'admitted') passed++;
    gate.wakeAt(now);
  };
  return timed(
    keys,
    (at) => ask(names[order[at & (order.length - 1)] as number] as string, (START + at) as Instant),
    () => passed,
  );
}

/** The second of two equal runs. */
function timed(keys: number, one: (at: number) => void, passed: () => number): number {
  const count = Math.max(DECISIONS, keys);
  for (let at = 0; at < count; at++) one(at);
  const before = passed();
  const began = threadMs();
  for (let at = count; at < 2 * count; at++) one(at);
  const ns = ((threadMs() - began) / count) * 1e6;
  if (passed() - before < count * 0.9) throw new Error(`only ${passed() - before} of ${count} passed`);
  return ns;
}

/** What is used of the packages. */
interface Flexible {
  consume(key: string, points: number): Promise<unknown>;
}
interface Bucket {
  tryRemoveTokens(count: number): boolean;
}

async function ofFlexible(keys: number): Promise<number> {
  const { RateLimiterMemory } = createRequire(join(PACKAGES, 'x.js'))('rate-limiter-flexible') as { RateLimiterMemory: new (options: object) => Flexible };
  const limiter = new RateLimiterMemory({ points: 1e9, duration: 3_600 });
  const names = Array.from({ length: keys }, (_, at) => `key-${at}`);
  for (const name of names) await limiter.consume(name, 1);
  const order = picks(keys);
  const count = 500_000;
  const began = threadMs();
  for (let at = 0; at < count; at++) await limiter.consume(names[order[at] as number] as string, 1);
  return ((threadMs() - began) / count) * 1e6;
}

async function ofBuckets(keys: number): Promise<number> {
  const loaded = (await import(join(PACKAGES, 'limiter/dist/esm/index.js')).catch(() => createRequire(join(PACKAGES, 'x.js'))('limiter'))) as {
    RateLimiter: new (options: object) => Bucket;
  };
  const names = Array.from({ length: keys }, (_, at) => `key-${at}`);
  const buckets = new Map(names.map((name) => [name, new loaded.RateLimiter({ tokensPerInterval: 1e9, interval: 'second' })]));
  const order = picks(keys);
  let passed = 0;
  return timed(
    keys,
    (at) => {
      if (buckets.get(names[order[at & (order.length - 1)] as number] as string)?.tryRemoveTokens(1)) passed++;
    },
    () => passed,
  );
}

async function one(what: string, keys: number): Promise<number> {
  if (what === 'gate') return ofGate(keys);
  if (what === 'rate-limiter-flexible') return ofFlexible(keys);
  if (what === 'limiter') return ofBuckets(keys);
  const [name = '', how] = what.split('/');
  return ofLimit(name, keys, how === 'named');
}

/** governor, built where cargo is. Rows as of this table; none where it cannot be built. */
function governor(): readonly string[][] {
  const folder = resolve('bench/peers/governor');
  const target = resolve('.cache/governor');
  const built = spawnSync('cargo', ['build', '--release', '--quiet', '--locked', '--manifest-path', join(folder, 'Cargo.toml'), '--target-dir', target], {
    encoding: 'utf8',
  });
  if (built.status !== 0) {
    progress(`left out, for it does not build: governor (${built.error?.message ?? built.stderr.trim().split('\n')[0]})`);
    return [];
  }
  const { stdout } = spawnSync(join(target, 'release/governor-bench'), { encoding: 'utf8' });
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { direct: number; keys1k: number; keys1M: number });
  const instance = (pick: (line: (typeof lines)[number]) => number): string => figure(lines.map(pick));
  return [
    [
      'governor 0.10 (Rust, keyed, its own clock), by string',
      instance(({ direct }) => direct),
      instance(({ keys1k }) => keys1k),
      instance(({ keys1M }) => keys1M),
    ],
  ];
}

function figure(all: readonly number[]): string {
  const { least, most } = spread(all);
  return `${short(median(all))} (${short(least)}-${short(most)})`;
}

/** Every limit and peer; a table in Markdown. */
export function limitsTable(runs: number): string {
  const rows: [string, string][] = [
    ...Object.keys(QUOTAS).map((name): [string, string] => [`${name}, by index`, `${name}/index`]),
    ['rate (GCRA), by string', 'rate (GCRA)/named'],
    ['concurrency, by string', 'concurrency/named'],
    ['a whole ask through the gate, by string', 'gate'],
  ];
  if (existsSync(PACKAGES))
    rows.push(['rate-limiter-flexible 11.4 (memory), by string', 'rate-limiter-flexible'], ['limiter 4.1 in a Map, by string', 'limiter']);
  else progress('left out, for they are not installed (npm ci in bench/peers): rate-limiter-flexible, limiter');
  const found = rows.map(([name, what]) => {
    const instances = SIZES.map((keys) => {
      const all = Array.from({ length: runs }, () => {
        const { stdout, stderr, status } = spawnSync(process.execPath, ['--expose-gc', import.meta.filename, 'one', what, String(keys)], { encoding: 'utf8' });
        if (status !== 0) throw new Error(`${what} ${keys}: ${stderr}`);
        return Number(stdout);
      });
      return figure(all);
    });
    progress(`  ${name}: ${instances.join(', ')}`);
    return [name, ...instances];
  });
  return table(['ns of processor time a decision, median (range)', '1 cell', '1k keys', '1M keys'], [...found, ...governor()]);
}

if (import.meta.main) {
  const [how, what = '', keys = '1'] = process.argv.slice(2);
  if (how === 'one') process.stdout.write(String(await one(what, Number(keys))));
  else process.stdout.write(`${machineLine()}\n\n${limitsTable(Number(how ?? 5))}\n`);
}
