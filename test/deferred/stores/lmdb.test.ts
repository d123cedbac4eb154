import { describe, expect, it, onTestFinished } from 'vitest';
import type { Change } from '../../../src/deferred/store.ts';
import { LmdbDeferredStore } from '../../../src/deferred/stores/lmdb.ts';
import { decodeNumbers, encodeHead, encodeNumbers, encodeRow } from '../../../src/deferred/stores/lmdb-codec.ts';
import { Pack, PackWriter } from '../../../src/deferred/stores/lmdb-pack.ts';
import { nameKey, numberKey, numbersKey } from '../../../src/deferred/stores/lmdb-tables.ts';
import { addChecksum } from '../../../src/storage/checksum.ts';
import { type Condition, DiskUnavailable, type Edit, LmdbFile } from '../../../src/storage/lmdb.ts';
import { attempt, BODY, bodyOf, end, head, opened, row, submit, sweepAll } from '../../conformance/deferred-requests.ts';
import { deferredStoreSuite } from '../../conformance/deferred-store.suite.ts';
import { folder } from '../../support/fakes/folder.ts';

deferredStoreSuite('lmdb', async () => {
  const { path, end: remove } = await folder();
  const files: LmdbFile[] = [];
  return {
    create: async (bytesMax = 2 ** 40) => {
      const file = new LmdbFile(path, undefined, 'binary');
      files.push(file);
      return new LmdbDeferredStore(file, { bytesMax });
    },
    end: async () => {
      for (const file of files) await file.close();
      await remove();
    },
  };
});

/** A disk that fails: before a commit, or after it, so that the caller does not learn that it was applied. */
class FailingFile extends LmdbFile {
  fails: 'never' | 'before' | 'after' = 'never';
  code = 'EIO';
  edits = 0;

  override async change(condition: Condition, edits: readonly Edit[]): Promise<boolean> {
    const failed = new DiskUnavailable('The disk refused a write.', { cause: Object.assign(new Error(this.code), { code: this.code }) });
    if (this.fails === 'before') throw failed;
    this.edits = Math.max(this.edits, edits.length);
    const applied = await super.change(condition, edits);
    if (this.fails === 'after') throw failed;
    return applied;
  }
}

async function started() {
  const { path, end: remove } = await folder();
  const file = new FailingFile(path, undefined, 'binary');
  const files = [file];
  onTestFinished(async () => {
    for (const each of files) await each.close();
    await remove();
  });
  const store = new LmdbDeferredStore(file, { bytesMax: 2 ** 40 });
  await opened(store);
  const again = (): LmdbDeferredStore => {
    const next = new FailingFile(path, undefined, 'binary');
    files.push(next);
    return new LmdbDeferredStore(next, { bytesMax: 2 ** 40 });
  };
  /** Writes past the store. */
  const write = async (table: string, key: Uint8Array, value: Uint8Array | undefined): Promise<void> => {
    const meta = file.table('meta').getEntry(nameKey('format'));
    const format = { table: 'meta', key: nameKey('format'), version: meta?.version } as Condition;
    await file.change(format, [{ table, key, value }]);
  };
  const value = (table: string, key: Uint8Array): Uint8Array => {
    file.refresh();
    return Uint8Array.from(file.table(table).get(key) as Uint8Array);
  };
  return { file, store, again, write, value };
}

const MIB = 1 << 20;
const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 4 : byte));

