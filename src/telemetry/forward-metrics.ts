import { Counter, Gauge, type Registry } from 'prom-client';
import type { Micros } from '../core/time.ts';
import { Histogram, registerHistogram, WAIT_BUCKETS } from './histogram.ts';

/** What forwarding reports; `proxy/forwarding.ts` declares the same events with more fields. */
export type ForwardEvent =
  | { readonly kind: 'attempt'; readonly backend: string; readonly outcome: string; readonly took: Micros }
  | { readonly kind: 'pushback'; readonly backend: string; readonly replayed: boolean }
  | { readonly kind: 'cost_missing'; readonly route: string; readonly unit: string; readonly stage: 'ask' | 'settle' }
  | { readonly kind: 'ejected' | 'restored'; readonly backend: string; readonly url: string }
  | { readonly kind: 'client_limit'; readonly what: 'connection' | 'request' };

/** Bodies held now, and their bytes by where they are. */
export interface HeldBodies {
  readonly memory: number;
  readonly disk: number;
  readonly bodies: number;
}

/** Counts what forwarding reports. Labels come from the configuration, never from requests. */
export function createForwardMetrics(registry: Registry, held: () => HeldBodies): (news: ForwardEvent) => void {
  // Counted for every request: plain numbers, copied to prom-client at a scrape only.
  const sent = new Map<string, { readonly outcomes: Map<string, number>; readonly took: Histogram }>();
  new Counter({
    name: 'sluice_forward_attempts_total',
    help: 'Requests sent to a backend, by how it ended.',
    labelNames: ['backend', 'outcome'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [backend, { outcomes }] of sent) for (const [outcome, n] of outcomes) this.inc({ backend, outcome }, n);
    },
  });
  const pushbacks = counter(registry, 'sluice_forward_pushbacks_total', 'Answers of a backend that asked for a pause; replayed: its caller did not see it.', [
    'backend',
    'replayed',
  ]);
  const missing = counter(
    registry,
    'sluice_forward_costs_missing_total',
    'Costs that a request or an answer did not say, so that the default or the ask stood.',
    ['route', 'unit', 'stage'],
  );
  const limited = counter(registry, 'sluice_forward_client_limit_total', 'Connections closed and requests shed of clients at bounds.perClient.', ['what']);
  new Gauge({
    name: 'sluice_forward_held_bytes',
    help: 'Bytes of bodies held.',
    labelNames: ['where'],
    registers: [registry],
    collect() {
      const { memory, disk } = held();
      this.set({ where: 'memory' }, memory);
      this.set({ where: 'disk' }, disk);
    },
  });
  new Gauge({
    name: 'sluice_forward_held_bodies',
    help: 'Bodies held.',
    registers: [registry],
    collect() {
      this.set(held().bodies);
    },
  });
  const ejected = new Gauge({ name: 'sluice_forward_ejected', help: '1 while a URL gets no requests.', labelNames: ['backend', 'url'], registers: [registry] });
  registerHistogram(registry, { name: 'sluice_forward_seconds', help: 'From sending a request to the end of its response.', labelNames: ['backend'] }, (name) =>
    [...sent].flatMap(([backend, { took }]) => took.samples(name, { backend })),
  );
  return (news) => {
    switch (news.kind) {
      case 'attempt': {
        let figures = sent.get(news.backend);
        if (figures === undefined) {
          figures = { outcomes: new Map(), took: new Histogram(WAIT_BUCKETS) };
          sent.set(news.backend, figures);
        }
        figures.outcomes.set(news.outcome, (figures.outcomes.get(news.outcome) ?? 0) + 1);
        return figures.took.observe(news.took);
      }
      case 'pushback':
        return pushbacks.inc({ backend: news.backend, replayed: String(news.replayed) });
      case 'cost_missing':
        return missing.inc({ route: news.route, unit: news.unit, stage: news.stage });
      case 'client_limit':
        return limited.inc({ what: news.what });
      case 'ejected':
      case 'restored':
        return ejected.set({ backend: news.backend, url: news.url }, news.kind === 'ejected' ? 1 : 0);
    }
  };
}

function counter<L extends string>(registry: Registry, name: string, help: string, labelNames: readonly L[]): Counter<L> {
  return new Counter({ name, help, labelNames, registers: [registry] });
}
