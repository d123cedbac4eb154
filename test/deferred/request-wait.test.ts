import { expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { StoreUnavailable } from '../../src/deferred/store.ts';
import { settingsOf } from '../admission/rig.ts';
import { concurrency, group, rolling } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { ANYONE, DeferredRig, routeOf, SUBMISSION } from './rig.ts';

/* What a request waits for, as it is shown. */

const open = settingsOf(group('g', [rolling(10_000, SECOND)]));

async function waits(rig: DeferredRig, id: string): Promise<readonly unknown[]> {
  const found = await rig.service.get(ANYONE, id, 0);
  if ('reason' in found) throw new Error(found.reason);
  const listed = await rig.service.list(ANYONE, NO_FILTER, 100, '');
  if (!('reason' in listed)) {
    const { state, waitsFor, nextAttemptAt } = listed.requests.find((each) => each.id === id) ?? found;
    expect([state, waitsFor, nextAttemptAt]).toEqual([found.state, found.waitsFor, found.nextAttemptAt]);
  }
  return [found.state, found.waitsFor, found.nextAttemptAt === 0 ? 0 : found.nextAttemptAt - rig.nowMs];
}

const NO_FILTER = { state: 'pending', group: undefined, key: undefined, error: undefined, since: undefined, until: undefined } as const;

test('its time: not before, and the next attempt', async () => {
  const rig = await new DeferredRig([open]).start();
  rig.behave = () => ({ status: 500 });
  const { id: later } = await rig.submit({ notBeforeMs: rig.nowMs + 60_000 });
  const { id: failed } = await rig.submit();
  await rig.pass(0.5);
  expect(await waits(rig, later)).toEqual(['pending', 'due', 59_500]);
  expect(await waits(rig, failed)).toEqual(['pending', 'due', 500]);
});

test('its turn in the group, which has no time', async () => {
  const rig = await new DeferredRig([settingsOf(group('g', [concurrency(1)]))]).start();
  rig.behave = () => ({ status: 0 });
  const { id: first } = await rig.submit();
  const { id: second } = await rig.submit();
  expect(await waits(rig, first)).toEqual(['sending', '', 0]);
  expect(await waits(rig, second)).toEqual(['pending', 'turn', 0]);
});

test('an earlier request of its key', async () => {
  const rig = await new DeferredRig([open], { routes: [routeOf({ order: 'key' })] }).start();
  rig.behave = () => ({ status: 0 });
  await rig.submit({ key: 'a' });
  const { id } = await rig.submit({ key: 'a' });
  expect(await waits(rig, id)).toEqual(['pending', 'key', 0]);
});

test('its route, which is not in the file any more', async () => {
  const rig = await new DeferredRig([settingsOf(group('g', [concurrency(1)]))]).start();
  rig.behave = () => ({ status: 0 });
  await rig.submit();
  const { id } = await rig.submit();
  rig.routes.clear();
  expect(await waits(rig, id)).toEqual(['pending', 'route', 0]);
});

test('a request whose end cannot be stored is shown as being sent, within a second, and its key gets its ticket', async () => {
  const rig = await new DeferredRig([open]).start();
  const { commit } = rig.store;
  let full = false;
  rig.store.commit = (batch) => (full ? Promise.reject(new StoreUnavailable('failed', 'full')) : commit.call(rig.store, batch));
  rig.behave = () => ({ status: 200, takesMs: 100 });
  const { id } = await rig.submit({ idempotencyKey: 'k' });
  full = true;
  await rig.pass(0.2);
  const asked = rig.service.get(ANYONE, id, 0);
  const again = rig.service.submit({ ...SUBMISSION, idempotencyKey: 'k' });
  await rig.pass(1);
  expect(await asked).toMatchObject({ state: 'sending', waitsFor: '' });
  expect(await again).toMatchObject({ kind: 'accepted', id, existing: true });
  full = false;
  await rig.pass(2);
  await settled();
  expect(await rig.service.get(ANYONE, id, 0)).toMatchObject({ state: 'done' });
});