describe('deferred store: lmdb, damaged', () => {
  const LARGE = new Uint8Array(9_000).fill(3);
  const three: readonly Change[] = [submit(row(1)), submit(row(2), LARGE), submit(row(3))];
  /** A pack as it is, less one request. */
  const without = (table: 'rows' | 'heads', sequence: number, framed: Uint8Array): Uint8Array => {
    const pack = new Pack(`${table} 1`, 1, framed.slice(4));
    let made = new Uint8Array(0);
    const packs = new PackWriter(Buffer.alloc(1 << 16), MIB, (_, bytes) => (made = Uint8Array.from(bytes)), 1);
    for (const each of pack.values()) if (each.sequence !== sequence) packs.addRaw(each);
    packs.flush();
    return addChecksum(`${table} 1`, made);
  };

  it.each([
    ['a flipped byte of rows', 'rows 1 does not fit', async ({ write, value }) => write('rows', numberKey(1), flipped(value('rows', numberKey(1))))],
    ['rows that were torn', 'rows 1 does not fit', async ({ write, value }) => write('rows', numberKey(1), value('rows', numberKey(1)).slice(0, -3))],
    ['rows under another key', 'rows 9 does not fit', async ({ write, value }) => write('rows', numberKey(9), value('rows', numberKey(1)))],
    [
      'a flipped byte of a row of its own',
      'order 4 does not fit',
      async ({ write, value }) => write('order', numberKey(4), flipped(value('order', numberKey(4)))),
    ],
    ['a flipped byte of heads', 'heads 1 does not fit', async ({ write, value }) => write('heads', numberKey(1), flipped(value('heads', numberKey(1))))],
    [
      'a flipped byte of a head of its own',
      'head 4 does not fit',
      async ({ write, value }) => write('head', numberKey(4), flipped(value('head', numberKey(4)))),
    ],
    ['a head without a row', 'head 2 has no row', async ({ write, value }) => write('rows', numberKey(1), without('rows', 2, value('rows', numberKey(1))))],
    [
      'a row without a head',
      'the row of request 2 has no head',
      async ({ write, value }) => write('heads', numberKey(1), without('heads', 2, value('heads', numberKey(1)))),
    ],
    ['a row of its own without a head', 'the row of request 4 has no head', async ({ write }) => write('head', numberKey(4), undefined)],
    ['lost heads', 'the row of request 1 has no head', async ({ write }) => write('heads', numberKey(1), undefined)],
    ['a body without its piece', 'body 2 has 0 of its 1 pieces', async ({ write }) => write('body', numbersKey(2, 0), undefined)],
    ['a piece without a row', 'piece 5 of body 77 has no row', async ({ write }) => write('body', numbersKey(77, 5), BODY)],
    ['a flipped byte of the register of flights', 'flight flight does not fit', async ({ write }) => write('flight', nameKey('flight'), BODY)],
    [
      'a flipped byte of an end',
      'done 1.0 does not fit',
      async ({ write, value }) => write('done', numbersKey(1, 0), flipped(value('done', numbersKey(1, 0)))),
    ],
  ] as readonly (readonly [string, string, (rig: Awaited<ReturnType<typeof started>>) => Promise<void>])[])(
    'names %s when it is opened, and changes nothing',
    async (_, named, damage) => {
      const rig = await started();
      await rig.store.commit(three);
      // Given its sequence before another that was stored first, it has entries of its own.
      await rig.store.commit([submit(row(5))]);
      await rig.store.commit([submit(row(4))]);
      await rig.store.commit([end(row(3), 'dead')]);
      await damage(rig);
      const refused = opened(rig.again());
      await expect(refused).rejects.toThrow(`The store of deferred requests is damaged: ${named}`);
      await expect(refused).rejects.toThrow('Put a copy of its folder back');
      await expect(opened(rig.again())).rejects.toThrow(named);
    },
  );

  it('refuses a format that it does not know, by name', async () => {
    const { again, write } = await started();
    await write('meta', nameKey('format'), addChecksum('meta format', new Uint8Array([1, 1, 9])));
    await expect(opened(again())).rejects.toThrow('has the format 9, and this version of Sluice reads 2');
  });

  it('never passes a damaged body on as data', async () => {
    const { store, write, value } = await started();
    await store.commit(three);
    await write('body', numbersKey(2, 0), flipped(value('body', numbersKey(2, 0))));
    await expect(bodyOf(store, 2)).rejects.toThrow('body 2.0 is damaged');
    expect(await bodyOf(store, 1)).toEqual(Buffer.from(BODY));
  });
});

