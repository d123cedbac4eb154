import { expect, test } from 'vitest';
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling } from '../core/specs.ts';
import { Machine } from './machine.ts';
import { type Rig, rigged, settingsOf } from './rig.ts';

/* Who may renew and end a permit: the credential that asked for it, and nobody who only knows or guesses its name. */

const UNKNOWN = { kind: 'refused', refusal: { reason: 'unknown_permit' } };

const dropped = (rig: Rig, caller: string, permit: string) => rig.admission.release({ caller, permit, disposition: 'dropped', retryAfter: HOUR });

const paused = (rig: Rig, name = 'g'): boolean => {
  const view = rig.admission.group(name);
  return !('reason' in view) && (view.pausedUntil !== undefined || view.pausedKeys > 0);
};

test('a made-up permit pauses no group, and its answer does not tell whether the group exists', async () => {
  const rig = await rigged([settingsOf(group('g', [rate(100, SECOND, 10)])), settingsOf(group('leases', [concurrency(2)]))]);
  const proof = 'AAAAAAAAAAAA';
  const tag = '0123456789abcd';
  const made = ['~1', '~1~', `~1~${proof}`, `~1~${proof}~YWNtZQ`, `~1~${tag}`, '~zzzzzzzzzzz'];
  for (const how of made) {
    const answers = [];
    for (const name of ['g', 'leases', 'nowhere']) {
      answers.push(await dropped(rig, '', `${name}${how}`));
      answers.push(await rig.admission.release({ caller: '', permit: `${name}${how}`, disposition: 'used' }));
      answers.push(await rig.admission.renew('', `${name}${how}`, undefined));
    }
    for (const answer of answers) expect(answer).toMatchObject(UNKNOWN);
    const [released, , renewed] = answers;
    expect(answers).toEqual([released, released, renewed, released, released, renewed, released, released, renewed]);
  }
  expect(paused(rig)).toBe(false);
  expect(paused(rig, 'leases')).toBe(false);
});

test('a permit of which nothing is remembered pauses its group for the credential that it was given to, and for no other', async () => {
  const rig = await rigged([settingsOf(group('g', [rate(100, SECOND, 10)]), { pushback: { scope: 'group', max: HOUR } })]);
  const { id } = await rig.asked({ caller: 'mine' });
  for (const caller of ['', 'other', 'min', 'mine2']) expect(await dropped(rig, caller, id)).toEqual(UNKNOWN);
  for (const changed of [id.replace('g~', 'h~'), `${id.slice(0, -1)}${id.endsWith('A') ? 'B' : 'A'}`]) {
    expect(await dropped(rig, 'mine', changed)).toEqual(UNKNOWN);
  }
  expect(paused(rig)).toBe(false);
  expect(await dropped(rig, 'mine', id)).toEqual({ kind: 'released', ended: false });
  expect(paused(rig)).toBe(true);
});

test('a permit of which nothing is remembered pauses the key that it was given for', async () => {
  const spec = group('g', [rate(100, SECOND, 10, { scope: 'key' })]);
  const rig = await rigged([settingsOf(spec)]);
  const { id } = await rig.asked({ key: 'acmé/1' });
  expect(await dropped(rig, '', id)).toEqual({ kind: 'released', ended: false });
  expect([rig.ask({ key: 'acmé/1', wait: 0 }).outcome?.kind, rig.ask({ key: '', wait: 0 }).outcome?.kind]).toEqual(['refused', 'admitted']);
});

