import type { AskLine, CheckedGroup, CheckedLimit, FaultLine, HistoryLine, ReleaseLine } from './history.ts';

/*
 * The judge of a fault run. It knows no server, no shard and no clock of theirs: only when clients asked and when they were
 * answered (coordination.md 5, "trusting nobody"). What it calls over is over; what it lets pass may still be.
 */

/** Clocks of the servers may run so much faster than the clients' (coordination.md 2.6). */
const DRIFT = 1e-3;

/** Who stood in line this long before another asked goes first. */
const ORDER_SLACK = 250_000;

/** What the checker found. */
export interface Verdict {
  /** Each a sentence; empty: nothing was over, doubled or out of line. */
  readonly violations: readonly string[];
  /** Longest time in which somebody waited and nobody of the group was admitted, by group, in microseconds. */
  readonly gaps: ReadonlyMap<string, number>;
  /** Who was passed by somebody less urgent or later, outside the faults' times. */
  readonly inversions: readonly string[];
  readonly admitted: number;
  readonly refused: number;
  readonly unknown: number;
  readonly faults: number;
}

/** Judges a whole history. */
export function judge(groups: readonly CheckedGroup[], lines: readonly HistoryLine[]): Verdict {
  const asks = lines.filter((line): line is AskLine => line.op === 'ask');
  const releases = new Map(lines.filter((line): line is ReleaseLine => line.op === 'release').map((line) => [line.permit, line]));
  const faults = lines.filter((line): line is FaultLine => line.op === 'fault');
  const admitted = asks.filter((ask) => ask.outcome === 'admitted');
  const violations: string[] = [...doubled(admitted)];
  for (const group of groups) {
    const own = admitted.filter((ask) => belongs(groups, ask.group, group.name));
    for (const limit of group.limits) violations.push(...over(group.name, limit, own, releases));
    violations.push(...fenceRegressions(group.name, own));
  }
  return {
    violations,
    gaps: new Map(groups.map(({ name }) => [name, longestGap(asks.filter((ask) => ask.group === name))])),
    inversions: groups.flatMap(({ name }) =>
      inversions(
        asks.filter((ask) => ask.group === name),
        faults,
      ),
    ),
    admitted: admitted.length,
    refused: asks.filter((ask) => ask.outcome === 'refused').length,
    unknown: asks.filter((ask) => ask.outcome === 'unknown').length,
    faults: faults.length,
  };
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
function cap(limit: Exclude<CheckedLimit, { kind: 'concurrency' }>, length: number): number {
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
function overTime(group: string, limit: Exclude<CheckedLimit, { kind: 'concurrency' }>, own: readonly AskLine[]): readonly string[] {
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
    const until = Math.min(releases.get(permit)?.invoke ?? Number.POSITIVE_INFINITY, (invoke + lease) / (1 + DRIFT));
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

/** Somebody waits from one admission, or from when the first one came, to the next. */
function longestGap(own: readonly AskLine[]): number {
  const events = own.flatMap((ask) => [
    { at: ask.invoke, by: 1, admitted: false },
    { at: ask.complete, by: -1, admitted: ask.outcome === 'admitted' },
  ]);
  events.sort((a, b) => a.at - b.at);
  let waiting = 0;
  let since = 0;
  let longest = 0;
  for (const { at, by, admitted } of events) {
    if (waiting > 0 && (admitted || waiting + by === 0)) longest = Math.max(longest, admitted ? at - since : 0);
    if (waiting === 0 || admitted) since = at;
    waiting += by;
  }
  return longest;
}

/** Among those of one key that were admitted: who waited, and was passed by somebody no more urgent who came later. */
function inversions(own: readonly AskLine[], faults: readonly FaultLine[]): readonly string[] {
  const calm = (ask: AskLine) => !faults.some((fault) => fault.from < ask.complete && ask.invoke < fault.until);
  const admitted = own.filter((ask) => ask.outcome === 'admitted' && calm(ask)).sort((a, b) => a.invoke - b.invoke);
  const found: string[] = [];
  for (const [index, first] of admitted.entries()) {
    for (const later of admitted.slice(index + 1)) {
      const passed =
        first.key === later.key &&
        first.priority <= later.priority &&
        first.invoke + ORDER_SLACK < later.invoke &&
        later.complete + ORDER_SLACK < first.complete;
      if (passed) found.push(`${first.group}: ${later.id} passed ${first.id}`);
    }
  }
  return found;
}