describe('deferred store: lmdb, failing disk', () => {
  it('acknowledges nothing while the disk fails, and works again by itself', async () => {
    const { file, store, again } = await started();
    await store.commit([submit(row(1))]);
    file.fails = 'before';
    const refused = { name: 'StoreUnavailable', reason: 'failed' };
    await expect(store.commit([submit(row(2))])).rejects.toMatchObject(refused);
    await expect(store.commit([end(row(1), 'done')])).rejects.toMatchObject(refused);
    await expect(store.upload(1, 0, BODY)).rejects.toMatchObject(refused);
    await expect(store.reserve(9_000)).rejects.toMatchObject(refused);
    expect(await store.ended(1)).toBe(undefined);
    expect(store.counts().done).toBe(0);
    file.fails = 'never';
    await store.commit([end(row(1), 'done'), submit(row(3))]);
    expect((await opened(again())).sequences).toEqual([3]);
  });

  it('says full when the disk has no room for a submit, and still takes ends that fit', async () => {
    const { file, store } = await started();
    await store.commit([submit(row(1))]);
    file.fails = 'before';
    file.code = 'ENOSPC';
    await expect(store.commit([submit(row(2))])).rejects.toMatchObject({ reason: 'full' });
    await expect(store.commit([end(row(1), 'done')])).rejects.toMatchObject({ reason: 'failed' });
    file.fails = 'never';
    await store.commit([end(row(1), 'done')]);
    expect((await store.ended(1))?.end.state).toBe('done');
  });

  it('takes back what it had said was not stored, when it finds it on the disk', async () => {
    const { file, store, again } = await started();
    await store.commit([1, 2, 3, 4].map((sequence) => submit(row(sequence))));
    await store.commit([end(row(1), 'dead', {}, attempt(1)), end(row(2), 'dead', {}, attempt(1))]);
    await sweepAll(store, 0);
    await store.commit([end(row(4), 'dead', {}, attempt(1))]);
    await store.upload(5, 0, BODY);
    const unsure = [
      [submit(row(5), { upload: 5, pieces: 1, bytes: 4 }), submit(row(6)), end(row(3), 'done', {}, attempt(1))],
      [1, 4].map((sequence) => ({ kind: 'redrive' as const, row: row(sequence, { acceptedAt: 1 }) })),
      [end(row(2), 'cancelled')],
      [{ kind: 'retry' as const, row: row(3), attempt: attempt(1) }],
    ];
    const listed = async () => (await store.listEnded({ ...ANY, state: 'dead', group: 'mail' }, 9, '')).requests.map(({ row: { sequence } }) => sequence);
    for (const batch of unsure) {
      file.fails = 'after';
      await expect(store.commit(batch)).rejects.toMatchObject({ reason: 'failed' });
      file.fails = 'never';
      await store.commit([{ kind: 'arm', flights: [] }]);
      expect(await listed()).toEqual([1, 2, 4]);
      expect(store.counts()).toEqual({ done: 0, dead: 3, cancelled: 0 });
      expect(await store.attempts(1)).toEqual([attempt(1)]);
      expect(await store.attempts(3)).toEqual([]);
      expect(await bodyOf(store, 4)).toEqual(Buffer.from(BODY));
    }
    expect((await opened(again())).sequences).toEqual([3]);
  });

  it('counts a sweep that is found on the disk later as done', async () => {
    const { file, store, again } = await started();
    await store.commit([1, 2, 3].map((sequence) => submit(row(sequence))));
    await store.commit([end(row(1), 'done', { goneAt: 10 }), end(row(2), 'dead')]);
    for (let step = 0; step < 2; step++) {
      file.fails = 'after';
      await expect(store.sweep(100)).rejects.toMatchObject({ reason: 'failed' });
      file.fails = 'never';
      await store.commit([{ kind: 'arm', flights: [] }]);
      await opened(again());
    }
    await sweepAll(store, 100);
    expect(store.counts()).toEqual({ done: 0, dead: 1, cancelled: 0 });
    expect(await opened(again())).toMatchObject({ sequences: [3] });
  });

  it('commits nothing more when another process has written', async () => {
    const { store, again } = await started();
    await store.commit([submit(row(1))]);
    const other = again();
    await opened(other);
    await other.commit([submit(row(2))]);
    await expect(store.commit([submit(row(3))])).rejects.toThrow('Another process writes');
    expect((await opened(again())).sequences).toEqual([1, 2]);
  });
});

