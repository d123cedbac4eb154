import { findGaps, type Gap } from './gaps.ts';
import {
  type AskLine,
  type CheckedGroup,
  type CheckedLimit,
  type FaultLine,
  type HistoryLine,
  linesOf,
  type ReleaseLine,
  type TimedLimit,
  type TryLine,
} from './history.ts';

/*
 * The judge of a fault run. It knows no server, no shard and no clock of theirs: only when clients asked and when they were
 * answered (docs/design/coordination.md 5, "trusting nobody"). What it calls over is over; what it lets pass may still be.
 */

const SECOND = 1_000_000;

/** Clocks of the servers may run so much faster than the clients' (docs/design/coordination.md 2.6). */
const DRIFT = 1e-3;

/** Who stood in line this long before another asked goes first. */
const ORDER_SLACK = SECOND / 4;

/** After a fault order is as it was again within this. */
const SETTLED = 3 * SECOND;

/** What the checker found. */
export interface Verdict {
  /** Each a sentence; empty: nothing was over, doubled or out of line, nobody was forgotten, and all came back in time. */
  readonly violations: readonly string[];
  /** The longest first. */
  readonly gaps: readonly Gap[];
  /** How many were passed by somebody less urgent or later outside the faults' times: each is a violation too. */
  readonly inversions: number;
  /** How many refusals there were for each reason. */
  readonly refusals: ReadonlyMap<string, number>;
  /** How many tries came to nothing, for each way. */
  readonly tries: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  readonly admitted: number;
  readonly refused: number;
  readonly unknown: number;
  /** Longest time for which the machine stood still, in microseconds. */
  readonly stall: number;
}

/** Judges a whole history. Throws where it does not say what the servers were told. */
export function judge(lines: readonly HistoryLine[]): Verdict {
  const [told] = linesOf(lines, 'groups');
  if (told === undefined) throw new Error('The history says nothing of the groups.');
  const { groups } = told;
  const asks = linesOf(lines, 'ask');
  const tries = linesOf(lines, 'try');
  const faults = linesOf(lines, 'fault');
  const releases = new Map(linesOf(lines, 'release').map((line) => [line.permit, line]));
  const admitted = asks.filter((ask) => ask.outcome === 'admitted');
  const refused = asks.filter((ask) => ask.outcome === 'refused');
  const violations: string[] = [...doubled(admitted)];
  for (const group of groups) {
    const own = admitted.filter((ask) => belongs(groups, ask.group, group.name));
    for (const limit of group.limits) violations.push(...over(group.name, limit, own, releases));
    violations.push(...fenceRegressions(group.name, own));
  }
  const stalls = linesOf(lines, 'stall');
  const slowed = together([...stalls, ...linesOf(lines, 'lag')]);
  const passed = groups.flatMap(({ name }) => {
    const own = admitted.filter(({ group }) => group === name);
    return inversions(own, faults, slowed);
  });
  const gaps = [...findGaps(groups, lines)].sort((a, b) => b.counted - a.counted);
  violations.push(
    ...passed,
    ...forgotten(asks, tries, faults),
    ...turnedAway(asks, tries, faults),
    ...gaps.filter(({ counted, most }) => counted > most).map(lateness),
  );
  return {
    ...{ violations, gaps, inversions: passed.length, admitted: admitted.length, refused: refused.length },
    refusals: tally(refused.map(({ group, reason }) => `${group} ${reason}`)),
    tries: tally(tries.filter(({ end }) => end !== 'admitted').map(({ end }) => end)),
    faults: tally(faults.map(({ kind }) => kind)),
    unknown: asks.length - admitted.length - refused.length,
    stall: Math.max(0, ...stalls.map(({ from, until }) => until - from)),
  };
}

/** Whether a violation is of what no load of the machine can cause: over, doubled, a fence back. Not of lateness or order. */
export function isOfSafety(violation: string): boolean {
  return /permits within|leases held at|^permit .* went to|^ask .* got|: fence .* came after/.test(violation);
}

