import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { GroupView } from '../admission/admission.ts';
import type { GateEvent } from '../core/events.ts';
import { type Instant, type Micros, NEVER, SECOND } from '../core/time.ts';
import { type ClusterStats, createClusterMetrics } from './cluster-metrics.ts';
import { createDeferredMetrics, type DeferredNews, type DeferredNumbers } from './deferred-metrics.ts';
import { type CountedForwardEvent, createForwardMetrics, type HeldBodies } from './forward-metrics.ts';
import { createGatewayQueueMetrics, type GatewayQueueNews, type GatewayQueueNumbers } from './gateway-queue-metrics.ts';
import { FINE_BUCKETS, Histogram, registerHistogram, WAIT_BUCKETS } from './histogram.ts';
import { createRateLimitMetrics } from './rate-limit-metrics.ts';

/** Options of the metrics. */
export interface MetricsOptions {
  readonly version: string;
  readonly nodeVersion: string;
  readonly now: () => Instant;
  /** Figures of groups, at most so many; read once per scrape. */
  readonly groups: (max: number) => readonly GroupView[];
  /** Groups with labels of their own; the rest are counted together as `other`. */
  readonly groupsMax?: number;
  /** Where the metrics are registered; a registry of their own if absent. */
  readonly registry?: Registry;
}

