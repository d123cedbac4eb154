import { expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import type { Quota } from '../../src/core/group.ts';
import { DAY, MINUTE, SECOND } from '../../src/core/time.ts';
import { divideQuota } from '../../src/relay/degraded-mode.ts';
import { settingsOf } from '../admission/rig.ts';
import { concurrency, group, rolling, spacing } from '../core/specs.ts';
import { type Fleet, launched, type Node } from './fleet.ts';

const settings: readonly GroupSettings[] = [
  settingsOf(group('closed', [rolling(6, MINUTE)])),
  settingsOf(group('share', [rolling(6, MINUTE)]), { unreachable: 'share' }),
  settingsOf(group('slots', [concurrency(3)]), { unreachable: 'share' }),
  settingsOf(group('open', [rolling(1, MINUTE)]), { unreachable: 'open' }),
];

/** NATS is away for this node. */
async function cutOff(fleet: Fleet, node: Node): Promise<void> {
  fleet.bus.cut = (from, to) => from === node.name || to.startsWith(`to.${node.name}-`);
  fleet.hears = (a, b) => a !== node && b !== node;
  for (const shard of [0, 1, 2, 3]) {
    node.view.set(shard, { at: 'nowhere' });
    node.relay.onReplica({ kind: 'placed', shard, at: { at: 'nowhere' } });
  }
  node.relay.onReplica({ kind: 'reachable', reachable: false });
  await fleet.pass(0.01);
}

async function back(fleet: Fleet, node: Node): Promise<void> {
  fleet.bus.cut = () => false;
  fleet.hears = () => true;
  node.relay.onReplica({ kind: 'reachable', reachable: true });
  for (const [shard, { node: owner, term }] of fleet.owners) {
    const at = { at: 'peer' as const, instance: owner.instance, term };
    node.view.set(shard, at);
    node.relay.onReplica({ kind: 'placed', shard, at });
  }
  await fleet.pass(1);
}

async function three(): Promise<readonly [Fleet, Node]> {
  const fleet = await launched(settings);
  for (const node of fleet.nodes) node.relay.onReplica({ kind: 'peers' });
  const [, b] = fleet.nodes;
  await cutOff(fleet, b!);
  return [fleet, b!];
}

test('Cut off, a group that is closed waits for whoever decides, and is undecided when the wait timeout ends', async () => {
  const [fleet, b] = await three();
  const [patient, hasty] = [b.ask({ group: 'closed' }), b.ask({ group: 'closed', wait: 2 * SECOND })];
  await fleet.pass(2.1);
  expect([patient.told, hasty.refusal]).toMatchObject([0, { reason: 'undecided', retryAt: expect.any(Number) }]);
  await back(fleet, b);
  expect(patient.outcome).toMatchObject({ kind: 'admitted' });
  expect(patient.outcome).not.toHaveProperty('degraded');
});

test('Cut off, a group that shares admits its part of the limit, flagged and counted, and goes back to the whole', async () => {
  const [fleet, b] = await three();
  const callers = Array.from({ length: 3 }, () => b.ask({ group: 'share' }));
  for (const { outcome } of callers.slice(0, 2)) expect(outcome).toMatchObject({ kind: 'admitted', degraded: 'share' });
  expect(callers[2]!.told).toBe(0);
  expect(b.events.filter(({ kind }) => kind === 'degraded')).toEqual(Array(2).fill({ kind: 'degraded', group: 'share', how: 'share' }));
  expect(b.events).toContainEqual({ kind: 'alone', isIsolated: true, replicas: 3 });
  await back(fleet, b);
  expect(callers[2]!.outcome).toMatchObject({ kind: 'admitted' });
  expect(callers[2]!.outcome).not.toHaveProperty('degraded');
});

test('Cut off, a cost above the part of a limit is not called too large for ever', async () => {
  const [, b] = await three();
  expect(b.ask({ group: 'share', costs: { requests: 3 } }).refusal).toMatchObject({ reason: 'undecided', retryAt: expect.any(Number) });
});

test('A lease of a share is renewed and released while it lasts, and leniently after', async () => {
  const [fleet, b] = await three();
  const admission = b.relay.admission;
  const [first, second] = [b.ask({ group: 'slots' }), b.ask({ group: 'slots' })];
  expect([first.told, second.told]).toEqual([1, 0]);
  expect(await admission.renew('', first.id, MINUTE)).toMatchObject({ kind: 'renewed' });
  expect(await admission.release({ caller: '', permit: first.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  await fleet.pass(0.01);
  expect(second.outcome).toMatchObject({ kind: 'admitted', degraded: 'share' });
  await back(fleet, b);
  const now = b.clock.now();
  expect(await admission.renew('', second.id, MINUTE)).toMatchObject({ kind: 'renewed', permit: { expiresAt: now + MINUTE } });
  expect(await admission.release({ caller: '', permit: second.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
});

test('A lease of a share is renewed and ended by its credential alone, while it lasts and after', async () => {
  const [fleet, b] = await three();
  const admission = b.relay.admission;
  const { id } = b.ask({ group: 'slots', caller: 'mine' });
  const refused = { kind: 'refused', refusal: { reason: 'unknown_permit' } };
  const others = async () => {
    expect(await admission.renew('other', id, MINUTE)).toEqual(refused);
    expect(await admission.release({ caller: 'other', permit: id, disposition: 'used' })).toEqual(refused);
  };
  await others();
  expect(await admission.renew('mine', id, MINUTE)).toMatchObject({ kind: 'renewed' });
  await back(fleet, b);
  await others();
  expect(await admission.release({ caller: 'mine', permit: id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
});

test('Cut off, permits of which nothing is remembered end at once', async () => {
  const [, b] = await three();
  const admission = b.relay.admission;
  for (const name of ['share', 'open']) {
    expect(await admission.release({ caller: '', permit: b.ask({ group: name }).id, disposition: 'used' })).toEqual({ kind: 'released', ended: false });
  }
});

test('Cut off, a group that is open lets everybody pass and counts them', async () => {
  const [, b] = await three();
  const callers = Array.from({ length: 5 }, () => b.ask({ group: 'open' }));
  for (const { outcome } of callers) expect(outcome).toMatchObject({ kind: 'admitted', degraded: 'open' });
  expect(new Set(callers.map(({ id }) => id)).size).toBe(5);
  expect(b.events.filter((event) => event.kind === 'degraded' && event.how === 'open')).toHaveLength(5);
});

test('Who waits at a peer when the replica is cut off goes on with the share, and is told once', async () => {
  const fleet = await launched([settingsOf(group('share', [spacing(10 * SECOND)]), { unreachable: 'share' })]);
  const [a, b] = fleet.nodes;
  a!.ask({ group: 'share' });
  await fleet.pass(0.01);
  const waiting = b!.ask({ group: 'share' });
  await fleet.pass(0.01);
  await cutOff(fleet, b!);
  expect(waiting.outcome).toMatchObject({ kind: 'admitted', degraded: 'share' });
  await back(fleet, b!);
  await fleet.pass(30);
  expect(waiting.told).toBe(1);
});

test('Each kind of limit has its part, rounded down and never to nothing', () => {
  const parts: readonly (readonly [Quota, number, object])[] = [
    [{ kind: 'window', permits: 10, per: MINUTE }, 3, { permits: 3, per: MINUTE }],
    [{ kind: 'window', permits: 2, per: MINUTE }, 3, { permits: 1, per: 90 * SECOND }],
    [{ kind: 'rate', permits: 500, per: MINUTE, burst: 20 }, 3, { permits: 166, per: MINUTE, burst: 6 }],
    [{ kind: 'rate', permits: 1, per: SECOND, burst: 1 }, 3, { permits: 1, per: 3 * SECOND, burst: 1 }],
    [{ kind: 'spacing', spacing: 5 * SECOND, slack: SECOND }, 3, { spacing: 15 * SECOND, slack: 3 * SECOND }],
    [{ kind: 'concurrency', max: 8 }, 3, { max: 2 }],
    [{ kind: 'concurrency', max: 2 }, 3, { max: 1 }],
    [{ kind: 'fixed', permits: 1000, per: DAY, align: 'epoch', day: 1, time: 0, timezone: 'UTC', spill: 100 }, 3, { permits: 333, per: DAY, spill: 33 }],
    [{ kind: 'fixed', permits: 2, per: DAY, align: 'first', day: 1, time: 0, timezone: 'UTC', spill: 0 }, 3, { permits: 1, per: 1.5 * DAY }],
    [{ kind: 'fixed', permits: 2, per: 'month', align: 'calendar', day: 1, time: 0, timezone: 'UTC', spill: 0 }, 3, { permits: 1, per: 'month' }],
  ];
  for (const [whole, replicas, part] of parts) expect(divideQuota(whole, replicas)).toMatchObject(part);
  for (const [whole] of parts) expect(divideQuota(whole, 1)).toEqual(whole);
});