test.each([
  ['with a lease', concurrency(2), {}],
  ['whose costs can be settled', rolling(10_000, MINUTE, { unit: 'tokens' }), { costs: { tokens: 5 } }],
] as const)('a permit %s is renewed and ended by the credential that asked for it alone', async (_what, limit, more) => {
  const rig = await rigged([settingsOf(group('g', [limit]))]);
  const { id } = await rig.asked({ caller: 'mine', ...more });
  for (const caller of ['', 'other']) {
    expect(await rig.admission.renew(caller, id, MINUTE)).toEqual(UNKNOWN);
    expect(await dropped(rig, caller, id)).toEqual(UNKNOWN);
    expect(await rig.admission.release({ caller, permit: id, disposition: 'used', costs: { tokens: 0 } })).toEqual(UNKNOWN);
  }
  expect(paused(rig)).toBe(false);
  expect(await dropped(rig, 'mine', id)).toEqual({ kind: 'released', ended: true });
  expect(paused(rig)).toBe(true);
  // Also of one that is over, others learn nothing.
  expect(await rig.admission.release({ caller: 'other', permit: id, disposition: 'used' })).toEqual(UNKNOWN);
  expect(await rig.admission.release({ caller: 'mine', permit: id, disposition: 'used' })).toEqual({ kind: 'released', ended: false });
});

test('after a crash, a snapshot and a clean stop a lease is still that of its credential', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const first = await machine.start();
  const { id } = await first.asked({ caller: 'mine', lease: 10 * MINUTE });
  const crashed = await machine.restartAfter(1);
  await crashed.pass(2);
  expect(await crashed.admission.renew('other', id, MINUTE)).toEqual(UNKNOWN);
  expect(await crashed.admission.renew('mine', id, 10 * MINUTE)).toMatchObject({ kind: 'renewed' });
  await crashed.admission.drain(SECOND);
  const stopped = await machine.restartAfter(1);
  await stopped.pass(2);
  expect(await dropped(stopped, 'other', id)).toEqual(UNKNOWN);
  expect(await stopped.admission.release({ caller: 'mine', permit: id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
});

test('what stands for forwarded requests after a crash is no caller to end', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const first = await machine.start();
  await first.asked({ reported: true, lease: 10 * SECOND });
  const next = await machine.restartAfter(1);
  await next.pass(2);
  const leases = next.admission.leases('g', { size: 10, token: '' });
  const id = 'items' in leases ? (leases.items[0]?.id ?? '') : '';
  expect(id).not.toBe('');
  expect(await next.admission.release({ caller: '', permit: id, disposition: 'used' })).toEqual(UNKNOWN);
  expect(await next.admission.revokeLease('g', id)).toBeUndefined();
});

test('a permit is not known by the name of another group of its tree', async () => {
  const rig = await rigged([
    settingsOf(group('top', [concurrency(9)])),
    settingsOf(group('a', [], { parent: { group: 'top', share: undefined } })),
    settingsOf(group('b', [], { parent: { group: 'top', share: undefined } })),
  ]);
  const { id } = await rig.asked({ group: 'b' });
  const other = id.replace('b~', 'a~');
  expect(await dropped(rig, '', other)).toEqual(UNKNOWN);
  expect(await rig.admission.renew('', other, MINUTE)).toEqual(UNKNOWN);
  expect(await rig.admission.revokeLease('a', other)).toMatchObject({ reason: 'unknown_permit' });
  expect(paused(rig, 'a')).toBe(false);
  expect(await rig.admission.revokeLease('b', id)).toBeUndefined();
});

test('an operator of one key ends the waiters and leases of that key alone', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const { id } = await rig.asked({ key: 'acme' });
  rig.ask({ key: 'acme' });
  const waiters = rig.admission.waiters('g', { size: 10, token: '' });
  const waiter = 'items' in waiters ? (waiters.items[0]?.id ?? '') : '';
  expect(await rig.admission.evictWaiter('g', waiter, 'other')).toMatchObject({ reason: 'unknown_request' });
  expect(await rig.admission.revokeLease('g', id, 'other')).toMatchObject({ reason: 'unknown_permit' });
  expect(rig.waiting()).toBe(1);
  expect(await rig.admission.evictWaiter('g', waiter, 'acme')).toBeUndefined();
  expect(await rig.admission.revokeLease('g', id, 'acme')).toBeUndefined();
});
