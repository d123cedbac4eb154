import { afterEach, describe, expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, rate } from '../core/specs.ts';
import { type ForwardRig, forwardRigged, groupOf, quiet, routeOf } from './forward-rig.ts';

let all: ForwardRig;

afterEach(async () => {
  expect(all.faults).toEqual([]);
  await quiet();
  expect(all.clean).toBe(true);
});

const OPEN = groupOf([concurrency(9)]);

describe('a backend that pushes back', () => {
  test.each([429, 503])('with %i and Retry-After: the request is held as long, then sent again; the caller sees one answer', async (status) => {
    all = await forwardRigged({ settings: [OPEN] });
    const { played } = all;
    const caller = await all.sent();
    played.last.answer(status, ['Retry-After', '7'], 'slow down');
    await quiet();
    expect([caller.head, played.attempts.length, all.leases]).toEqual([undefined, 1, 0]);
    await all.pass(6.999);
    expect(played.attempts).toHaveLength(1);
    await all.pass(0.001);
    expect([played.attempts.length, played.last.header('sluice-attempt')]).toEqual([2, '2']);
    played.last.answer(200, [], 'ok');
    expect([caller.head?.status, caller.body, caller.told, caller.header('sluice-attempts')]).toEqual([200, 'ok', 1, '2']);
    expect(all.events).toContainEqual({ kind: 'pushback', route: 'routes[0]', backend: 'shop', retryAfter: 7 * SECOND, replayed: true });
  });

  test('pauses its key and nobody else, or the whole group', async () => {
    for (const scope of ['key', 'group'] as const) {
      all = await forwardRigged({ settings: [groupOf([concurrency(9)], { pushback: { scope, max: MINUTE } })] });
      const { played } = all;
      await all.sent({ headers: ['X-Tenant', 'a'] });
      played.last.answer(429, ['Retry-After', '7']);
      await quiet();
      await all.sent({ headers: ['X-Tenant', 'a'] });
      await all.sent({ headers: ['X-Tenant', 'b'] });
      expect(played.attempts).toHaveLength(scope === 'key' ? 2 : 1);
      played.script = (attempt) => attempt.answer(200);
      for (const attempt of played.attempts) if (!attempt.over) attempt.answer(200);
      await all.pass(7);
      expect(played.attempts).toHaveLength(4);
    }
  });

  test('pauses no longer than the group allows', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(9)], { pushback: { scope: 'key', max: 2 * SECOND } })] });
    const caller = await all.sent({}, routeOf({ pushbackMax: 2 * SECOND }));
    all.played.last.answer(429, ['Retry-After', '3600']);
    await all.pass(2);
    expect(all.played.attempts).toHaveLength(2);
    all.played.last.answer(200);
    expect(caller.head?.status).toBe(200);
  });

  test('each time it is sent it is charged', async () => {
    all = await forwardRigged({ settings: [groupOf([rate(1, 10 * SECOND)])] });
    const caller = await all.sent();
    all.played.last.answer(429, ['Retry-After', '1']);
    await all.pass(9.999);
    expect(all.played.attempts).toHaveLength(1);
    await all.pass(0.001);
    expect(all.played.attempts).toHaveLength(2);
    all.played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('too often: the last answer is the caller’s', async () => {
    all = await forwardRigged({ settings: [OPEN] });
    all.played.script = (attempt) => attempt.answer(429, ['Retry-After', '1'], `no ${all.played.attempts.length}`);
    const caller = await all.sent({ wait: MINUTE });
    await all.pass(30);
    expect([all.played.attempts.length, caller.head?.status, caller.body, caller.told]).toEqual([3, 429, 'no 3', 1]);
    expect(caller.header('retry-after')).toBe('1');
  });

  test.each([
    ['a method that may not be repeated', { method: 'POST' }, ['Retry-After', '1']],
    ['a pause beyond its wait timeout', { wait: 5 * SECOND }, ['Retry-After', '5']],
    ['no word of how long', {}, []],
  ] as const)('%s: the answer is the caller’s, its slot is free', async (_what, request, headers) => {
    all = await forwardRigged({ settings: [OPEN] });
    const caller = await all.sent(request);
    all.played.last.answer(429, [...headers], 'no');
    await quiet();
    expect([caller.head?.status, caller.body, caller.told, all.played.attempts.length, all.leases]).toEqual([429, 'no', 1, 1, 0]);
  });

  test('a POST with an Idempotency-Key is sent again, with its body', async () => {
    all = await forwardRigged({ settings: [OPEN] });
    const caller = await all.sent({ method: 'POST', body: 'abc', headers: ['Idempotency-Key', 'k'] });
    all.played.last.answer(503, ['Retry-After', '1']);
    await all.pass(1);
    expect([await all.played.last.body(), all.played.last.header('idempotency-key')]).toEqual(['abc', 'k']);
    all.played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('the wait timeout ends while it waits anew: refused, and told how often it was sent', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(1)])] });
    const caller = await all.sent({ wait: 10 * SECOND });
    all.played.last.answer(429, ['Retry-After', '2']);
    await quiet();
    await all.pass(1);
    await all.rig.admission.pause('g', undefined, MINUTE);
    await all.pass(9);
    expect([caller.none, caller.told]).toMatchObject([{ kind: 'refused', refusal: { reason: 'expired' }, attempts: 1 }, 1]);
    await all.rig.admission.resume('g', undefined);
  });

  test.each(['key', 'group'] as const)(
    'goes back to its place, before those who came after it, and nobody slips by meanwhile (pause of the %s)',
    async (scope) => {
      all = await forwardRigged({ settings: [groupOf([concurrency(1)], { pushback: { scope, max: MINUTE } })] });
      const { played } = all;
      const order = () => played.attempts.map(({ request }) => request.target);
      for (const target of ['/a', '/b', '/c']) await all.sent({ target });
      played.last.answer(429, ['Retry-After', '5']);
      await all.pass(4);
      await all.sent({ target: '/d' });
      expect(order()).toEqual(['/a']);
      await all.pass(1);
      for (let left = 4; left > 0; left--) {
        played.last.answer(200);
        await quiet();
      }
      expect(order()).toEqual(['/a', '/a', '/b', '/c', '/d']);
    },
  );

  test('twice: its place is that of its first arrival; another class still passes it', async () => {
    const priority = { classes: new Map([['now', 1]]), default: 5 };
    all = await forwardRigged({ settings: [groupOf([concurrency(1)], { priority })] });
    const { played } = all;
    const order = () => played.attempts.map(({ request }) => request.target);
    const route = routeOf({ classes: new Set(['now']) });
    await all.sent({ target: '/a' }, route);
    played.last.answer(503, ['Retry-After', '2']);
    await quiet();
    await all.sent({ target: '/b' }, route);
    await all.pass(2);
    played.last.answer(503, ['Retry-After', '2']);
    await quiet();
    await all.sent({ target: '/urgent', headers: ['X-Group', 'now'] }, route);
    await all.pass(2);
    for (let left = 3; left > 0; left--) {
      played.last.answer(200);
      await quiet();
    }
    expect(order()).toEqual(['/a', '/a', '/urgent', '/a', '/b']);
  });

  test('an answer nobody wants is not read for ever', async () => {
    all = await forwardRigged({ settings: [OPEN] });
    const caller = await all.sent();
    const first = all.played.last;
    first.head(429, ['Retry-After', '1']);
    for (let i = 0; i < 10 && !first.over; i++) first.data('x'.repeat(16_384));
    expect(first.aborted?.message).toBe('the response is not wanted any more');
    await all.pass(1);
    all.played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('without a group nobody is paused, and the answer is the caller’s', async () => {
    all = await forwardRigged({ settings: [OPEN] });
    const caller = await all.sent({}, { ...routeOf(), admission: undefined });
    all.played.last.answer(429, ['Retry-After', '1']);
    expect(caller.head?.status).toBe(429);
  });
});