describe('deferred store: lmdb, the sweep', () => {
  it('removes at most 3,000 rows or 4 MiB in a commit, wherever they are', async () => {
    const { file, store } = await started();
    const rows = Array.from({ length: 6_000 }, (_, index) => row(index + 1));
    for (let from = 0; from < rows.length; from += 1_000) await store.commit(rows.slice(from, from + 1_000).map((each) => submit(each)));
    const large = { upload: 1, pieces: 40, bytes: 40 * 256 * 1_024 };
    for (let piece = 0; piece < 40; piece++) await store.upload(1, piece, new Uint8Array(256 << 10));
    await store.commit([submit(row(6_001), large)]);
    for (let from = 0; from < rows.length; from += 1_000) await store.commit(rows.slice(from, from + 1_000).map((each) => end(each, 'done', { goneAt: 10 })));
    await store.commit([end(row(6_001), 'dead', { goneAt: 10 })]);
    file.edits = 0;
    const before = store.space.bytes;
    expect(await sweepAll(store, 1_000)).toBeGreaterThan(10);
    expect(file.edits).toBeLessThanOrEqual(3_010);
    expect(store.counts()).toEqual({ done: 0, dead: 0, cancelled: 0 });
    for (const table of ['rows', 'heads', 'order', 'head', 'body', 'open', 'done', 'dead', 'ends']) expect(file.entries(table)).toBe(0);
    expect(store.space.bytes).toBeLessThan(before / 10);
  });
});

