import { Registry } from 'prom-client';
import type { Instant } from '../../../src/core/time.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';

/** A metric as the code registers it. */
export interface RegisteredMetric {
  readonly name: string;
  readonly type: string;
  readonly labelNames: readonly string[];
}

/** Returns every metric that a server of any kind shows: one node, a replica, with deferred requests, with a gateway queue. */
export function registeredMetrics(): readonly RegisteredMetric[] {
  const registry = new Registry();
  const metrics = createMetrics({ version: '0', nodeVersion: 'v24', now: () => 0 as Instant, groups: () => [], groupsMax: 1, registry });
  metrics.cluster(() => ({ shards: [], peers: [], revision: { number: 0, hash: '' }, connected: true, remoteWaiters: 0, peerWaiters: 0 }));
  metrics.deferred(() => ({ sending: 0, delayed: 0, ended: { done: 0, dead: 0, cancelled: 0 }, groups: new Map(), bytes: 0, bytesMax: 1, down: [] }));
  metrics.storing(() => ({ used: 1, bytes: 2, fill: 0.5 }));
  metrics.gatewayQueue(() => ({ held: 0, maxConcurrency: 1, starts: { total: 1, remaining: 1 } }));
  return (registry.getMetricsAsArray() as unknown as readonly Partial<RegisteredMetric>[]).map(({ name = '', type = '', labelNames = [] }) => ({
    name,
    type,
    labelNames,
  }));
}
