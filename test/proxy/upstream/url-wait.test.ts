import { afterEach, describe, expect, test } from 'vitest';
import { SECOND } from '../../../src/core/time.ts';
import type { TunnelSink } from '../../../src/proxy/forwarding.ts';
import type { ForwardFailure } from '../../../src/proxy/incoming.ts';
import { concurrency } from '../../core/specs.ts';
import { FACTS, type ForwardRig, forwardRigged, groupOf, quiet, routeOf } from '../forward-rig.ts';

let all: ForwardRig;
afterEach(() => expect(all.faults).toEqual([]));

const ONE = { urls: ['http://a'], concurrency: 1 };
const FREE = () => routeOf({}, { admission: undefined });

/** Nothing is left of any request, nor a timer. */
async function clean(): Promise<void> {
  await quiet();
  expect(all.clean).toBe(true);
  // Ends of permits are remembered for ten minutes, by a timer.
  await all.pass(700);
  expect(all.rig.clock.pending).toBe(0);
}

describe('the line for a URL of a backend', () => {
  test('a request with a permit is refused as expired when its wait timeout ends in line, and its permit is given back unused', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: ONE });
    const first = await all.sent();
    const second = await all.sent({ method: 'PUT', body: 'abc', wait: 2 * SECOND });
    expect(all.leases).toBe(2);
    await all.pass(1.9);
    expect([second.told, all.leases]).toEqual([0, 2]);
    await all.pass(0.2);
    await quiet();
    expect([second.refused, second.told, all.leases]).toEqual(['expired', 1, 1]);
    expect(second.none).toMatchObject({ attempts: 0, refusal: { detail: expect.stringContaining('concurrency') as string } });
    all.played.last.answer(200);
    await quiet();
    expect([first.told, all.played.attempts.length]).toEqual([1, 1]);
    await clean();
  });

  test('the time in the queue of the group counts: what is left of the wait timeout is waited in line', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(2)])], backend: ONE });
    await all.sent({ wait: 60 * SECOND });
    const held = await all.sent({ wait: 3 * SECOND });
    const third = await all.sent({ wait: 4 * SECOND });
    await all.pass(3.1);
    await quiet();
    // It has the slot of the second now, and 0.9 s left.
    expect([held.refused, third.told]).toEqual(['expired', 0]);
    await all.pass(1);
    await quiet();
    expect(third.refused).toBe('expired');
    all.played.last.answer(200);
    await clean();
  });

  test('a request that gets its URL in time is sent, and its wait timeout does not end it', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: ONE });
    await all.sent();
    const second = await all.sent({ wait: 2 * SECOND });
    await all.pass(1);
    all.played.last.answer(200);
    await quiet();
    await all.pass(10);
    expect([second.told, all.played.attempts.length]).toEqual([0, 2]);
    all.played.last.answer(200);
    await quiet();
    expect(second.head?.status).toBe(200);
    await clean();
  });

  test('without a group a request waits for `queue.wait`, or as long as it says itself', async () => {
    all = await forwardRigged({ backend: { ...ONE, queue: { requestsMax: 10, wait: 5 * SECOND } } });
    await all.sent({}, FREE());
    const [own, usual] = [await all.sent({ wait: SECOND }, FREE()), await all.sent({}, FREE())];
    await all.pass(1.1);
    expect([own.refused, usual.refused]).toEqual(['expired', undefined]);
    await all.pass(4);
    expect([usual.refused, usual.told]).toEqual(['expired', 1]);
    all.played.last.answer(200);
    await clean();
  });

  test('beyond `queue.requests` a request is shed at once', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: { ...ONE, queue: { requestsMax: 1, wait: SECOND } } });
    await all.sent();
    const waiting = await all.sent();
    const beyond = await all.sent();
    expect([waiting.told, beyond.refused, beyond.told, all.leases]).toEqual([0, 'shed', 1, 2]);
    waiting.delivery.leave();
    all.played.last.answer(200);
    await clean();
  });

  test('a request that leaves the line takes its timer with it', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: ONE });
    await all.sent();
    const second = await all.sent();
    second.delivery.leave();
    await quiet();
    expect([second.told, all.leases]).toEqual([0, 1]);
    all.played.last.answer(200);
    await clean();
  });

  test('an upgrade is refused as expired when its wait timeout ends in line', async () => {
    all = await forwardRigged({ settings: [groupOf([concurrency(5)])], backend: ONE });
    await all.sent();
    const told: ForwardFailure[] = [];
    const sink: TunnelSink = { onWay: () => {}, onNone: (why) => told.push(why), onLost: () => {} };
    const incoming = { method: 'GET', target: '/ws', headers: [], body: undefined, facts: FACTS, wait: 2 * SECOND };
    all.forwarding.tunnel(incoming, routeOf(), sink);
    await quiet();
    await all.pass(2.1);
    await quiet();
    expect(told).toMatchObject([{ kind: 'refused', refusal: { reason: 'expired' }, attempts: 0 }]);
    expect(all.leases).toBe(1);
    all.played.last.answer(200);
    await clean();
  });
});
