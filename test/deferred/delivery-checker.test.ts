import { describe, expect, test } from 'vitest';
import { checkCallbacks, checkDeliveries, type Delivered, type DeliveryHistory, lateDeliveries, outOfOrder } from './delivery-checker.ts';

const sound: DeliveryHistory = {
  acknowledged: [
    { key: 'a', id: '1-aa', body: 'x', at: 1 },
    { key: 'b', id: '2-bb', body: 'y', at: 2 },
  ],
  delivered: [
    { key: 'a', attempt: 1, body: 'x', at: 100 },
    { key: 'b', attempt: 1, body: 'y', at: 200 },
    { key: 'b', attempt: 2, body: 'y', at: 900 },
  ],
  kills: [250],
};

describe('the checker of deliveries', () => {
  test('passes a run in which a kill made one repeat', () => {
    expect(checkDeliveries(sound)).toEqual([]);
    expect(outOfOrder(sound, 0)).toBe(0);
  });

  test('passes a repeat while one that delivers was taken for dead, and no other', () => {
    const silent = (from: number, until: number) => checkDeliveries({ ...sound, kills: [], silences: [{ from, until }] });
    expect(silent(150, 220)).toEqual([]);
    expect(silent(850, 2_000)).toEqual([]);
    expect(silent(0, 100)).toEqual(['b was delivered twice without a kill between']);
    expect(silent(1_000, 2_000)).toEqual(['b was delivered twice without a kill between']);
  });

  test.each([
    ['a lost request', { delivered: sound.delivered.slice(1) }, 'acknowledged and lost: a'],
    ['other bytes', { delivered: [{ key: 'a', attempt: 1, body: 'z', at: 100 }, ...sound.delivered.slice(1)] }, 'other bytes'],
    ['a repeat that no kill explains', { kills: [] }, 'twice without a kill'],
    ['a repeat that says it is the first', { delivered: [...sound.delivered.slice(0, 2), { key: 'b', attempt: 1, body: 'y', at: 900 }] }, 'attempt 1 after 1'],
    ['two tickets for one key', { acknowledged: [...sound.acknowledged, { key: 'a', id: '3-cc', body: 'x', at: 3 }] }, 'as 1-aa and as 3-cc'],
  ])('finds %s', (_what, change, complaint) => {
    expect(checkDeliveries({ ...sound, ...change }).join('\n')).toContain(complaint);
  });

  test('counts first deliveries that came out of order', () => {
    expect(outOfOrder({ ...sound, delivered: [...sound.delivered].reverse() }, 0)).toBe(1);
    const [a, b] = sound.delivered as [Delivered, Delivered];
    expect(lateDeliveries({ ...sound, delivered: [b, { ...a, attempt: 2 }] }, 0)).toEqual([{ ...a, attempt: 2 }]);
  });
});

describe('the checker of callbacks', () => {
  const a = { id: '1-aa', state: 'done', webhook: '3-cc', at: 300 };
  const b = { id: '2-bb', state: 'done', webhook: '4-dd', at: 400 };

  test('passes ends that were each reported, some of them again', () => {
    expect(checkCallbacks(sound.acknowledged, [a, b, { ...a, at: 900 }])).toEqual([]);
  });

  test.each([
    ['an end that was never reported', [a], 'the end of b (2-bb) was never reported'],
    ['a repeat that its receiver cannot know', [a, b, { ...b, webhook: '5-ee' }], 'reported as 4-dd and as 5-ee'],
    ['two ends of one request', [a, b, { ...b, state: 'dead' }], 'b was reported done and dead'],
  ])('finds %s', (_what, reported, complaint) => {
    expect(checkCallbacks(sound.acknowledged, reported).join('\n')).toContain(complaint);
  });
});
