import { createHash } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ability } from '../../src/admission/credential.ts';
import { ActivityLog } from '../../src/api/activity-log.ts';
import { createAuth } from '../../src/api/auth.ts';
import type { OperatorEvent } from '../../src/api/operator-event.ts';
import { MINUTE } from '../../src/core/time.ts';
import { Rig, settingsOf } from '../admission/rig.ts';
import { concurrency, group } from '../core/specs.ts';
import { type RestServer, startRest } from './rest/server.ts';

/* Changes of operators: tried first, refused when the state has changed meanwhile, answered with before and after, and kept as activity. */

let rig: Rig;
let server: RestServer;
let permit: string;
let events: OperatorEvent[];
const activity = new ActivityLog();
const credential = (name: string, groups?: readonly string[], can: readonly Ability[] = ['read', 'manage']) => ({
  ...{ name, sha256: createHash('sha256').update(name).digest('hex'), can, groups, key: undefined, classes: undefined },
});

beforeEach(async () => {
  rig = new Rig([settingsOf(group('slots', [concurrency(3, { name: 'one' })])), settingsOf(group('other', []))]);
  await rig.admission.start();
  permit = (await rig.asked({ group: 'slots', key: 'acme', holder: 'worker-7', lease: 10 * MINUTE })).id;
  for (let count = 0; count < 2; count++) await rig.asked({ group: 'slots', lease: 10 * MINUTE });
  await rig.asked({ group: 'slots', holder: 'job-1' });
  events = [];
  const onOperator = (event: OperatorEvent): string => {
    events.push(event);
    const { caller: who, kind: what, group: name, reason = '', refused = '' } = event;
    return activity.add({ at: 1_000, who, what, group: name, reason, text: `${who} ${what}`, refused });
  };
  server = await startRest({
    admission: rig.admission,
    auth: createAuth([credential('ana'), credential('bo', ['other']), credential('cy', undefined, ['manage'])]),
    onOperator,
    activity,
  });
});
afterEach(() => server.stop());

async function call(method: string, path: string, body?: object, who = 'ana'): Promise<{ status: number; body: Record<string, unknown> }> {
  const headers = { authorization: `Bearer ${who}`, 'content-type': 'application/json' };
  const response = await fetch(`${server.baseUrl}/v1${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test('a dry run says what would happen and changes nothing; the same call does it, and says before and after', async () => {
  const dry = await call('POST', '/groups/slots/pause', { duration: '10m', dryRun: true });
  expect(dry.body).toMatchObject({
    effect: ['No new caller passes. The one that waits waits on.', '3 leases live on.', 'New callers whose wait ends before are refused as infeasible.'],
    undo: 'Resume.',
    before: { name: 'slots', state: 'moving' },
    audit: '',
  });
  expect(dry.body['after']).toBeUndefined();
  expect(events).toEqual([]);
  expect((await call('GET', '/groups/slots')).body).toMatchObject({ state: 'moving' });

  const done = await call('POST', '/groups/slots/pause', { duration: '10m', reason: 'ledger migration', expect: dry.body['expect'] });
  expect(done.body).toMatchObject({
    before: { state: 'moving' },
    after: { state: 'paused', pause: { by: 'ana', reason: 'ledger migration' }, binding: { text: 'paused by ana for 10m 00s more: ledger migration' } },
    audit: expect.stringMatching(/^\d+$/),
  });
  expect(events).toMatchObject([{ kind: 'group_paused', caller: 'ana', reason: 'ledger migration' }]);
});

test('a change is refused as a conflict where the state has changed since its dry run', async () => {
  const dry = await call('POST', '/groups/slots/pause', { dryRun: true });
  await rig.admission.pause('slots', undefined, MINUTE);
  const late = await call('POST', '/groups/slots/pause', { expect: dry.body['expect'] });
  expect(late).toMatchObject({ status: 409, body: { reason: 'conflict', detail: expect.stringContaining('It is paused already') } });
  expect(events).toEqual([]);
});

test('a dry run of a revocation names the holder, and one of a lease that is over is refused', async () => {
  const dry = await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}?dryRun=true`);
  expect(dry.body['effect']).toEqual([
    'What it holds is free at once, for the next that waits.',
    'worker-7: the next renewal or release is refused as fenced.',
    expect.stringContaining('cannot stop work'),
  ]);
  expect(rig.waiting('slots')).toBe(1);
  expect((await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}?reason=hung`)).body).toMatchObject({ after: { waiting: '0' } });
  expect(await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}?dryRun=true`)).toMatchObject({ status: 404 });
});

test('a dry run of an eviction is refused where the waiter is gone', async () => {
  const { waiters } = (await call('GET', '/groups/slots/waiters')).body as { waiters: readonly { readonly id: string }[] };
  const path = `/groups/slots/waiters/${encodeURIComponent(waiters[0]?.id ?? '')}`;
  expect((await call('DELETE', `${path}?dryRun=true`)).body['effect']).toEqual([expect.stringContaining('refused as cancelled')]);
  expect((await call('DELETE', path)).status).toBe(200);
  expect(await call('DELETE', `${path}?dryRun=true`)).toMatchObject({ status: 404, body: { reason: 'unknown_request' } });
});