describe('a backend that says what is left of its quota', () => {
  const names = { remaining: 'x-left', reset: 'x-fresh', retryAfter: 'x-wait' };

  test('at 0 its group pauses until there is more, though the request was served; the caller sees the answer', async () => {
    all = await forwardRigged({ settings: [groupOf([], { pushback: { scope: 'group', max: MINUTE } })], backend: { quotaHeaders: names } });
    const { played } = all;
    const first = await all.sent();
    played.last.answer(200, ['X-Left', '0', 'X-Fresh', '7'], 'ok');
    await quiet();
    expect([first.head?.status, first.body]).toEqual([200, 'ok']);
    await all.sent();
    await all.pass(6.999);
    expect(played.attempts).toHaveLength(1);
    await all.pass(0.001);
    expect(played.attempts).toHaveLength(2);
    played.last.answer(200, ['X-Left', '3', 'X-Fresh', '7'], 'ok');
    await all.sent();
    expect(played.attempts).toHaveLength(3);
    played.last.answer(200, [], 'ok');
    expect(all.events).toContainEqual({ kind: 'pushback', route: 'routes[0]', backend: 'shop', retryAfter: 7 * SECOND, replayed: false });
  });

  test('its own name of Retry-After counts before its reset, and both before the known names; what is no number pauses nobody', async () => {
    all = await forwardRigged({ settings: [groupOf([], { pushback: { scope: 'group', max: MINUTE } })], backend: { quotaHeaders: names } });
    const { played } = all;
    await all.sent();
    played.last.answer(200, ['X-Left', '-1', 'X-Fresh', '30', 'X-Wait', '2', 'Retry-After', '50'], 'ok');
    await quiet();
    await all.sent();
    await all.pass(1.999);
    expect(played.attempts).toHaveLength(1);
    await all.pass(0.001);
    expect(played.attempts).toHaveLength(2);
    played.last.answer(200, ['X-Left', 'none', 'X-Fresh', '30'], 'ok');
    await all.sent();
    expect(played.attempts).toHaveLength(3);
    played.last.answer(200, [], 'ok');
  });
});
