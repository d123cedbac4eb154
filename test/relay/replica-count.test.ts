import { expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { ReplicaCount } from '../../src/relay/relay.ts';
import { FakeClock } from '../support/fakes/clock.ts';

test('Those who fell silent one by one within ten seconds are counted; those who left before are not', () => {
  const clock = new FakeClock();
  const heads = new ReplicaCount(() => clock.now());
  heads.set(3);
  clock.advance(60 * SECOND);
  heads.set(2);
  clock.advance(SECOND);
  heads.set(1);
  expect(heads.most).toBe(3);
  clock.advance(9 * SECOND);
  expect(heads.most).toBe(2);
  clock.advance(SECOND);
  expect(heads.most).toBe(1);
});
