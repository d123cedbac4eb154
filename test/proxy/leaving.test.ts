import { afterEach, describe, expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, rate } from '../core/specs.ts';
import { FACTS, type ForwardCaller, type ForwardRig, type ForwardRigOptions, forwardRigged, groupOf, quiet, routeOf } from './forward-rig.ts';

let all: ForwardRig;

const SLOT: ForwardRigOptions = { settings: [groupOf([concurrency(1)])] };

/** Nothing is told to who left, and nothing of it is left. */
async function gone(caller: ForwardCaller): Promise<void> {
  caller.delivery.leave();
  caller.delivery.leave();
  await quiet();
  expect([caller.told, all.clean]).toEqual([0, true]);
}

afterEach(() => expect(all.faults).toEqual([]));

describe('a caller who leaves', () => {
  test('while its body comes in: its bytes are free', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent({ method: 'POST', body: 'open' });
    caller.sender.write('half');
    await quiet();
    expect(all.forwarding.held.memory).toBe(4);
    await gone(caller);
    all.rig.clock.advance(1_000_000);
    expect(all.rig.clock.pending).toBe(0);
  });

  test('by cutting its body: the same, whether the listener says so or not', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent({ method: 'POST', body: 'open' });
    caller.sender.write('half');
    caller.sender.destroy();
    await quiet();
    expect([caller.told, all.clean]).toEqual([0, true]);
    await gone(caller);
  });

  test('while it waits: its place is free, and the next goes', async () => {
    all = await forwardRigged(SLOT);
    const first = await all.sent();
    const second = await all.sent({ method: 'POST', body: 'abc' });
    const third = await all.sent({ target: '/third' });
    expect(all.rig.waiting()).toBe(2);
    second.delivery.leave();
    expect([all.rig.waiting(), all.forwarding.held.memory]).toEqual([1, 0]);
    all.played.last.answer(200);
    await quiet();
    expect(all.played.last.request.target).toBe('/third');
    all.played.last.answer(200);
    await quiet();
    expect([first.told, second.told, third.told, all.clean]).toEqual([1, 0, 1, true]);
  });

  test('while it waits for a URL: its permit goes back whole', async () => {
    all = await forwardRigged({ settings: [groupOf([rate(3, MINUTE, 3)])], backend: { urls: ['http://a'], concurrency: 1 } });
    const first = await all.sent();
    const second = await all.sent();
    second.delivery.leave();
    all.played.last.answer(200);
    await quiet();
    for (let i = 0; i < 2; i++) {
      const caller = await all.sent({ wait: 0 });
      all.played.last.answer(200);
      expect(caller.told).toBe(1);
    }
    expect([first.told, second.told, all.played.attempts.length]).toEqual([1, 0, 3]);
  });

  test('while the backend works: the request is given up, the slot free at once', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent();
    caller.delivery.leave();
    expect(all.played.last.aborted?.message).toBe('The caller left.');
    await gone(caller);
  });

  test('before anything was sent: what it cost goes back', async () => {
    all = await forwardRigged({ settings: [groupOf([rate(1, MINUTE)])] });
    const caller = await all.sent();
    all.played.last.sent = false;
    await gone(caller);
    await all.sent({ wait: 0 });
    expect(all.played.attempts).toHaveLength(2);
    all.played.last.answer(200);
  });

  test('in the middle of its answer', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent();
    all.played.last.head(200);
    all.played.last.data('ab');
    await gone(caller);
    expect(all.played.last.aborted).toBeDefined();
  });

  test('after its answer: nothing', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent();
    all.played.last.answer(200);
    caller.delivery.leave();
    await quiet();
    expect([caller.told, all.clean]).toEqual([1, true]);
  });

  test('while it waits after a pushback', async () => {
    all = await forwardRigged(SLOT);
    const caller = await all.sent();
    all.played.last.answer(429, ['Retry-After', '5']);
    caller.delivery.leave();
    await quiet();
    const other = await all.sent();
    all.played.last.answer(429, ['Retry-After', '5']);
    await quiet();
    expect([caller.told, other.told]).toEqual([0, 0]);
    await gone(other);
  });

  test('where the backend is to finish: the slot is kept until it has answered, and nobody is told', async () => {
    all = await forwardRigged({ ...SLOT, backend: { onAbort: 'finish' } });
    const working = await all.sent();
    working.delivery.leave();
    await all.pass(60);
    expect([all.played.last.aborted, all.leases]).toEqual([undefined, 1]);
    all.played.last.answer(200, [], 'late');
    await gone(working);
    const answering = await all.sent();
    all.played.last.head(200);
    answering.delivery.leave();
    let resumed = true;
    for (let i = 0; i < 100; i++) resumed &&= all.played.last.data('x'.repeat(10_000));
    expect([resumed, all.leases, answering.body]).toEqual([true, 1, '']);
    all.played.last.end();
    await gone(answering);
  });

  test('at any moment of 3,000 requests: nothing is left', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: { concurrency: 2, eject: { failures: 1_000_000, for: SECOND } } });
    let random = 7;
    const roll = (below: number): number => {
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((random / 2_147_483_648) * below);
    };
    const callers: ForwardCaller[] = [];
    for (let i = 0; i < 3000; i++) {
      const caller = all.send(
        { method: 'PUT', wait: 20 * SECOND, ...(roll(2) === 0 ? { body: roll(2) === 0 ? 'open' : 'abc' } : {}) },
        routeOf({ charge: roll(2) === 0 ? 'headers' : 'body' }),
      );
      callers.push(caller);
      const attempt = all.played.attempts.findLast(({ over }) => !over);
      switch (roll(8)) {
        case 0:
          attempt?.answer(200, [], 'ok');
          break;
        case 1:
          attempt?.answer(429, ['Retry-After', '1']);
          break;
        case 2:
          attempt?.fail('reset');
          break;
        case 3:
          attempt?.fail('connect', false);
          break;
        case 4:
          attempt?.head(200);
          attempt?.break();
          break;
        case 5:
          await all.pass(roll(2));
          break;
        default:
          break;
      }
      callers[roll(callers.length)]?.delivery.leave();
      if (roll(4) === 0) await quiet();
    }
    for (const { delivery } of callers) delivery.leave();
    await quiet();
    expect(callers.every(({ told }) => told <= 1)).toBe(true);
    expect(all.clean).toBe(true);
    // Ends of permits are remembered for ten minutes, by a timer.
    await all.pass(700);
    expect(all.rig.clock.pending).toBe(0);
    for (let i = 0; i < 4; i++) await all.sent();
    expect(all.played.attempts.filter(({ over }) => !over)).toHaveLength(4);
    for (const attempt of all.played.attempts) if (!attempt.over) attempt.answer(200);
  });
});

describe('a tunnel', () => {
  test('holds its slot until its end', async () => {
    all = await forwardRigged(SLOT);
    const ends: (() => void)[] = [];
    const told: string[] = [];
    const incoming = {
      method: 'GET',
      target: '/ws',
      headers: ['Host', 'shop', 'Connection', 'upgrade', 'Upgrade', 'websocket'],
      body: undefined,
      facts: FACTS,
      wait: undefined,
    };
    const open = () =>
      all.forwarding.tunnel(incoming, routeOf(), {
        onWay: (way) => {
          expect(way.headers).not.toContain('Upgrade');
          told.push(way.url);
          ends.push(() => way.end({ sent: true, ok: true }));
        },
        onNone: ({ kind }) => told.push(kind),
        onLost: () => told.push('lost'),
      });
    open();
    const second = open();
    open();
    await quiet();
    expect([told, all.leases]).toEqual([['http://a'], 1]);
    second.leave();
    await all.pass(25);
    ends[0]?.();
    ends[0]?.();
    await quiet();
    expect([told, all.leases]).toEqual([['http://a', 'http://b'], 1]);
    ends[1]?.();
    await quiet();
    expect(all.clean).toBe(true);
  });
});
