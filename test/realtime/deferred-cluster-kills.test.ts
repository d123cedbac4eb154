import { expect, test } from 'vitest';
import { playClusterKills } from '../ordeals/deferred-cluster-kills.ts';

/* A small run of the ordeal `deferred-cluster-kills`, and the same with replicas that acknowledge before NATS has the request. */

test('RQ-13: nothing that any replica acknowledged is lost when replicas are killed while they store and deliver', async () => {
  const said: string[] = [];
  await playClusterKills({ requests: 300, kills: 3, atOnce: 16, nats: 1, natsEach: 0 }, (text) => said.push(text));
  expect(said.at(0)).toMatch(/^300 acknowledged, 3 kills/);
}, 180_000);

test('the judge finds replicas out that acknowledge before NATS has the request', async () => {
  const run = playClusterKills({ requests: 300, kills: 3, atOnce: 16, nats: 1, natsEach: 0, broken: true }, () => undefined);
  await expect(run).rejects.toThrow(/acknowledged and lost: k\d+ /);
}, 180_000);