test('a dry run of an override says what it changes, and what is in use over it', async () => {
  const dry = await call('POST', '/groups/slots/override', { limits: { one: { concurrency: { max: 1 } } }, duration: '1h', dryRun: true });
  expect(dry.body['effect']).toEqual([
    'one: 3 at once becomes 1 at once.',
    '3 in use over 1: no holder is stopped, and none passes until 2 came back.',
    'The file holds again by itself in 1h 00m.',
  ]);
  expect((await call('GET', '/groups/slots')).body).toMatchObject({ limits: [{ quota: '3 at once' }] });
});

test('a dry run of a second override says what of the first it puts back', async () => {
  await call('POST', '/groups/slots/override', { limits: { one: { concurrency: { max: 5 } } }, duration: '1h' });
  const dry = await call('POST', '/groups/slots/override', { enforce: false, duration: '10m', dryRun: true });
  expect((dry.body['effect'] as string[])[0]).toBe('It replaces the override in force as a whole: one is 3 at once again.');
  const same = await call('POST', '/groups/slots/override', { limits: { one: { concurrency: { max: 4 } } }, duration: '10m', dryRun: true });
  expect((same.body['effect'] as string[])[0]).toBe('It replaces the override in force as a whole.');
});

test('a dry run of a revocation promises the slot to no waiter while the group is paused', async () => {
  const { leases } = (await call('GET', '/groups/slots/leases')).body as { leases: readonly { readonly permit: string }[] };
  const path = `/groups/slots/leases/${encodeURIComponent(leases[0]?.permit ?? '')}?dryRun=true`;
  await call('POST', '/groups/slots/pause', {});
  expect(((await call('DELETE', path)).body['effect'] as string[])[0]).toBe('What it holds is free at once; nobody goes while the group is paused.');
});

test('what operators did is listed, the newest first, to those who may see the group', async () => {
  await call('POST', '/groups/slots/pause', {});
  await call('POST', '/groups/slots/resume', { reason: 'over' });
  const all = await call('GET', '/activity?limit=1&group=slots');
  expect(all.body).toMatchObject({ activity: [{ who: 'ana', what: 'group_resumed', group: 'slots', reason: 'over', severity: 'info' }] });
  const next = await call('GET', `/activity?limit=1&group=slots&after=${String(all.body['nextPageToken'])}`);
  expect(next.body).toMatchObject({ activity: [{ what: 'group_paused' }] });
  expect((await call('GET', '/activity', undefined, 'bo')).body['activity']).toEqual([]);
  expect((await call('GET', '/activity?group=slots', undefined, 'bo')).status).toBe(403);
});

test('a caller learns who it is and what it may do, and what runs', async () => {
  expect((await call('GET', '/me', undefined, 'bo')).body).toEqual({ name: 'bo', can: ['read', 'manage'], groups: ['other'] });
  expect((await call('GET', '/server')).body).toMatchObject({ auth: true, version: '', now: '2026-01-05T00:00:00Z' });
});

test('a reason of more than 256 bytes is refused', async () => {
  expect(await call('POST', '/groups/slots/pause', { reason: 'x'.repeat(257) })).toMatchObject({ status: 400 });
});

test.each([
  ['?dryRun=true', undefined],
  ['?dry_run=true', undefined],
  ['', { dryRun: true }],
  ['?dryRun=true', { dryRun: true }],
])('a DELETE with %j and the body %j is tried only', async (query, body) => {
  const dry = await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}${query}`, body);
  expect(dry).toMatchObject({ status: 200, body: { audit: '', expect: expect.stringMatching(/./) } });
  expect([events, rig.waiting('slots')]).toEqual([[], 1]);
});

test.each([
  ['?dryRun=yes', undefined],
  ['?dryrun=true', undefined],
  ['?dryRun=false', { dryRun: true }],
  ['', { dryRun: 'yes' }],
])('a DELETE whose dry run is not understood, %j and the body %j, is refused and does nothing', async (query, body) => {
  expect((await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}${query}`, body)).status).toBe(400);
  expect([events, rig.waiting('slots')]).toEqual([[], 1]);
});

test('of two changes that were tried on the same state one is done, and the other is a conflict', async () => {
  const { expect: tried } = (await call('POST', '/groups/slots/pause', { dryRun: true })).body;
  const both = await Promise.all([1, 2].map(() => call('POST', '/groups/slots/pause', { expect: tried })));
  expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  expect(events).toHaveLength(1);
});

test('a credential that only manages makes changes, and is not shown the group', async () => {
  const dry = await call('DELETE', `/groups/slots/leases/${encodeURIComponent(permit)}?dryRun=true`, undefined, 'cy');
  expect(dry.body['effect']).toContain('Its holder: the next renewal or release is refused as fenced.');
  const done = await call('POST', '/groups/slots/pause', {}, 'cy');
  expect(done).toMatchObject({ status: 200, body: { undo: 'Resume.' } });
  expect([dry.body['before'], done.body['before'], done.body['after']]).toEqual([undefined, undefined, undefined]);
});

test('a change of a group that is not there is refused, and kept as an attempt; a dry run is not', async () => {
  expect((await call('POST', '/groups/none/pause', { dryRun: true })).status).toBe(404);
  expect((await call('POST', '/groups/none/pause', {})).status).toBe(404);
  expect(events).toMatchObject([{ kind: 'group_paused', group: 'none', refused: 'unknown_group' }]);
});
