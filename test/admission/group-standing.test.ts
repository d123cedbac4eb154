import { expect, test } from 'vitest';
import type { GroupView } from '../../src/admission/admission.ts';
import { MINUTE, NEVER, SECOND } from '../../src/core/time.ts';
import { concurrency, group, spacing, t } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { Rig, settingsOf } from './rig.ts';

/* State of a group, what binds it, and what its callers did: as people look at it. */

async function viewOf(rig: Rig, name: string): Promise<GroupView> {
  const view = await rig.admission.group(name);
  if ('reason' in view) throw new Error(`no view: ${view.reason}`);
  return view;
}

async function standing(rig: Rig, name: string): Promise<NonNullable<GroupView['standing']>> {
  const { standing: found } = await viewOf(rig, name);
  if (found === undefined) throw new Error('no standing');
  return found;
}

/** Time passes up to `seconds` after the start. */
const to = (rig: Rig, seconds: number): Promise<void> => rig.pass((t(seconds) - rig.clock.now()) / SECOND);

test('a group behind a hung holder is stuck after 30 s, and names the holder', async () => {
  const rig = new Rig([settingsOf(group('slots', [concurrency(1, { name: 'one' })]))]);
  await rig.admission.start();
  await rig.asked({ group: 'slots', key: 'acme', holder: 'worker-7', lease: 10 * MINUTE });
  for (let count = 0; count < 3; count++) await rig.asked({ group: 'slots', key: count < 2 ? 'a' : 'b', holder: `job-${count}` });

  expect(await standing(rig, 'slots')).toMatchObject({ state: 'moving', stateSince: t(0), binding: { kind: 'concurrency', limit: 'one', opensAt: NEVER } });
  await to(rig, 29);
  expect(await standing(rig, 'slots')).toMatchObject({ state: 'moving' });
  await to(rig, 31);
  expect(await standing(rig, 'slots')).toMatchObject({
    state: 'stuck',
    stateSince: t(0),
    binding: {
      group: 'slots',
      capacity: 1,
      used: 1,
      holders: { count: 1, oldest: { holder: 'worker-7', key: 'acme', since: t(0), expiresAt: t(600) } },
      loudest: { key: 'a', waiting: 2, share: 2 / 3 },
    },
    activity: { arrived: 4, left: 0, lastAdmittedAt: t(0) },
  });
});

test('a semaphore whose jobs take ten minutes is not stuck between them', async () => {
  const rig = new Rig([settingsOf(group('ci', [concurrency(1)]))]);
  await rig.admission.start();
  let holder = await rig.asked({ group: 'ci', lease: 10 * MINUTE, wait: 3600 * SECOND });
  for (let job = 1; job <= 3; job++) {
    const next = await rig.asked({ group: 'ci', lease: 10 * MINUTE, wait: 3600 * SECOND });
    await to(rig, job * 500);
    if (job > 1) expect((await standing(rig, 'ci')).state).toBe('moving');
    await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
    await settled();
    next.held.delivered();
    holder = next;
  }
  await rig.asked({ group: 'ci', wait: 3600 * SECOND });
  await to(rig, 1500 + 599);
  expect(await standing(rig, 'ci')).toMatchObject({ state: 'moving', activity: { longestGap: 500 * SECOND } });
});

test('a pause says who paused and why, and what waits behind spacing knows when it opens', async () => {
  const rig = new Rig([settingsOf(group('pace', [spacing(5 * SECOND)]))]);
  await rig.admission.start();
  await rig.asked({ group: 'pace' });
  const waiter = await rig.asked({ group: 'pace' });
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'moving', binding: { kind: 'spacing', opensAt: t(5), holders: undefined } });

  await rig.admission.pause('pace', undefined, 10 * MINUTE, { by: 'ana', reason: 'ledger migration' });
  expect(await standing(rig, 'pace')).toMatchObject({
    state: 'paused',
    stateSince: t(0),
    binding: { kind: 'pause', group: 'pace', opensAt: t(600) },
    pause: { since: t(0), by: 'ana', reason: 'ledger migration' },
  });
  await rig.admission.resume('pace', undefined);
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'moving', pause: undefined });

  waiter.held.cancel();
  await to(rig, 1);
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'open', binding: undefined, activity: { arrived: 2, left: 1, busySince: undefined } });
});

