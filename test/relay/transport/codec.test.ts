import { expect, test } from 'vitest';
import { type Instant, NEVER, SECOND } from '../../../src/core/time.ts';
import { ClockOffset } from '../../../src/relay/transport/clock-offset.ts';
import { decodeEnvelope, decodeMessage, encodeFrame, encodeMessage, encodeReset, type RelayMessage } from '../../../src/relay/transport/codec.ts';
import { askOf } from '../../admission/rig.ts';

const at = (instant: number) => instant as Instant;
const limit = { group: 'g', name: 'n', unit: 'requests', kind: 'concurrency', scope: 'group', capacity: 1, used: 1, debt: 0, resetAt: NEVER } as const;
const permit = {
  ...{ group: 'g', key: '', serial: 7, tag: { high: 1, low: 2 }, costs: { requests: 1, fence: 5 }, grantedAt: at(9), waited: 0, order: 3, settleable: false },
  lease: { fence: (1n << 60n) + 1n, fenceFloor: 1n << 60n, expiresAt: at(10), duration: 5 },
  shadow: { limit: 'n', readyAt: NEVER },
};

const ops: readonly RelayMessage[] = [
  { op: 'ask', wid: 1, shard: 2, term: 1n << 60n, limits: true, ask: { ...askOf({ costs: { since: 4, fence: 3 } }), since: { arrivedAt: at(5), order: 6 } } },
  { op: 'cancel', wid: 1 },
  { op: 'delivered', wid: 1 },
  { op: 'call', id: 4, method: 'renew', args: { caller: '', permit: 'p', lease: undefined } },
  { op: 'rejoined', shard: 3, term: 9n },
  { op: 'gave', shard: 3, term: 9n },
  { op: 'hello', was: 'a-0' },
  { op: 'here' },
  { op: 'queued', wid: 1, since: { arrivedAt: at(5), order: 6 } },
  { op: 'outcome', wid: 1, outcome: { kind: 'admitted', id: 'p', permit, limits: [limit as never] } },
  { op: 'outcome', wid: 1, outcome: { kind: 'refused', refusal: { reason: 'expired', retryAt: NEVER } } },
  { op: 'moved', wid: 1, since: undefined },
  { op: 'reply', id: 4, how: 'value', value: { items: [{ fence: 5n, expiresAt: NEVER }], next: '' } },
];

test('Every operation comes out of a frame as it went in: terms and fences whole, NEVER as NEVER, callers’ costs untouched', () => {
  const bytes = encodeFrame({ from: 'a', to: 'b', seq: 1, ack: 0, gap: false, ops: ops.map(encodeMessage) }, at(77));
  const envelope = decodeEnvelope(bytes);
  if (envelope.kind !== 'frame') throw new Error('no frame');
  expect(envelope).toMatchObject({ now: 77, frame: { from: 'a', to: 'b', seq: 1, ack: 0, gap: false } });
  expect(envelope.frame.ops.map(decodeMessage)).toEqual(ops);
});

test('An override crosses with its limits as pairs', () => {
  const wish = { limits: new Map([['n', { kind: 'concurrency', max: 2 }]]), enforce: undefined, for: 1 };
  const op = decodeMessage(encodeMessage({ op: 'call', id: 1, method: 'override', args: { group: 'g', wish } }));
  expect(op).toMatchObject({ args: { wish: { limits: [['n', { kind: 'concurrency', max: 2 }]] } } });
});

test('What is newer than this replica is left out, and what is no operation is refused', () => {
  expect(decodeMessage('{"op":"fly"}')).toBeUndefined();
  expect(decodeMessage('{"op":"call","id":1,"method":"format","args":{}}')).toBeUndefined();
  expect(decodeMessage('{"op":"cancel","wid":1,"why":"later"}')).toMatchObject({ op: 'cancel', wid: 1 });
  const wrong = ['1', 'null', '[]', '{}', '{"op":"cancel"}', '{"op":"ask","wid":1,"shard":1,"term":"1"}', '{"op":"ask","wid":1,"shard":1,"term":"x","ask":{}}'];
  for (const text of [...wrong, '{"op":"outcome","wid":1,"outcome":{}}', '{"op":"hello"}', '{"op":"call","id":1,"method":"renew","args":[]}']) {
    expect(() => decodeMessage(text), text).toThrow();
  }
});

test('A word of reset is told from a frame', () => {
  expect(decodeEnvelope(encodeReset('a', 'b'))).toEqual({ kind: 'reset', from: 'a', to: 'b' });
});

test('A peer’s instants are told late by the fastest message at most, and by age', () => {
  const clock = new ClockOffset();
  expect(clock.shift(at(0))).toBe(0);
  // The other's clock is 1000 s ahead; 5 ms, then 1 ms, then 50 ms under way.
  const heard = (now: number, late: number) => clock.observe(at(now + 1_000 * SECOND - late), at(now));
  heard(0, 5_000);
  expect(clock.shift(at(0))).toBe(-1_000 * SECOND + 5_000);
  heard(1_000, 1_000);
  heard(2_000, 50_000);
  expect(clock.shift(at(2_000))).toBe(-1_000 * SECOND + 1_001);
  expect(clock.shift(at(2_000 + SECOND))).toBe(-1_000 * SECOND + 2_001);
});
