import { type AskLine, type CheckedGroup, type CheckedLimit, type HistoryLine, limitsOver, linesOf, type TryLine } from './history.ts';

/*
 * Whether it came back. A gap is time in which somebody waited at a replica that nothing was the matter with, and nobody of
 * the group was admitted. What of it the servers answer for: not the time in which NATS took no writes, nor in which the
 * machine itself stood still, nor what the limits themselves shut for: used up as they may have been when the fault began, and
 * used up as a takeover starts them (docs/design/coordination.md 2.7).
 */

const SECOND = 1_000_000;

/** Longest gap after one fault of a replica. */
const REPLICA_GAP = 1.5 * SECOND;

/** Longest gap after a majority of NATS takes writes again: promise 5. */
const NATS_GAP = 3 * SECOND;

/** Limits that are whole again within this are sharp enough to time a takeover by. */
const SHARP = SECOND / 4;

/** One wait of a group in vain. */
export interface Gap {
  readonly group: string;
  readonly from: number;
  readonly until: number;
  /** What of it counts, in microseconds. */
  readonly counted: number;
  /** What it may be at most. */
  readonly most: number;
  /** `calm`: no fault near it. */
  readonly after: 'calm' | 'replica' | 'nats';
  /** The group's limits hide little of it. */
  readonly sharp: boolean;
}

/** All gaps of all groups that are longer than this, in microseconds. */
export function findGaps(groups: readonly CheckedGroup[], lines: readonly HistoryLine[], least = SECOND / 4): readonly Gap[] {
  const asks = Map.groupBy(linesOf(lines, 'ask'), ({ group }) => group);
  const tries = Map.groupBy(linesOf(lines, 'try'), ({ id }) => id);
  const context = contextOf(lines);
  return groups.flatMap(({ name }) => {
    const limits = limitsOver(groups, name);
    const shut = { before: Math.max(0, ...limits.map(shutFor)), after: Math.max(0, ...limits.map(recoveryOf)) };
    return waitsInVain(asks.get(name) ?? [], tries, context)
      .filter(([from, until]) => until - from >= least)
      .map(([from, until]) => judged(name, [from, until], shut, context));
  });
}

/** How long a takeover may keep a limit shut at most. */
function recoveryOf(limit: CheckedLimit): number {
  switch (limit.kind) {
    case 'window':
    case 'fixed':
      return limit.per;
    case 'rate':
      return limit.burst * limit.every;
    case 'spacing':
      return limit.every;
    case 'concurrency':
      // The callers' leases are 5 s; one that nobody was told of may live twice as long.
      return 10 * SECOND;
  }
}

/** How long a limit may be shut at most without any takeover, by what it admitted. */
function shutFor(limit: CheckedLimit): number {
  if (limit.kind === 'window' || limit.kind === 'fixed') return limit.per;
  return limit.kind === 'concurrency' ? 0 : limit.every;
}

interface Span {
  readonly from: number;
  readonly until: number;
}

interface Context {
  readonly replicaFaults: readonly (Span & { readonly target: string })[];
  readonly natsFaults: readonly Span[];
  readonly outages: readonly Span[];
  readonly stalls: readonly Span[];
}

function contextOf(lines: readonly HistoryLine[]): Context {
  const faults = linesOf(lines, 'fault');
  return {
    replicaFaults: faults.filter(({ kind }) => !kind.startsWith('nats')),
    natsFaults: faults.filter(({ kind }) => kind.startsWith('nats')),
    outages: linesOf(lines, 'outage'),
    stalls: linesOf(lines, 'stall'),
  };
}

function judged(group: string, [from, until]: readonly [number, number], shut: { before: number; after: number }, context: Context): Gap {
  const touches = ({ from: a, until: b }: Span, before: number) => a < until && b + before > from;
  const outages = context.outages.filter((outage) => touches(outage, NATS_GAP));
  const nats = outages.length > 0 || context.natsFaults.some((fault) => touches(fault, NATS_GAP));
  // What began long before had its time; each that begins costs a takeover of its own.
  const faults = context.replicaFaults.filter((fault) => touches(fault, REPLICA_GAP));
  const begun = faults.filter((fault) => fault.from > from - REPLICA_GAP).length;
  const back = Math.max(from, ...outages.map((outage) => Math.min(outage.until, until)));
  const stood = context.stalls.reduce((sum, stall) => sum + Math.max(0, Math.min(stall.until, until) - Math.max(stall.from, back)), 0);
  return {
    ...{ group, from, until },
    counted: until - back - stood,
    most: (nats ? NATS_GAP : 0) + Math.max(nats ? 0 : 1, begun) * REPLICA_GAP + (begun > 0 ? shut.before : 0) + shut.after,
    after: nats ? 'nats' : faults.length > 0 ? 'replica' : 'calm',
    sharp: shut.after <= SHARP,
  };
}

/** From when somebody waits, or was admitted last, to the next admission, or until nobody waits any more. */
function waitsInVain(asks: readonly AskLine[], tries: ReadonlyMap<string, readonly TryLine[]>, context: Context): readonly (readonly [number, number])[] {
  const events = asks.flatMap((ask) => [
    ...waits(ask, tries.get(ask.id) ?? [], context).flatMap(({ from, until }) => [
      { at: from, by: 1, admitted: false },
      { at: until, by: -1, admitted: false },
    ]),
    ...(ask.outcome === 'admitted' ? [{ at: ask.complete, by: 0, admitted: true }] : []),
  ]);
  events.sort((a, b) => a.at - b.at || b.by - a.by);
  const found: (readonly [number, number])[] = [];
  let waiting = 0;
  let since = 0;
  for (const { at, by, admitted } of events) {
    if (waiting > 0 && (admitted || waiting + by === 0)) found.push([since, at]);
    if (waiting === 0 || admitted) since = at;
    waiting += by;
  }
  return found;
}

/** When an ask stood at a replica that nothing was the matter with. */
function waits(ask: AskLine, tries: readonly TryLine[], { replicaFaults }: Context): readonly Span[] {
  const stood =
    tries.length > 0
      ? tries.map(({ invoke, complete, replica }) => ({ from: invoke, until: complete, replica }))
      : [{ from: ask.invoke, until: ask.complete, replica: -1 }];
  return stood.flatMap(({ from, until, replica }) => {
    let spans: readonly Span[] = [{ from, until }];
    for (const fault of replicaFaults) if (fault.target === `r${replica}`) spans = spans.flatMap((span) => without(span, fault));
    return spans;
  });
}

function without(span: Span, hole: Span): readonly Span[] {
  const parts = [
    { from: span.from, until: Math.min(span.until, hole.from) },
    { from: Math.max(span.from, hole.until), until: span.until },
  ];
  return parts.filter(({ from, until }) => until > from);
}