describe('deferred store: lmdb, packs', () => {
  it('reads a store of the version before, which has none, and goes on with packs', async () => {
    const { path, end: remove } = await folder();
    const file = new LmdbFile(path, undefined, 'binary');
    onTestFinished(async () => {
      await file.close();
      await remove();
    });
    const at = numberKey(1);
    const edits = [
      { table: 'meta', key: nameKey('format'), record: 'meta format', bytes: Uint8Array.from(encodeNumbers(1)) },
      { table: 'meta', key: nameKey('counters'), record: 'meta counters', bytes: Uint8Array.from(encodeNumbers(1, 0, 0, 0, 0)) },
      { table: 'meta', key: nameKey('batch'), record: 'meta batch', bytes: Uint8Array.from(encodeNumbers(7)) },
      { table: 'order', key: at, record: 'order 1', bytes: Uint8Array.from(encodeRow(row(1))) },
      { table: 'head', key: at, record: 'head 1', bytes: Uint8Array.from(encodeHead(head(), { body: 1, pieces: 0 }, BODY)) },
    ];
    await file.change(
      { table: 'meta', key: nameKey('format'), version: undefined },
      edits.map(({ table, key, record, bytes }) => ({ table, key, value: addChecksum(record, bytes) })),
    );
    for (let start = 0; start < 2; start++) {
      const store = new LmdbDeferredStore(file, { bytesMax: 2 ** 40 });
      expect((await opened(store)).rows).toEqual([row(1), row(2)].slice(0, 1 + start));
      expect(await bodyOf(store, 1)).toEqual(Buffer.from(BODY));
      if (start === 0) await store.commit([submit(row(2))]);
      else await store.commit([end(row(1), 'done', { goneAt: 1 }), end(row(2), 'done', { goneAt: 1 })]);
      if (start === 1) await sweepAll(store, 2);
    }
    for (const table of ['rows', 'heads', 'order', 'head']) expect(file.entries(table)).toBe(0);
  });

  it('joins what was committed a few at a time behind the newest, with everything in its place', async () => {
    const { file, store, again } = await started();
    const count = 800;
    for (let from = 1; from <= count; from += 2) await store.commit([0, 1].map((more) => submit(row(from + more))));
    await store.commit([submit(row(25_000))]);
    expect([file.entries('rows'), file.entries('heads')]).toEqual([count / 2 + 1, count / 2 + 1]);
    await store.commit([{ kind: 'retry', row: row(10, { attempts: 1 }), attempt: attempt(1) }, end(row(11), 'dead'), end(row(12), 'done')]);
    await store.commit([{ kind: 'redrive', row: row(11, { acceptedAt: 1 }) }]);
    await sweepAll(store, 0);
    // A pack takes some fifty of these rows, and a hundred of these heads.
    expect(file.entries('rows')).toBeLessThan(count / 30);
    expect(file.entries('heads')).toBeLessThan(count / 60);
    for (const each of [store, again()]) {
      if (each !== store) {
        const { rows, sequences } = await opened(each);
        expect(sequences).toEqual([...Array.from({ length: count }, (_, index) => index + 1).filter((sequence) => ![11, 12].includes(sequence)), 25_000, 11]);
        expect(rows[9]).toEqual(row(10, { attempts: 1 }));
      }
      for (const sequence of [1, 4, 5, 10, 11, 301, count, 25_000]) expect(await bodyOf(each, sequence)).toEqual(Buffer.from(BODY));
      expect(await each.load(12)).toBe(undefined);
    }
  });
});

const ANY = { group: undefined, key: undefined, error: undefined, since: undefined, until: undefined };

it('reads heads of any script and length as they were written, one after the other and after a sweep', async () => {
  const { store } = await started();
  const heads = Array.from({ length: 60 }, (_, index) =>
    head({
      target: `/größe/${index}`,
      headers: ['x-name', 'naïve ☃ 😀', 'x-long', `${'a'.repeat(index * 5)}ü`, 'x-ascii', 'b'.repeat(130)],
      bodyBytes: BODY.byteLength,
    }),
  );
  await store.commit(heads.map((each, index) => submit(row(index + 1), BODY, each)));
  for (const [index, each] of heads.entries()) expect((await store.load(index + 1))?.head).toEqual(each);
  // What is left of a pack keeps its key: one that it no longer holds is not found by that.
  await store.commit(heads.map((_, index) => end(row(index + 1), 'done', { goneAt: 1 })).filter((_, index) => index % 7 !== 3));
  await sweepAll(store, 2);
  for (const [index, each] of heads.entries()) expect((await store.load(index + 1))?.head).toEqual(index % 7 === 3 ? each : undefined);
  for (let index = 0; index < heads.length; index++) await store.commit([{ kind: 'retry', row: row(index + 1, { attempts: 1 }), attempt: attempt(1) }]);
  for (let index = 0; index < heads.length; index++) expect(await store.attempts(index + 1)).toEqual(index % 7 === 3 ? [attempt(1)] : []);
});

it('writes numbers of any size, each in the bytes that it takes', () => {
  const numbers = [0, 1, 127, 128, 16_383, 16_384, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32 + 5, 1_700_000_000_123, 2 ** 52, Number.MAX_SAFE_INTEGER];
  expect(decodeNumbers('numbers', encodeNumbers(...numbers))).toEqual(numbers);
  for (const number of numbers) {
    expect(encodeNumbers(number).byteLength).toBe(2 + Math.max(1, Math.ceil(Math.log2(number + 1) / 7)));
  }
});
