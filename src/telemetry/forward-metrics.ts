import { Counter, Gauge, type Registry } from 'prom-client';
import type { Micros } from '../core/time.ts';
import { Histogram, registerHistogram, WAIT_BUCKETS } from './histogram.ts';

/** What forwarding tells; `proxy/forwarding.ts` has the same with more. */
export type ForwardEvent =
  | { readonly kind: 'attempt'; readonly backend: string; readonly outcome: string; readonly took: Micros }
  | { readonly kind: 'pushback'; readonly backend: string; readonly replayed: boolean }
  | { readonly kind: 'cost_missing'; readonly route: string; readonly unit: string; readonly stage: 'ask' | 'settle' }
  | { readonly kind: 'ejected' | 'restored'; readonly backend: string; readonly url: string }
  | { readonly kind: 'crowded'; readonly what: 'connection' | 'request' };

/** Bodies held now, and their bytes by where they are. */
export interface HeldBodies {
  readonly memory: number;
  readonly disk: number;
  readonly bodies: number;
}

/** Counts what forwarding tells. Labels come from the configuration, never from requests. */
export function createForwardMetrics(registry: Registry, held: () => HeldBodies): (news: ForwardEvent) => void {
  // Of every request: plain numbers, told to prom-client only when somebody asks.
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
  const pushbacks = counter(registry, 'forward_pushbacks', 'Answers of a backend that asked for a pause; replayed: its caller did not see it.', [
    'backend',
    'replayed',
  ]);
  const missing = counter(registry, 'forward_costs_missing', 'Costs that a request or an answer did not say, so that the default or the ask stood.', [
    'route',
    'unit',
    'stage',
  ]);
  const crowded = counter(registry, 'forward_crowded', 'Connections and requests of clients that had as many as they may.', ['what']);
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
  registerHistogram(registry, 'sluice_forward_seconds', 'From sending a request to the end of its answer.', (name) =>
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
      case 'crowded':
        return crowded.inc({ what: news.what });
      case 'ejected':
      case 'restored':
        return ejected.set({ backend: news.backend, url: news.url }, news.kind === 'ejected' ? 1 : 0);
    }
  };
}

function counter<L extends string>(registry: Registry, name: string, help: string, labelNames: readonly L[]): Counter<L> {
  return new Counter({ name: `sluice_${name}_total`, help, labelNames, registers: [registry] });
}