test('a key that is paused alone is named, and an override says what it changed', async () => {
  const rig = new Rig([settingsOf(group('keys', [spacing(5 * SECOND, 0, { name: 'pace' })]))]);
  await rig.admission.start();
  await rig.admission.pause('keys', 'acme', undefined, { by: 'bo', reason: '' });
  await rig.asked({ group: 'keys', key: 'acme' });
  expect(await standing(rig, 'keys')).toMatchObject({
    state: 'paused',
    binding: { kind: 'pause', key: 'acme', opensAt: NEVER },
    keyPauses: [{ key: 'acme', until: NEVER, note: { by: 'bo', since: t(0) } }],
  });
  const quota = { kind: 'spacing', spacing: SECOND, slack: 0 } as const;
  await rig.admission.override('keys', { limits: new Map([['pace', quota]]), enforce: false, for: MINUTE }, { by: 'bo', reason: 'sale' });
  expect((await standing(rig, 'keys')).override).toEqual({
    until: t(60),
    limits: [{ name: 'pace', from: { kind: 'spacing', spacing: 5 * SECOND, slack: 0 }, to: quota }],
    enforce: { from: true, to: false },
    note: { by: 'bo', reason: 'sale', since: t(0) },
  });
  expect((await viewOf(rig, 'keys')).enforce).toBe(false);
});

test('fifteen minutes of arrivals, admissions and refusals are kept in steps of 10 s', async () => {
  const rig = new Rig([settingsOf(group('pace', [spacing(5 * SECOND)]))]);
  await rig.admission.start();
  await rig.asked({ group: 'pace' });
  await rig.asked({ group: 'pace', wait: 0 });
  await to(rig, 25);
  await rig.asked({ group: 'pace' });
  const { history, activity } = await standing(rig, 'pace');
  expect(history).toEqual({ from: t(0), step: 10 * SECOND, arrived: [2, 0, 1], admitted: [1, 0, 1], refused: [1, 0, 0] });
  expect(activity.refused).toEqual({ infeasible: 1 });

  await to(rig, 930);
  const later = await standing(rig, 'pace');
  expect(later.history?.arrived).toHaveLength(90);
  expect(later.history?.from).toBe(t(40));
  expect([...(later.history?.arrived ?? [])].some((count) => count > 0)).toBe(false);
  expect(later.activity.refused).toEqual({});
});

test('a group is late once the waiter observed longest waits beyond the range that it was given on arrival', async () => {
  const rig = new Rig([settingsOf(group('pace', [spacing(5 * SECOND)]))]);
  await rig.admission.start();
  await rig.asked({ group: 'pace' });
  await to(rig, 1);
  for (let caller = 0; caller < 2; caller++) await rig.asked({ group: 'pace' });
  const slower = { limits: new Map([['spacing', { kind: 'spacing', spacing: MINUTE, slack: 0 } as const]]), enforce: undefined, for: 10 * MINUTE };
  expect(await rig.admission.override('pace', slower)).toBeUndefined();
  await to(rig, 5);
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'moving' });
  await rig.clock.advanceAsync(1);
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'late', stateSince: t(5) });
  await to(rig, 600 + 5);
  expect(await standing(rig, 'pace')).toMatchObject({ state: 'open' });
});

test('a group below a paused one is paused, too, though no caller waits in it', async () => {
  const rig = new Rig([settingsOf(group('provider', [spacing(SECOND)])), settingsOf(group('search', [], { parent: { group: 'provider', share: undefined } }))]);
  await rig.admission.start();
  await rig.admission.pause('provider', undefined, 10 * MINUTE, { by: 'ana', reason: '' });
  expect(await standing(rig, 'search')).toMatchObject({ state: 'paused', binding: { kind: 'pause', group: 'provider', opensAt: t(600) } });
  await rig.admission.resume('provider', undefined);
  expect(await standing(rig, 'search')).toMatchObject({ state: 'open', binding: undefined });
});
