import { describe, expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { settingsOf } from '../admission/rig.ts';
import { concurrency, group, rate, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { ANYONE, DeferredRig, routeOf } from './rig.ts';

/* Scenarios of reQue (RQ) and of the Tarantool queue (TQ), in virtual time. */

const every3s = settingsOf(group('g', [spacing(3 * SECOND)]));
const open = settingsOf(group('g', [rolling(10_000, SECOND)]));
const once = { forMs: 0, firstMs: 1_000, maxMs: 1_000, delaysMs: undefined, attemptsMax: undefined };

async function stateOf(rig: DeferredRig, id: string): Promise<string> {
  const found = await rig.service.get(ANYONE, id, 0);
  return 'reason' in found ? found.reason : found.state;
}

function gaps(rig: DeferredRig): readonly number[] {
  return rig.seen.slice(1).map(({ at }, index) => at - (rig.seen[index]?.at ?? 0));
}

describe('reQue', () => {
  test('RQ-2: with an interval of 3 s ten requests start first in, first out, 3.0 s apart, never less', async () => {
    const rig = await new DeferredRig([every3s]).start();
    for (let index = 0; index < 10; index++) await rig.submit({ target: `/${index}` });
    await rig.pass(40);
    expect(rig.seen.map(({ target }) => target)).toEqual(Array.from({ length: 10 }, (_, index) => `/${index}`));
    expect(Math.min(...gaps(rig))).toBeGreaterThanOrEqual(3_000);
    expect(Math.max(...gaps(rig))).toBeLessThanOrEqual(3_250);
  });

  test('RQ-3: the 501 posts of its README are delivered once each, in order, in 1,500 s', async () => {
    const rig = await new DeferredRig([every3s]).start();
    for (let index = 0; index <= 500; index++) await rig.submit({ target: '/delay/3/', body: Buffer.from(String(index)) });
    await rig.pass(1_500);
    expect(rig.seen.map(({ body }) => body)).toEqual(Array.from({ length: 501 }, (_, index) => String(index)));
    expect(rig.seen.every(({ attempt }) => attempt === 1)).toBe(true);
    expect((rig.seen.at(-1)?.at ?? 0) - (rig.seen[0]?.at ?? 0)).toBe(1_500_000);
  });

  test('RQ-4: a backend that is away for 60 s costs nothing: nothing lost, order kept, on again within an interval', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [concurrency(1), spacing(3 * SECOND)]))]).start();
    rig.behave = () => ({ fails: 503 });
    for (let index = 0; index < 5; index++) await rig.submit({ target: `/${index}` });
    await rig.pass(60);
    const delivered: string[] = [];
    rig.behave = ({ target }) => {
      delivered.push(target);
      return { status: 200 };
    };
    const backAt = rig.nowMs;
    await rig.pass(30);
    expect(delivered).toEqual(['/0', '/1', '/2', '/3', '/4']);
    expect((rig.seen.at(-5)?.at ?? 0) - backAt).toBeLessThanOrEqual(3_000);
  });

  test('RQ-4: an ERP that is down for three minutes makes no dead letter, and spends no attempt of those that wait', async () => {
    const short = { forMs: 60_000, firstMs: 1, maxMs: 1, delaysMs: [1_000, 2_000], attemptsMax: undefined };
    const rig = await new DeferredRig([open], { routes: [routeOf({ retry: short })] }).start();
    let down = true;
    rig.behave = () => (down ? { fails: 503 } : { status: 200 });
    const tickets = [];
    for (let index = 0; index < 20; index++) tickets.push(await rig.submit({ target: `/${index}` }));
    await rig.pass(180);
    for (const { id } of tickets) expect(await stateOf(rig, id)).toBe('pending');
    expect(rig.events.filter(({ kind }) => kind === 'backend_down').length).toBe(1);
    down = false;
    await rig.pass(100);
    for (const { id } of tickets) expect(await stateOf(rig, id)).toBe('done');
    const delivered = rig.seen.slice(-20).map(({ target }) => target);
    expect(delivered).toEqual(tickets.map((_, index) => `/${index}`));
    expect(rig.service.figures.ended).toMatchObject({ done: 20, dead: 0 });
  });

  test('RQ-4: while the backend is down a request says so, and when it is probed next', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ fails: 503 });
    const tickets = [];
    for (let index = 0; index < 6; index++) tickets.push(await rig.submit({ target: `/${index}` }));
    await rig.pass(100);
    for (const { id } of tickets) {
      const found = await rig.service.get(ANYONE, id, 0);
      if ('reason' in found) throw new Error(found.reason);
      expect(found).toMatchObject({ state: 'pending', waitsFor: 'backend' });
      expect(found.nextAttemptAt).toBeGreaterThan(rig.nowMs);
      expect(found.nextAttemptAt).toBeLessThanOrEqual(rig.nowMs + 3_000);
    }
    // An attempt that found the backend down has no next one of its own.
    const first = await rig.service.get(ANYONE, tickets[0]?.id ?? '', 0);
    expect('reason' in first ? [] : first.tries.slice(-3).map(({ nextAt }) => nextAt)).toEqual([0, 0, 0]);
  });

  test.each([
    ['keeps on failure and requires success', { success: new Set([200]), retry: once }, 500, 'dead'],
    ['success of 200 alone, retried', { success: new Set([200]) }, 500, 'pending'],
    ['any answer counts', { success: 'any' as const }, 500, 'done'],
  ])('RQ-5: %s', async (_what, route, status, state) => {
    const rig = await new DeferredRig([open], { routes: [routeOf(route)] }).start();
    rig.behave = () => ({ status });
    const { id } = await rig.submit();
    await rig.pass(0.5);
    expect(await stateOf(rig, id)).toBe(state);
    const sent = rig.seen.length;
    await rig.pass(0.4);
    if (state !== 'pending') expect(rig.seen.length).toBe(sent);
  });

  test('RQ-9: after one that takes 30 s no two start less than the interval apart', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(3 * SECOND), concurrency(1)]))]).start();
    rig.behave = ({ target }) => ({ status: 200, takesMs: target === '/0' ? 29_000 : 10 });
    for (let index = 0; index < 8; index++) await rig.submit({ target: `/${index}` });
    await rig.pass(60);
    expect(rig.seen.length).toBe(8);
    expect(Math.min(...gaps(rig))).toBeGreaterThanOrEqual(3_000);
  });

  test('RQ-10: one that is never answered times out, its lease ends, and the next proceeds', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [concurrency(1)]))], { routes: [routeOf({ timeoutMs: 5_000 })] }).start();
    rig.behave = ({ target }) => ({ status: target === '/0' ? 0 : 200 });
    for (let index = 0; index < 2; index++) await rig.submit({ target: `/${index}` });
    await rig.pass(4);
    expect(rig.seen.length).toBe(1);
    await rig.pass(2);
    expect(rig.seen.map(({ target }) => target)).toContain('/1');
  });

  test('RQ-11: one that always fails is a dead letter after its tries, and does not hold up the others', async () => {
    const delays = { forMs: 60_000, firstMs: 1, maxMs: 1, delaysMs: [1_000, 2_000, 4_000], attemptsMax: undefined };
    const rig = await new DeferredRig([open], { routes: [routeOf({ retry: delays })] }).start();
    rig.behave = ({ target }) => ({ status: target === '/1' ? 500 : 200 });
    const tickets = [];
    for (let index = 1; index <= 10; index++) tickets.push(await rig.submit({ target: `/${index}` }));
    await rig.pass(0.1);
    expect(rig.seen.length).toBe(10);
    await rig.pass(10);
    expect(await stateOf(rig, tickets[0]?.id ?? '')).toBe('dead');
    expect(rig.seen.filter(({ target }) => target === '/1').map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
  });

  test('RQ-12: one that was sent when the process died is sent again under the same key, as attempt 2', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status: 0 });
    await rig.submit();
    await settled();
    const again = await new DeferredRig([open], { disk: rig.disk }).start();
    await again.pass(1);
    expect(again.seen.map(({ key, attempt }) => [key, attempt])).toEqual([[rig.seen[0]?.key, 2]]);
  });

  test.each([
    [201, 'done'],
    [202, 'done'],
    [204, 'done'],
    [301, 'dead'],
    [404, 'dead'],
    [410, 'dead'],
  ])('RQ-14: an answer of %i ends it as %s', async (status, state) => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status });
    const { id } = await rig.submit();
    await rig.pass(1);
    expect(await stateOf(rig, id)).toBe(state);
    expect(rig.seen.length).toBe(1);
  });

  test.each([429, 503])('RQ-14: after %i with Retry-After 7 it is tried again, not before 7 s', async (status) => {
    const rig = await new DeferredRig([open], { routes: [routeOf({ pushback: 'none' })] }).start();
    rig.behave = ({ attempt }) => (attempt === 1 ? { status, headers: ['Retry-After', '7'] } : { status: 200 });
    const { id } = await rig.submit();
    await rig.pass(6.9);
    expect(rig.seen.length).toBe(1);
    await rig.pass(1);
    expect(await stateOf(rig, id)).toBe('done');
    expect(gaps(rig)[0]).toBeGreaterThanOrEqual(7_000);
  });

  test('RQ-16: a high one that comes after ten low ones goes next', async () => {
    const settings = settingsOf(group('g', [spacing(SECOND)]), {
      priority: {
        classes: new Map([
          ['high', 1],
          ['low', 5],
        ]),
        default: 999,
      },
    });
    const rig = await new DeferredRig([settings]).start();
    for (let index = 0; index < 10; index++) await rig.submit({ target: `/low${index}`, priorityClass: 'low' });
    await rig.submit({ target: '/high', priorityClass: 'high' });
    await rig.pass(3);
    expect(rig.seen.slice(0, 3).map(({ target }) => target)).toEqual(['/low0', '/high', '/low1']);
  });
});

