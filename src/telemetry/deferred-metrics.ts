import { Counter, Gauge, type Registry } from 'prom-client';
import { Histogram, registerHistogram, WAIT_BUCKETS } from './histogram.ts';

/** What deferred mode reports; `deferred/request-lifecycle.ts` has the same with more. */
export type DeferredNews =
  | { readonly kind: 'accepted'; readonly group: string; readonly existing: boolean }
  | { readonly kind: 'attempted'; readonly group: string; readonly outcome: string }
  | { readonly kind: 'ended'; readonly group: string; readonly state: string; readonly ageMs: number }
  | { readonly kind: 'redriven'; readonly group: string }
  | { readonly kind: string };

/** Numbers of deferred mode at one moment; `deferred/service.ts` makes them. */
export interface DeferredNumbers {
  readonly sending: number;
  readonly delayed: number;
  readonly ended: { readonly done: number; readonly dead: number; readonly cancelled: number };
  readonly groups: ReadonlyMap<string, { readonly pending: number; readonly oldestMs: number }>;
  readonly bytes: number;
  readonly bytesMax: number;
  readonly down: readonly string[];
}

/** Counts what deferred mode reports. Labels come from the configuration and from a fixed list of outcomes, never from requests. */
export function createDeferredMetrics(registry: Registry, numbers: () => DeferredNumbers): (news: DeferredNews) => void {
  const counter = (name: string, help: string, labelNames: readonly string[]): Counter =>
    new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
  const accepted = counter('sluice_deferred_accepted_total', 'Requests stored; existing: a known idempotency key got its first ticket.', ['group', 'existing']);
  const attempts = counter('sluice_deferred_attempts_total', 'Stored requests sent to a backend, by the class of the answer or why there was none.', [
    'group',
    'outcome',
  ]);
  const ended = counter('sluice_deferred_ended_total', 'Stored requests that ended: done, dead, cancelled.', ['group', 'state']);
  const redriven = counter('sluice_deferred_redriven_total', 'Dead letters put back into the queue.', ['group']);
  const delivered = new Map<string, Histogram>();
  registerHistogram(
    registry,
    { name: 'sluice_deferred_delivery_seconds', help: 'From the acceptance of a request to its delivery.', labelNames: ['group'] },
    (name) => [...delivered].flatMap(([group, buckets]) => buckets.samples(name, { group })),
  );
  registerNumbers(registry, numbers);
  return (news) => {
    if (news.kind === 'accepted' && 'existing' in news) accepted.inc({ group: news.group, existing: String(news.existing) });
    else if (news.kind === 'attempted' && 'outcome' in news) attempts.inc({ group: news.group, outcome: classOf(news.outcome) });
    else if (news.kind === 'redriven' && 'group' in news) redriven.inc({ group: news.group });
    else if (news.kind === 'ended' && 'state' in news) {
      ended.inc({ group: news.group, state: news.state });
      if (news.state !== 'done') return;
      const buckets = delivered.get(news.group) ?? new Histogram(WAIT_BUCKETS);
      delivered.set(news.group, buckets);
      buckets.observe(news.ageMs * 1_000);
    }
  };
}

function registerNumbers(registry: Registry, numbers: () => DeferredNumbers): void {
  const gauge = (name: string, help: string, labelNames: readonly string[], fill: (gauge: Gauge, now: DeferredNumbers) => void): void => {
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        this.reset();
        fill(this, numbers());
      },
    });
  };
  gauge('sluice_deferred_pending', 'Stored requests that have not ended.', ['group'], (of, { groups }) => {
    for (const [group, { pending }] of groups) of.set({ group }, pending);
  });
  gauge('sluice_deferred_oldest_seconds', 'Age of the oldest stored request that has not ended.', ['group'], (of, { groups }) => {
    for (const [group, { oldestMs }] of groups) if (oldestMs > 0) of.set({ group }, oldestMs / 1_000);
  });
  gauge('sluice_deferred_sending', 'Stored requests on their way to a backend.', [], (of, { sending }) => of.set(sending));
  gauge('sluice_deferred_delayed', 'Stored requests that wait for their time or the next attempt.', [], (of, { delayed }) => of.set(delayed));
  gauge('sluice_deferred_kept', 'Ended requests that are kept, by state.', ['state'], (of, now) => {
    for (const [state, kept] of Object.entries(now.ended)) of.set({ state }, kept);
  });
  gauge('sluice_deferred_used_bytes', 'Bytes that the store for deferred requests has in use.', [], (of, { bytes }) => of.set(bytes));
  gauge('sluice_deferred_max_bytes', 'Bytes that it may have in use; submits are refused at 95 %.', [], (of, { bytesMax }) => of.set(bytesMax));
  gauge('sluice_deferred_backend_down', '1 while a backend is probed by one request and gets no others.', ['backend'], (of, { down }) => {
    for (const backend of down) of.set({ backend }, 1);
  });
}

/** `2xx` for a status, the word where there was none. */
function classOf(outcome: string): string {
  return /^\d{3}$/.test(outcome) ? `${outcome.charAt(0)}xx` : outcome;
}
