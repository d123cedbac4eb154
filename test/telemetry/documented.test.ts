import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { Instant } from '../../src/core/time.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('operations.md names every metric of ours, and none that is not there', async () => {
  const metrics = createMetrics({ version: '0', nodeVersion: 'v24', now: () => 0 as Instant, groups: () => [], groupsMax: 1 });
  // What only a replica shows.
  metrics.cluster(() => ({ shards: [], peers: [], revision: { number: 0, hash: '' }, connected: true, remoteWaiters: 0, peerWaiters: 0 }));
  metrics.deferred(() => ({ sending: 0, delayed: 0, ended: { done: 0, dead: 0, cancelled: 0 }, groups: new Map(), bytes: 0, bytesMax: 1, down: [] }));
  metrics.storing(() => ({ used: 1, bytes: 2, fill: 0.5 }));
  // What only a gateway queue shows.
  metrics.gatewayQueue(() => ({ held: 0, maxConcurrency: 1, starts: { total: 1, remaining: 1 } }));
  const there = [...(await metrics.scrape()).body.matchAll(/^# TYPE (sluice_\w+) /gm)].map((match) => match[1]);
  const page = readFileSync(`${root}docs/operations.md`, 'utf8');
  const named = [...page.matchAll(/`(sluice_[a-z_]+)`/g)].map((match) => match[1]);
  expect(there.length).toBeGreaterThan(20);
  expect([...new Set(named)].sort()).toEqual([...new Set(there)].sort());
});

test('every metric is named in one place of the source, whole, so that a search finds it', () => {
  const source = globSync('src/**/*.ts', { cwd: root }).map((file) => readFileSync(root + file, 'utf8'));
  const places = [...readFileSync(`${root}docs/operations.md`, 'utf8').matchAll(/`(sluice_[a-z_]+)`/g)].map(([, name = '']) => ({
    name,
    places: source.reduce((sum, text) => sum + text.split(`'${name}'`).length - 1, 0),
  }));
  expect(places.filter((each) => each.places !== 1)).toEqual([]);
});
