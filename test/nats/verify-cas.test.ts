import { expect, test } from 'vitest';
import { type StreamClient, WrongLastSequence } from '../../src/nats/stream-client.ts';
import { verifyCompareAndSet } from '../../src/nats/verify-cas.ts';

const place = { stream: 'RACE', subject: 'race' };

/** A server that compares with what it had `lag` writes ago, as a leader does that has proposed and not applied. */
function server(lag: (write: number) => number): Pick<StreamClient, 'write' | 'newest'> {
  const applied: number[] = [0];
  let writes = 0;
  return {
    newest: async () => undefined,
    async write(_place, _bytes, last) {
      const seen = applied.at(-1 - lag(writes++)) ?? 0;
      if (last !== seen) throw new WrongLastSequence('moved on');
      applied.push(applied.length);
      return applied.length - 1;
    },
  };
}

test('servers that compare when they apply pass', async () => {
  const one = server(() => 0);
  expect(await verifyCompareAndSet([one, one], place)).toBe(30);
});

test('servers that compare with what is old are refused, if it happens once', async () => {
  const one = server((write) => (write === 61 ? 1 : 0));
  await expect(verifyCompareAndSet([one], place)).rejects.toThrow(
    'NATS let 2 writers follow the same message of RACE; it cannot keep replicas apart. Upgrade every server of it.',
  );
});

test('silence is no verdict', async () => {
  const silent = { newest: async () => undefined, write: () => Promise.reject(new Error('no answer')) };
  expect(await verifyCompareAndSet([silent], place)).toBe(0);
});
