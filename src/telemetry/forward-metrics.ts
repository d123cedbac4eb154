import { Counter, Gauge, type Registry } from 'prom-client';
import type { ForwardEvent } from '../proxy/forwarding.ts';
import { Histogram, registerHistogram, WAIT_BUCKETS } from './histogram.ts';

/** What is counted of forwarding: its events, and clients at their bounds, which the listener reports. */
export type CountedForwardEvent = ForwardEvent | { readonly kind: 'client_limit'; readonly what: 'connection' | 'request' };

/** Bodies held now, and their bytes by where they are. */
export interface HeldBodies {
  readonly memory: number;
  readonly disk: number;
  readonly bodies: number;
}

/** Counts what forwarding reports. Labels come from the configuration, never from requests. */
export function createForwardMetrics(registry: Registry, held: () => HeldBodies): (event: CountedForwardEvent) => void {
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
  return (event) => {
    switch (event.kind) {
      case 'attempt': {
        let figures = sent.get(event.backend);
        if (figures === undefined) {
          figures = { outcomes: new Map(), took: new Histogram(WAIT_BUCKETS) };
          sent.set(event.backend, figures);
        }
        figures.outcomes.set(event.outcome, (figures.outcomes.get(event.outcome) ?? 0) + 1);
        return figures.took.observe(event.took);
      }
      case 'pushback':
        return pushbacks.inc({ backend: event.backend, replayed: String(event.replayed) });
      case 'cost_missing':
        return missing.inc({ route: event.route, unit: event.unit, stage: event.stage });
      case 'client_limit':
        return limited.inc({ what: event.what });
      case 'ejected':
      case 'restored':
        return ejected.set({ backend: event.backend, url: event.url }, event.kind === 'ejected' ? 1 : 0);
    }
  };
}

function counter<L extends string>(registry: Registry, name: string, help: string, labelNames: readonly L[]): Counter<L> {
  return new Counter({ name, help, labelNames, registers: [registry] });
}
