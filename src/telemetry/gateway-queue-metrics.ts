import { Counter, Gauge, type Registry } from 'prom-client';

/** What the gateway queue reports; `api/gateway-queue.ts` and `gateway-queue/session-limits.ts` have the same with more. */
export type GatewayQueueNews =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'closed'; readonly reason: string }
  | { readonly kind: 'wrong_shard'; readonly refused: boolean }
  | { readonly kind: 'limits_taken' }
  | { readonly kind: 'limits_failed'; readonly failures: number };

/** Numbers of the gateway queue at one moment. */
export interface GatewayQueueNumbers {
  /** Callers held. */
  readonly held: number;
  /** Buckets; undefined: not known yet. */
  readonly maxConcurrency: number | undefined;
  /** Session starts that the application is said to have; undefined: no limit, or not known yet. */
  readonly starts: { readonly total: number; readonly remaining: number } | undefined;
}

/** Counts what the gateway queue reports. */
export function createGatewayQueueMetrics(registry: Registry, numbers: () => GatewayQueueNumbers): (news: GatewayQueueNews) => void {
  const registers = [registry];
  const admitted = new Counter({ name: 'sluice_gateway_queue_admitted_total', help: 'Callers that were answered: they may start their session.', registers });
  const closed = new Counter({
    ...{ name: 'sluice_gateway_queue_closed_total', help: 'Connections closed without an answer, by the reason.', labelNames: ['reason'], registers },
  });
  const wrong = new Counter({
    name: 'sluice_gateway_queue_wrong_shards_total',
    help: 'Requests whose `shard` is none: counted as shard 0, or answered 400.',
    registers,
  });
  const asked = new Counter({
    ...{ name: 'sluice_gateway_queue_limits_total', help: 'Session limits asked for, by what came of it: ok, failed.', labelNames: ['result'], registers },
  });
  const failing = new Gauge({
    name: 'sluice_gateway_queue_limits_failing',
    help: 'Failures in a row to get the session limits; 0: the last try worked.',
    registers,
  });
  gauges(registry, numbers);
  return (news) => {
    if (news.kind === 'admitted') admitted.inc();
    else if (news.kind === 'closed') closed.inc({ reason: news.reason });
    else if (news.kind === 'wrong_shard') wrong.inc();
    else {
      const failures = news.kind === 'limits_failed' ? news.failures : 0;
      asked.inc({ result: failures === 0 ? 'ok' : 'failed' });
      failing.set(failures);
    }
  };
}

function gauges(registry: Registry, numbers: () => GatewayQueueNumbers): void {
  const gauge = (name: string, help: string, read: (now: GatewayQueueNumbers) => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        const value = read(numbers());
        if (value !== undefined) this.set(value);
      },
    });
  };
  gauge('sluice_gateway_queue_held', 'Callers that wait for their bucket.', ({ held }) => held);
  gauge('sluice_gateway_queue_max_concurrency', 'Buckets; 0: not known yet, or no limit.', ({ maxConcurrency }) => maxConcurrency);
  gauge('sluice_gateway_queue_session_starts', 'Session starts per window, as last reported; 0: not known, or not limited.', ({ starts }) => starts?.total);
  gauge(
    'sluice_gateway_queue_session_starts_remaining',
    'Session starts left of the window, as last reported; what was admitted since is in sluice_limit_used.',
    ({ starts }) => starts?.remaining,
  );
}
