import { expect, test } from 'vitest';
import { Peers } from '../../../src/coordination/membership/peers.ts';
import { Revocation } from '../../../src/coordination/membership/revocation.ts';
import { decodeSession, encodeSession } from '../../../src/coordination/membership/session-record.ts';
import { OwnershipCache } from '../../../src/coordination/ownership/ownership-cache.ts';
import { RegisterRequests } from '../../../src/coordination/registers/requests.ts';
import { TIMING } from '../../../src/coordination/timing.ts';
import { MILLISECOND, SECOND } from '../../../src/core/time.ts';

const reading = (mono: number) => ({ mono, wall: mono, boot: '', agreed: mono });

/** A replica that has not heard the session `s` of another, whose last number was 5, for a second, and asks for its register. */
function rig() {
  const [questions, peers] = [new RegisterRequests(), new Peers()];
  const revocation = new Revocation({ replica: 'a', timing: TIMING, requests: questions, peers, ownershipCache: new OwnershipCache() });
  const beat = (n: number, mono: number) =>
    peers.onHeartbeat(
      { session: 's', replica: 'b', instance: 'b-1', n, own: [], wall: undefined, revision: { number: 1, hash: '' }, acceptsShards: true },
      mono,
    );
  beat(5, 0);
  const peer = peers.track('s', 0);
  revocation.suspect(peer, 0, reading(SECOND));
  const [question] = questions.take();
  const answer = (n: number | undefined) => {
    const value = n === undefined ? undefined : { revision: 9, bytes: encodeSession({ replica: 'b', instance: 'b-1', n, state: 'live', own: [] }) };
    questions.answer(question?.id ?? 0, { kind: 'value', value }, reading(SECOND + 20 * MILLISECOND));
    return questions.take();
  };
  return { question, peer, answer, hear: (n: number) => beat(n, SECOND + 10 * MILLISECOND) };
}

test('A session that stands still in its register as well is revoked', () => {
  const { question, answer } = rig();
  expect(question?.kind).toBe('read');
  const [revoking] = answer(5);
  if (revoking?.kind !== 'change') throw new Error('nothing is changed');
  expect([revoking.revision, decodeSession(revoking.bytes).state]).toEqual([9, 'revoked']);
});

test.each([
  ['the same number that it was heard with', 6],
  ['an older number than it was heard with', 5],
  ['nothing', undefined],
])('A session that is heard between the question and its answer is not revoked, though its register says %s', (_what, n) => {
  const { peer, answer, hear } = rig();
  hear(6);
  expect(answer(n)).toEqual([]);
  expect([peer.ended, peer.trying, peer.tombstoned]).toEqual([undefined, false, false]);
});
