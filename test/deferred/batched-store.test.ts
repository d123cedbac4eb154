import { expect, test } from 'vitest';
import { BatchedStore, type Write } from '../../src/deferred/batched-store.ts';
import { type Change, StoreUnavailable } from '../../src/deferred/store.ts';
import { MemoryStore } from '../../src/deferred/stores/memory.ts';
import { attempt, end, head, row } from '../conformance/deferred-requests.ts';

/** A store of requests 1 to `count`, with the changes of each commit since. */
async function stored(count: number) {
  const store = new MemoryStore({ bytesMax: 1 << 30 });
  for (let sequence = 1; sequence <= count; sequence++) await store.commit([{ kind: 'submit', row: row(sequence), head: head(), body: new Uint8Array(1) }]);
  const commits: (readonly Change[])[] = [];
  const { commit } = MemoryStore.prototype;
  let fails = 0;
  store.commit = (batch) => {
    commits.push(batch);
    return fails-- > 0 ? Promise.reject(new StoreUnavailable('failed', 'no')) : commit.call(store, batch);
  };
  return {
    batched: new BatchedStore(store),
    commits,
    fail: (times: number) => {
      fails = times;
    },
  };
}

test('A batch holds no more than a MiB of answers, as it does of bodies', async () => {
  const { batched, commits } = await stored(40);
  const response = { status: 200, headers: [], body: new Uint8Array(256 << 10), truncated: false };
  await Promise.all(Array.from({ length: 40 }, (_, index) => batched.write(end(row(index + 1), 'done', { response }) as Write)));
  expect(commits.length).toBeGreaterThanOrEqual(8);
  expect(Math.max(...commits.map((batch) => batch.length))).toBeLessThanOrEqual(5);
});

test('The register names an attempt until its end or its retry is stored', async () => {
  const { batched, commits, fail } = await stored(2);
  await batched.write({ kind: 'arm', flight: { sequence: 1, attempt: 1 } });
  fail(1);
  await expect(batched.write({ kind: 'retry', row: { ...row(1), attempts: 1 }, attempt: attempt(1) })).rejects.toThrow('no');
  await batched.write({ kind: 'arm', flight: { sequence: 2, attempt: 1 } });
  expect(commits.at(-1)).toEqual([
    {
      kind: 'arm',
      flights: [
        { sequence: 1, attempt: 1 },
        { sequence: 2, attempt: 1 },
      ],
    },
  ]);
  await batched.write({ kind: 'retry', row: { ...row(1), attempts: 1 }, attempt: attempt(1) });
  await batched.write({ kind: 'arm', flight: { sequence: 2, attempt: 2 } });
  expect(commits.at(-1)).toEqual([{ kind: 'arm', flights: [{ sequence: 2, attempt: 2 }] }]);
});