/** Functions that record; each costs less than a microsecond. */
export interface Metrics {
  /** For AdmissionDeps.events. */
  readonly event: (event: GateEvent, now: Instant) => void;
  /** Records how much later than due a timer fired. */
  readonly timerLate: (late: Micros) => void;
  /** A write of the ledger took this long to be on disk. */
  readonly flushed: (took: Micros) => void;
  /** Sets the source of the figures of buffered bodies; before, they are 0. */
  readonly holding: (source: () => HeldBodies) => void;
  /** Counts an event of forwarding. */
  readonly forward: (event: CountedForwardEvent) => void;
  /** A connection was closed as it was accepted, for want of file descriptors. */
  readonly connectionShed: (listener: string) => void;
  /** The rate limit service answered so; descriptors of the request that no rule fits. */
  readonly rateLimited: (outcome: string, unmatched: number) => void;
  /** Sets the source of the cluster's figures. Returns a function that counts an admission outside the promises. To be called once. */
  readonly cluster: (source: () => ClusterStats) => (group: string, how: string) => void;
  /** Sets the source of the embedded store's figures. To be called once. */
  readonly storing: (source: () => StoreStats) => void;
  /** Sets the source of deferred mode's figures. Returns a function that counts its events. To be called once. */
  readonly deferred: (source: () => DeferredNumbers) => (news: DeferredNews) => void;
  /** Sets the source of the gateway queue's figures. Returns a function that counts its events. To be called once. */
  readonly gatewayQueue: (source: () => GatewayQueueNumbers) => (news: GatewayQueueNews) => void;
  /** All of it in Prometheus' text form. */
  readonly scrape: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

/** How full the embedded store is. */
export interface StoreStats {
  /** Bytes in use, bytes that may be (`store.bytes`). */
  readonly used: number;
  readonly bytes: number;
  /** Of the tree nearest to its share: 1 is all. */
  readonly fill: number;
}

const OTHER = 'other';
const NOTHING_HELD: HeldBodies = { memory: 0, disk: 0, bodies: 0 };
const HOWS = ['used', 'unused', 'dropped', 'lapsed', 'revoked'] as const;

/** Figures of one group; reached by one look-up per event. */
class GroupGauges {
  admitted = 0;
  shadowLimited = 0;
  renewed = 0;
  readonly refused = new Map<string, number>();
  readonly ended: Record<(typeof HOWS)[number], number> = { used: 0, unused: 0, dropped: 0, lapsed: 0, revoked: 0 };
  readonly settled = new Map<string, { refunded: number; debited: number; uncharged: number }>();
  readonly wait = new Histogram(WAIT_BUCKETS);
  readonly held = new Histogram(WAIT_BUCKETS);
}

/** Between two looks at the event loop, in milliseconds. Each wakes the process: every 10 ms, prom-client's default, was two thirds of what an idle server used. */
const LOOP_LOOK_MS = 50;

/** Counts gate events and shows groups, under the prefix `sluice_`; groups are labels, keys never. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { groupsMax = 1_000, registry = new Registry() } = options;
  let held = (): HeldBodies => NOTHING_HELD;
  const figures = new Map<string, GroupGauges>();
  const late = new Histogram(FINE_BUCKETS);
  const flush = new Histogram(FINE_BUCKETS);
  const of = (group: string): GroupGauges => {
    const found = figures.get(group);
    if (found !== undefined) return found;
    if (figures.size >= groupsMax && group !== OTHER) return of(OTHER);
    const made = new GroupGauges();
    figures.set(group, made);
    return made;
  };
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_LOOK_MS });
  registerCounters(registry, figures);
  registerGauges(registry, options, groupsMax);
  const byGroup = (pick: (of: GroupGauges) => Histogram) => (name: string) => [...figures].flatMap(([group, each]) => pick(each).samples(name, { group }));
  registerHistogram(
    registry,
    { name: 'sluice_wait_seconds', help: 'Time in the queue of admitted callers.', labelNames: ['group'] },
    byGroup(({ wait }) => wait),
  );
  registerHistogram(
    registry,
    { name: 'sluice_lease_held_seconds', help: 'Time from grant to end of leases that ended.', labelNames: ['group'] },
    byGroup(({ held: of }) => of),
  );
  registerHistogram(registry, { name: 'sluice_timer_lateness_seconds', help: 'How much later than due a timer fired.', labelNames: [] }, (name) =>
    late.samples(name, {}),
  );
  registerHistogram(registry, { name: 'sluice_ledger_flush_seconds', help: 'Time until a write of the ledger was on disk.', labelNames: [] }, (name) =>
    flush.samples(name, {}),
  );
  new Gauge({ name: 'sluice_build_info', help: 'Always 1; the labels say what runs.', labelNames: ['version', 'node'], registers: [registry] }).set(
    { version: options.version, node: options.nodeVersion },
    1,
  );
  const shed = new Counter({
    name: 'sluice_connections_shed_total',
    help: 'Connections closed as they were accepted, for want of file descriptors.',
    labelNames: ['listener'],
    registers: [registry],
  });
  return {
    connectionShed: (listener) => shed.inc({ listener }),
    rateLimited: createRateLimitMetrics(registry),
    event: (event) => count(of, event),
    timerLate: (micros) => late.observe(micros),
    flushed: (micros) => flush.observe(micros),
    forward: createForwardMetrics(registry, () => held()),
    holding: (source) => {
      held = source;
    },
    cluster: (source) => createClusterMetrics(registry, source),
    storing: (source) => registerStore(registry, source),
    deferred: (source) => createDeferredMetrics(registry, source),
    gatewayQueue: (source) => createGatewayQueueMetrics(registry, source),
    scrape: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}

function registerStore(registry: Registry, source: () => StoreStats): void {
  const gauge = (name: string, help: string, pick: (figures: StoreStats) => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(pick(source()));
      },
    });
  };
  gauge('sluice_store_used_bytes', 'Bytes that the embedded store has in use.', ({ used }) => used);
  gauge('sluice_store_max_bytes', 'Bytes that it may have in use (store.bytes).', ({ bytes }) => bytes);
  gauge('sluice_store_fill_ratio', 'How much of its share of the store the fullest tree of groups has taken; at 1 it is refused.', ({ fill }) =>
    Number.isFinite(fill) ? fill : 1,
  );
}

function count(of: (group: string) => GroupGauges, event: GateEvent): void {
  switch (event.kind) {
    case 'admitted': {
      const { group, waited, shadow } = event.permit;
      const figures = of(group);
      figures.admitted += 1;
      if (shadow !== undefined) figures.shadowLimited += 1;
      return figures.wait.observe(waited);
    }
    case 'refused': {
      const { refused } = of(event.group);
      refused.set(event.refusal.reason, (refused.get(event.refusal.reason) ?? 0) + 1);
      return;
    }
    case 'ended': {
      const figures = of(event.group);
      figures.ended[event.how] += 1;
      return figures.held.observe(event.held);
    }
    case 'renewed':
      of(event.group).renewed += 1;
      return;
    case 'settled': {
      const { settled } = of(event.group);
      const before = settled.get(event.unit) ?? { refunded: 0, debited: 0, uncharged: 0 };
      settled.set(event.unit, {
        refunded: before.refunded + event.refunded,
        debited: before.debited + event.debited,
        uncharged: before.uncharged + event.uncharged,
      });
      return;
    }
    case 'queued':
    case 'standing':
    case 'paused':
    case 'overridden':
    case 'unqueued':
      return;
  }
}

/** Counted here as plain numbers; copied to prom-client at a scrape only. */
function registerCounters(registry: Registry, figures: ReadonlyMap<string, GroupGauges>): void {
  const counter = <L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    each: (add: (labels: Record<L, string>, n: number) => void, group: string, of: GroupGauges) => void,
  ) =>
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        for (const [group, of] of figures) each((values, n) => this.inc(values as never, n), group, of);
      },
    });
  const plain = ['group'] as const;
  counter('sluice_admitted_total', 'Permits given.', plain, (add, group, of) => add({ group }, of.admitted));
  counter('sluice_shadow_limited_total', 'Permits that an unenforced limit would have delayed.', plain, (add, group, of) => add({ group }, of.shadowLimited));
  counter('sluice_renewed_total', 'Leases renewed.', plain, (add, group, of) => add({ group }, of.renewed));
  counter('sluice_refused_total', 'Refusals by reason.', ['group', 'reason'], (add, group, of) => {
    for (const [reason, n] of of.refused) add({ group, reason }, n);
  });
  counter('sluice_leases_expired_total', 'Leases that ended because they were neither renewed nor released in time.', plain, (add, group, of) =>
    add({ group }, of.ended.lapsed),
  );
  counter('sluice_released_total', 'Permits that came back, by how.', ['group', 'how'], (add, group, of) => {
    for (const how of HOWS) if (how !== 'lapsed') add({ group, how }, of.ended[how]);
  });
  counter('sluice_refunded_units_total', 'Units given back by settling.', ['group', 'unit'], (add, group, of) => {
    for (const [unit, { refunded }] of of.settled) add({ group, unit }, refunded);
  });
  counter('sluice_debited_units_total', 'Units charged later by settling.', ['group', 'unit'], (add, group, of) => {
    for (const [unit, { debited }] of of.settled) add({ group, unit }, debited);
  });
  counter('sluice_uncharged_units_total', 'Of the units debited, those beyond settle.max, which no limit was charged.', ['group', 'unit'], (add, group, of) => {
    for (const [unit, { uncharged }] of of.settled) add({ group, unit }, uncharged);
  });
}