describe('the Tarantool queue', () => {
  test('TQ-1: put, take, release at once, ack, bury, kick and delete, by the states they leave', async () => {
    const settings = settingsOf(group('g', [concurrency(1)]));
    const rig = await new DeferredRig([settings], { routes: [routeOf({ pushback: 'none' })] }).start();
    const bury = new Set(['/1', '/2']);
    rig.behave = ({ target, attempt }) => {
      if (target === '/0' && attempt === 1) return { status: 503, headers: ['Retry-After', '0'] };
      return { status: bury.has(target) ? 400 : 200 };
    };
    const puts = [];
    for (let index = 0; index < 5; index++) puts.push(await rig.submit({ target: `/${index}`, ...(index === 4 && { notBeforeMs: rig.nowMs + 1_000_000 }) }));
    const last = await rig.submit({ target: '/5', notBeforeMs: rig.nowMs + 1_000_000 });
    expect(await rig.service.cancel(ANYONE, puts[4]?.id ?? '')).toMatchObject({ cancelled: true });
    await rig.pass(5);
    bury.clear();
    expect(await rig.service.redrive(ANYONE, puts[1]?.id ?? '')).toBeUndefined();
    await rig.pass(1);
    const states = [];
    for (const { id } of [...puts, last]) states.push(await stateOf(rig, id));
    expect(states).toEqual(['done', 'done', 'dead', 'done', 'cancelled', 'pending']);
    expect(rig.service.figures).toMatchObject({ delayed: 1, ended: { done: 3, dead: 1, cancelled: 1 } });
    expect(rig.seen.filter(({ target }) => target === '/0').map(({ attempt }) => attempt)).toEqual([1, 2]);
  });

  test('TQ-2, times a hundred: not taken before its delay, taken within it, gone at its ttl, and then cancelled in vain', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [rate(1, SECOND)]))], { routes: [routeOf({ timeoutMs: 1_000 })] }).start();
    rig.behave = () => ({ status: 0 });
    const { id } = await rig.submit({ notBeforeMs: rig.nowMs + 10_000, deadlineMs: 20_000 });
    await rig.pass(1);
    expect(rig.seen.length).toBe(0);
    await rig.pass(14);
    expect(rig.seen.length).toBeGreaterThanOrEqual(1);
    await rig.pass(10);
    expect(await stateOf(rig, id)).toBe('dead');
    expect(await rig.service.cancel(ANYONE, id)).toMatchObject({ cancelled: true });
    expect(await rig.service.cancel(ANYONE, id)).toMatchObject({ cancelled: false });
  });

  test('TQ-5: a buried one stays for as long as dead letters are kept, whatever its ttl', async () => {
    const rig = await new DeferredRig([open], { routes: [routeOf({ keep: { resultsMs: 1_000, deadMs: 60_000, dedupeMs: 0 } })] }).start();
    rig.behave = () => ({ status: 400 });
    const { id } = await rig.submit({ deadlineMs: 1_000 });
    await rig.pass(50);
    expect(await stateOf(rig, id)).toBe('dead');
    await rig.pass(15);
    expect(await stateOf(rig, id)).toBe('gone');
  });

  test('TQ-6: a release with a delay does not move its ttl', async () => {
    const rig = await new DeferredRig([open], { routes: [routeOf({ pushback: 'none' })] }).start();
    rig.behave = () => ({ status: 503, headers: ['Retry-After', '5'] });
    const { id } = await rig.submit({ deadlineMs: 10_000 });
    await rig.pass(9.5);
    expect(await stateOf(rig, id)).not.toBe('done');
    await rig.pass(1);
    expect(await rig.service.get(ANYONE, id, 0)).toMatchObject({ state: 'dead', error: 'deadline' });
  });

  test('TQ-10: three that were taken are ready again after a restart, each with one attempt counted', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status: 0 });
    for (let index = 0; index < 3; index++) await rig.submit({ target: `/${index}` });
    await settled();
    expect(rig.seen.length).toBe(3);
    const again = await new DeferredRig([open], { disk: rig.disk }).start();
    await again.pass(1);
    expect(again.seen.map(({ target, attempt }) => [target, attempt])).toEqual([
      ['/0', 2],
      ['/1', 2],
      ['/2', 2],
    ]);
  });
});

describe('three modes on one group', () => {
  test('permits and stored requests together never pass the limit, and the floor gives overdue ones their share', async () => {
    const floor = { after: 10 * SECOND, every: 20 };
    const rig = await new DeferredRig([settingsOf(group('g', [rolling(10, SECOND)], { floor }))]).start();
    for (let index = 0; index < 300; index++) await rig.submit({ target: `/${index}` });
    const times: number[] = [];
    let live = 0;
    for (let tick = 0; tick < 600; tick++) {
      const caller = rig.admission.ask({ priority: 1, wait: 2 * SECOND });
      void caller;
      await rig.pass(0.05);
    }
    for (const event of rig.admission.events) {
      if (event.kind !== 'admitted') continue;
      times.push(event.permit.grantedAt);
      if (event.priority === 1) live++;
    }
    for (const [index, at] of times.entries()) expect(times.slice(index).filter((other) => other < at + SECOND).length).toBeLessThanOrEqual(10);
    const stored = times.length - live;
    const overdueSpan = times.filter((at) => at > (times[0] ?? 0) + 12 * SECOND).length;
    expect(stored).toBeGreaterThanOrEqual(Math.floor(overdueSpan / floor.every));
    expect(live).toBeGreaterThan(stored * 5);
  });
});