function tally(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function lateness({ group, from, until, counted, most, after }: Gap): string {
  const ms = (time: number) => Math.round(time / 1_000);
  return `${group}: nobody admitted for ${ms(counted)} ms of ${ms(until - from)} from ${from} on while somebody waited (${after}), where ${ms(most)} may be`;
}

function belongs(groups: readonly CheckedGroup[], name: string, to: string): boolean {
  for (let at: string | undefined = name; at !== undefined; at = groups.find((group) => group.name === at)?.parent) if (at === to) return true;
  return false;
}

/** A permit is one caller's; the same ask has one permit, however often it was repeated. */
function doubled(admitted: readonly AskLine[]): readonly string[] {
  const found: string[] = [];
  const byPermit = new Map<string, string>();
  const byAsk = new Map<string, string>();
  for (const { id, permit, fence } of admitted) {
    const name = permit === '' ? fence : permit;
    const owner = byPermit.get(name);
    if (owner !== undefined && owner !== id) found.push(`permit ${name} went to ${owner} and to ${id}`);
    byPermit.set(name, id);
    const before = byAsk.get(id);
    if (before !== undefined && before !== name) found.push(`ask ${id} got ${before} and ${name}`);
    byAsk.set(id, name);
  }
  return found;
}

function over(group: string, limit: CheckedLimit, own: readonly AskLine[], releases: ReadonlyMap<string, ReleaseLine>): readonly string[] {
  return limit.kind === 'concurrency' ? overHeld(group, limit.max, own, releases) : overTime(group, limit, own);
}

/** The most that may be granted wholly inside an interval of this length. */
function cap(limit: TimedLimit, length: number): number {
  const long = length * (1 + DRIFT);
  switch (limit.kind) {
    case 'window':
      return limit.permits * (Math.floor(long / limit.per) + 1);
    case 'rate':
      return limit.burst + Math.floor(long / limit.every);
    case 'spacing':
      return 1 + Math.floor(long / limit.every);
    case 'fixed':
      return limit.permits * (Math.ceil(long / limit.per) + 1);
  }
}

/** For every interval that begins with an asking and ends with an answer: those asked and answered inside were surely admitted inside. */
function overTime(group: string, limit: TimedLimit, own: readonly AskLine[]): readonly string[] {
  const byEnd = [...own].sort((a, b) => a.complete - b.complete);
  for (const { invoke: from } of own) {
    let inside = 0;
    for (const { invoke, complete } of byEnd) {
      if (invoke < from) continue;
      inside++;
      const most = cap(limit, complete - from);
      if (inside > most) return [`${group}: ${inside} permits within ${complete - from} us from ${from}, where ${limit.kind} allows ${most}`];
    }
  }
  return [];
}

/** Surely held: from when the holder knew of it until it gave it back, or until the lease can have lapsed. */
function overHeld(group: string, max: number, own: readonly AskLine[], releases: ReadonlyMap<string, ReleaseLine>): readonly string[] {
  const edges: { at: number; by: 1 | -1 }[] = [];
  for (const { permit, complete, invoke, lease } of own) {
    const until = Math.min(releases.get(permit)?.invoke ?? Number.POSITIVE_INFINITY, invoke + lease / (1 + DRIFT));
    if (until <= complete) continue;
    edges.push({ at: complete, by: 1 }, { at: until, by: -1 });
  }
  edges.sort((a, b) => a.at - b.at || a.by - b.by);
  let held = 0;
  for (const { at, by } of edges) {
    held += by;
    if (held > max) return [`${group}: ${held} leases held at ${at}, where ${max} may be`];
  }
  return [];
}

/** Who was answered before another asked has the smaller fence. */
function fenceRegressions(group: string, own: readonly AskLine[]): readonly string[] {
  const fenced = own.filter((ask) => ask.fence !== '').map((ask) => ({ ...ask, number: BigInt(ask.fence) }));
  const byEnd = [...fenced].sort((a, b) => a.complete - b.complete);
  const byStart = [...fenced].sort((a, b) => a.invoke - b.invoke);
  let largest = -1n;
  let next = 0;
  for (const ask of byStart) {
    for (let done = byEnd[next]; done !== undefined && done.complete < ask.invoke; done = byEnd[++next]) if (done.number > largest) largest = done.number;
    if (ask.number <= largest) return [`${group}: fence ${ask.number} came after ${largest}`];
  }
  return [];
}

/** Among those of one key that were admitted: who waited, and was passed by somebody less urgent, or no more urgent who came later. */
function inversions(admitted: readonly AskLine[], faults: readonly FaultLine[], stalls: readonly Span[]): readonly string[] {
  const calm = admitted.filter((ask) => !near(ask.invoke, ask.complete, faults)).sort((a, b) => a.invoke - b.invoke);
  // Where a replica or the whole machine was late, who was first at the owner may have asked or been told last.
  const before = (one: number, other: number) => one + ORDER_SLACK < other && one + ORDER_SLACK + stood(one, other, stalls) < other;
  const found: string[] = [];
  for (const first of calm) {
    for (const other of calm) {
      if (first.key !== other.key || !before(other.complete, first.complete) || !before(first.invoke, other.complete)) continue;
      const passed = other.priority > first.priority || (other.priority === first.priority && before(first.invoke, other.invoke));
      if (passed) found.push(`${first.group}: ${other.id} passed ${first.id}`);
    }
  }
  return found;
}

interface Span {
  readonly from: number;
  readonly until: number;
}

/** The same time, in spans that do not overlap. */
function together(spans: readonly Span[]): readonly Span[] {
  const joined: { from: number; until: number }[] = [];
  for (const { from, until } of [...spans].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last === undefined || from > last.until) joined.push({ from, until });
    else last.until = Math.max(last.until, until);
  }
  return joined;
}

