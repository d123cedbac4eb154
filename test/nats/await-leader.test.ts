import { expect, test } from 'vitest';
import { awaitLeader } from '../../src/nats/await-leader.ts';
import { WrongLastSequence } from '../../src/nats/stream-client.ts';

const place = { stream: 'S', subject: 's.ready' };

/** A stream that answers so, one after the other, and at last as one that takes writes. */
function stream(...answers: readonly Error[]) {
  const left = [...answers];
  const written: number[] = [];
  return {
    written,
    newest: async () => undefined,
    async write(_place: unknown, _bytes: unknown, last: number): Promise<number> {
      const silence = left.shift();
      if (silence === undefined) written.push(last);
      throw silence ?? new WrongLastSequence('moved on');
    },
  };
}

test('a stream is ready when it refuses a write for what it follows, and nothing is written', async () => {
  const told: unknown[] = [];
  const records = stream(new Error('no responders'), new Error('no answer'));
  await awaitLeader({ records, place, onEvent: (change) => told.push(change), until: performance.now() + 60_000 });
  expect(records.written).toEqual([Number.MAX_SAFE_INTEGER]);
  expect(told).toEqual([{ kind: 'waiting', why: 'the stream S takes no writes yet' }]);
});

test('one that does not answer in time is no stream to begin with', async () => {
  const records = stream(new Error('no responders'));
  await expect(awaitLeader({ records, place, onEvent: () => {}, until: performance.now() })).rejects.toThrow(
    'the stream S takes no writes yet; see that its servers run and have a leader.',
  );
});