function registerGauges(registry: Registry, options: MetricsOptions, groupsMax: number): void {
  let taken: { readonly at: Instant; readonly views: readonly GroupView[] } | undefined;
  // All gauges of one scrape are read in one go.
  const views = (): readonly GroupView[] => {
    const at = options.now();
    if (taken === undefined || at - taken.at > SECOND / 10) taken = { at, views: options.groups(groupsMax).slice(0, groupsMax) };
    return taken.views;
  };
  const gauge = <L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    each: (set: (labels: Record<L, string>, n: number) => void, view: GroupView) => void,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        for (const view of views()) each((values, n) => this.set(values as never, n), view);
      },
    });
  const plain = ['group'] as const;
  const limit = ['group', 'limit', 'unit'] as const;
  gauge('sluice_backlog_requests', 'Callers that wait.', plain, (set, view) => set({ group: view.name }, view.waiting));
  gauge('sluice_backlog_bytes', 'Bytes held for callers that wait.', plain, (set, view) => set({ group: view.name }, view.waitingBytes));
  gauge('sluice_backlog_oldest_seconds', 'How long the oldest waiter has waited.', plain, (set, view) => {
    set({ group: view.name }, view.oldestWaiterSince === undefined ? 0 : Math.max(0, options.now() - view.oldestWaiterSince) / SECOND);
  });
  gauge('sluice_leases', 'Live leases.', plain, (set, view) => set({ group: view.name }, view.leases));
  gauge('sluice_keys', 'Keys with waiters, leases or limits that still count.', plain, (set, view) => set({ group: view.name }, view.keys));
  gauge('sluice_paused', '1 while the whole group is paused.', plain, (set, view) => set({ group: view.name }, paused(view, options.now()) ? 1 : 0));
  gauge('sluice_enforced', '0 while the group is in shadow.', plain, (set, view) => set({ group: view.name }, view.enforce ? 1 : 0));
  // Limits counted for every key by itself have no one figure, and keys are no labels.
  const eachLimit =
    (pick: (limit: GroupView['limits'][number]) => number) => (set: (labels: Record<(typeof limit)[number], string>, n: number) => void, view: GroupView) => {
      for (const each of view.limits) if (each.scope === 'group') set({ group: each.group, limit: each.name, unit: each.unit }, pick(each));
    };
  gauge(
    'sluice_limit_capacity',
    'Units that may pass per window, or be held at once.',
    limit,
    eachLimit(({ capacity }) => capacity),
  );
  gauge(
    'sluice_limit_used',
    'Units that still count.',
    limit,
    eachLimit(({ used }) => used),
  );
  gauge(
    'sluice_limit_debt',
    'Units settled beyond the capacity, paid before anyone passes.',
    limit,
    eachLimit(({ debt }) => debt),
  );
}

function paused({ pausedUntil }: GroupView, now: Instant): boolean {
  return pausedUntil !== undefined && (pausedUntil === NEVER || pausedUntil > now);
}