function stood(from: number, until: number, stalls: readonly Span[]): number {
  return stalls.reduce((sum, stall) => sum + Math.max(0, Math.min(stall.until, until) - Math.max(stall.from, from)), 0);
}

function near(from: number, until: number, faults: readonly FaultLine[]): boolean {
  return faults.some((fault) => fault.from < until && from < fault.until + SETTLED);
}

/** Who asked and was never answered, at a replica that nothing was the matter with. */
function forgotten(asks: readonly AskLine[], tries: readonly TryLine[], faults: readonly FaultLine[]): readonly string[] {
  const ended = new Set(asks.map(({ id }) => id));
  const silent = tries.filter(({ end, replica, complete }) => end === 'silent' && !hurt(replica, complete - SETTLED, complete, faults));
  return [
    ...[...new Set(tries.map(({ id }) => id))].filter((id) => !ended.has(id)).map((id) => `${id} never ended`),
    ...silent.map(({ id, group, replica, invoke }) => `${group}: replica ${replica} never answered ${id}, which asked at ${invoke}`),
  ];
}

function hurt(replica: number, from: number, until: number, faults: readonly FaultLine[]): boolean {
  return faults.some(({ target, from: a, until: b }) => (target === `r${replica}` || target === 'all') && a < until && from < b);
}

/** Who was refused in the end although somebody no more urgent who came later was admitted meanwhile. What a fault of its own replica took of its wait timeout excuses it. */
function turnedAway(asks: readonly AskLine[], tries: readonly TryLine[], faults: readonly FaultLine[]): readonly string[] {
  const byAsk = Map.groupBy(tries, ({ id }) => id);
  return asks.flatMap((ask) => {
    if (ask.outcome === 'admitted') return [];
    const own = byAsk.get(ask.id) ?? [];
    const last = own.at(-1);
    // The one that ended it began anew where the others had come to nothing.
    const from = last?.invoke ?? ask.invoke;
    const kept = last !== undefined && hurt(last.replica, ask.complete - ask.ttl / 2, ask.complete, faults);
    const served = asks.some((other) => {
      const later = other.invoke > from + SECOND && other.complete < ask.complete - SECOND;
      return later && other.outcome === 'admitted' && other.group === ask.group && other.key === ask.key && other.priority >= ask.priority;
    });
    return served && !kept
      ? [`${ask.group}: ${ask.id} was refused (${ask.reason}) at ${ask.complete}, asked at ${ask.invoke}, and others were served meanwhile`]
      : [];
  });
}
