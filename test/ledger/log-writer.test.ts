import { expect, test } from 'vitest';
import { EMPTY_BATCH, encodeBatch } from '../../src/ledger/batch-codec.ts';
import { LogWriter } from '../../src/ledger/log-writer.ts';
import { MemoryStore } from '../../src/ledger/stores/memory.ts';
import { Conflict, type Sequence, type Store, type StoredRecord } from '../../src/ledger/stores/store.ts';

const SUBJECT = 'root';
const older = encodeBatch({ ...EMPTY_BATCH, term: 1n, opening: true });

/** An older writer that adds a record just before each of the first `times` appends of others, and counts what is read. */
class Contended implements Store {
  readonly #inner = new MemoryStore({ bytes: 64 << 20 });
  readonly #times: number;
  appends = 0;
  reads = 0;

  constructor(times: number) {
    this.#times = times;
  }

  async fillWith(records: number): Promise<void> {
    for (let last = 0; last < records; ) last = await this.#inner.append(SUBJECT, older, last);
  }

  async append(subject: string, bytes: Uint8Array, last: Sequence, relief?: boolean): Promise<Sequence> {
    // An endless loop is a failure and no hang.
    if (this.appends > 1_000) throw new Error('The opening never gives up.');
    if (this.appends++ < this.#times) await this.#inner.append(subject, older, last);
    return this.#inner.append(subject, bytes, last, relief);
  }

  async *read(subject: string, from: Sequence): AsyncIterable<StoredRecord> {
    for await (const record of this.#inner.read(subject, from)) {
      this.reads++;
      yield record;
    }
  }

  trim = async (): Promise<void> => {};
  close = async (): Promise<void> => {};
}

test('A chain that another writer is always faster at gives up after sixteen tries, with the conflict', async () => {
  const store = new Contended(Number.POSITIVE_INFINITY);
  const chain = new LogWriter({ store, subject: SUBJECT, term: 2n });
  await expect(chain.open()).rejects.toBeInstanceOf(Conflict);
  expect(store.appends).toBe(16);
});

test('A chain reads each record once, however often another writer is faster', async () => {
  const store = new Contended(10);
  await store.fillWith(500);
  const chain = new LogWriter({ store, subject: SUBJECT, term: 2n });
  await chain.open();
  expect([store.appends, store.reads]).toEqual([11, 510]);
});

test('A chain whose opening gave up opens with the next try, from the beginning', async () => {
  const store = new Contended(20);
  const chain = new LogWriter({ store, subject: SUBJECT, term: 2n });
  await expect(chain.open()).rejects.toBeInstanceOf(Conflict);
  await chain.open();
  await chain.append([], []);
  expect(store.appends).toBe(21);
});
