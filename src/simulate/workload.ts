import { type ConfigError, collectErrors, ValueError } from '../config/errors.ts';
import { className, groupName } from '../config/group-options.ts';
import { permitsPer } from '../config/limit-scalars.ts';
import { decimal, duration, integer, keyName, oneOf } from '../config/scalars.ts';
import { dictionary, list, option, optional, type ReportAt, refine, required, struct, type Unverified, type ValueOf } from '../config/schema.ts';
import type { SourceValue } from '../config/source-value.ts';
import { parseYaml } from '../config/yaml.ts';
import { LEASE_MAX, TTL_MAX, UNITS_MAX } from '../core/bounds.ts';
import { type Costs, ONE_REQUEST } from '../core/group.ts';
import { DAY, MILLISECOND, type Micros } from '../core/time.ts';
import { exponential, logNormal, type Random, seededRandom, zipf } from './random.ts';
import { REQUESTS_MAX, type SimulatedRequest } from './simulated-request.ts';

const CALLERS_MAX = 1_000;
const KEYS_MAX = 1_000_000;

const span = struct(
  {
    median: required(duration({ min: 0, max: LEASE_MAX }), 'Half take at most this.'),
    p99: optional(duration({ min: 0, max: LEASE_MAX }), '99 of 100 take at most this, drawn from a log-normal distribution.', 'all take `median`'),
  },
  { short: 'median' },
);

const cost = struct(
  {
    median: required(integer({ min: 0, max: UNITS_MAX }), 'Half cost at most this.'),
    p99: optional(integer({ min: 0, max: UNITS_MAX }), '99 of 100 cost at most this, drawn from a log-normal distribution.', 'all cost `median`'),
  },
  { short: 'median' },
);

const unitCosts = dictionary(cost, {
  noun: 'unit',
  names: /^(?!constructor$)[a-z][a-z0-9_-]{0,63}$/,
  namesMax: 32,
  rule: 'Lower-case letters, digits, "_" and "-", a letter first, at most 64.',
});

const callers = struct({
  group: required(groupName, 'The group that they ask.'),
  arrivals: required(permitsPer(false), 'How many come in a time, on average: `50/s` is written `50/1s`.'),
  pattern: option(
    oneOf('poisson', 'even', 'bursts'),
    'poisson',
    'poisson: independent of each other. even: at equal distances. bursts: `burst` of them at once.',
  ),
  burst: option(integer({ min: 1, max: 100_000 }), 10, 'Callers that come at once, with pattern `bursts`.'),
  from: option(duration({ min: 0, max: 30 * DAY }), 0, 'When they begin to come, from the start.'),
  until: optional(duration({ min: 0, max: 30 * DAY }), 'When they stop to come, from the start.', 'the duration'),
  key: optional(keyName, 'The one key of them all.', 'no key, or `keys`'),
  keys: optional(integer({ min: 1, max: KEYS_MAX }), 'As many keys, named k1, k2, ..., drawn for each caller.', 'no key, or `key`'),
  skew: option(decimal({ min: 0, max: 10 }), 0, "Exponent of Zipf's law by which `keys` are drawn; 0: all alike."),
  class: optional(className, 'Their class of priority.', "the group's default"),
  costs: optional(unitCosts, 'What each asks for, by unit.', 'one request'),
  hold: option(span, 0, 'How long a lease is held.'),
  ttl: optional(duration({ min: 0, max: TTL_MAX }), 'How long each waits at most.', "the group's `ttl.default`"),
});

const workloadOptions = struct({
  seed: option(integer({ min: 0, max: 2 ** 31 - 1 }), 1, 'The same seed draws the same requests.'),
  duration: required(duration({ min: MILLISECOND, max: 30 * DAY }), 'How long callers come.'),
  callers: required(list(refine(callers, checkCallers), CALLERS_MAX), 'Kinds of callers.'),
});

/** Requests that are drawn, not recorded. */
export type Workload = ValueOf<typeof workloadOptions>;
type Callers = ValueOf<typeof callers>;

function checkCallers(value: Unverified<Callers>, report: ReportAt): void {
  if (value.key !== undefined && value.keys !== undefined) report(['keys'], new ValueError('key and keys exclude each other', 'Remove one of them.'));
}

/** Reads a workload; every mistake is reported with its place. */
export function readWorkload(text: string, name: string): { readonly workload: Workload } | { readonly mistakes: readonly ConfigError[] } {
  const { mistakes, report } = collectErrors();
  const raw: SourceValue | undefined = parseYaml(text, name, report);
  const workload = raw && workloadOptions.read(raw, [], report);
  if (raw === undefined || workload === undefined || mistakes.length > 0) return { mistakes };
  const expected = workload.callers.reduce((sum, each) => sum + expectedOf(each, workload.duration), 0);
  if (expected > REQUESTS_MAX) {
    const fault = new ValueError(
      `these are about ${Math.round(expected)} requests`,
      `At most ${REQUESTS_MAX} are drawn: take a shorter duration or fewer arrivals.`,
    );
    report(raw.where, ['callers'], fault);
    return { mistakes };
  }
  return { workload };
}

function expectedOf({ arrivals, from, until }: Callers, total: Micros): number {
  return arrivals.per === 'month' ? 0 : (Math.max(0, Math.min(until ?? total, total) - from) / arrivals.per) * arrivals.permits;
}

/** Draws the requests, in order of time; requests of the same moment stand in the order of the file. */
export function drawRequests({ seed, duration: total, callers: kinds }: Workload): readonly SimulatedRequest[] {
  const drawn = kinds.flatMap((kind, at) => drawKind(kind, total, seededRandom(seed + at * 7_919)));
  return drawn.sort((a, b) => a.at - b.at);
}

function drawKind(kind: Callers, total: Micros, random: Random): SimulatedRequest[] {
  const { arrivals, pattern, burst, from, until = total, group, ttl } = kind;
  if (arrivals.per === 'month') return [];
  const mean = arrivals.per / arrivals.permits;
  const keyOf = keySource(kind);
  const requests: SimulatedRequest[] = [];
  const size = pattern === 'bursts' ? burst : 1;
  const end = Math.min(until, total);
  for (let at = from + (pattern === 'poisson' ? exponential(random, mean) : 0); at < end; ) {
    for (let i = 0; i < size; i++) {
      requests.push({
        at: Math.round(at),
        group,
        key: keyOf(random),
        priority: kind.class,
        costs: drawCosts(kind.costs, random),
        wait: ttl,
        hold: Math.round(draw(kind.hold, random)),
        settled: undefined,
      });
    }
    at += pattern === 'poisson' ? exponential(random, mean) : mean * size;
  }
  return requests;
}

function keySource({ key = '', keys, skew }: Callers): (random: Random) => string {
  if (keys === undefined) return () => key;
  const drawKey = zipf(keys, skew);
  const names = Array.from({ length: keys }, (_, i) => `k${i + 1}`);
  return (random) => names[drawKey(random)] as string;
}

function draw({ median, p99 }: { readonly median: number; readonly p99?: number | undefined }, random: Random): number {
  return p99 === undefined || p99 <= median || median === 0 ? median : logNormal(random, median, p99);
}

function drawCosts(costs: Callers['costs'], random: Random): Costs {
  if (costs === undefined) return ONE_REQUEST;
  const drawn: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const [unit, each] of costs) drawn[unit] = Math.min(UNITS_MAX, Math.round(draw(each, random)));
  return drawn;
}
