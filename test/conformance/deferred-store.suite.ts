import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EndState, RequestRow } from '../../src/deferred/request.ts';
import type { Change, DeferredStore, EndedFilter } from '../../src/deferred/store.ts';
import { MemoryDisk, MemoryStore } from '../../src/deferred/stores/memory.ts';
import { attempt, BODY, bodyOf, end, head, opened, row, submit, sweepAll } from './deferred-requests.ts';

/** What the suite needs of an implementation: one disk that outlives its stores. */
export interface DeferredStoreRig {
  /** A store over the disk as it is; those opened before are not closed: their process was killed. */
  create(bytesMax?: number): Promise<DeferredStore>;
  /** Forgets the disk. */
  end(): Promise<void>;
}

const ANY: EndedFilter = { state: 'dead', group: undefined, key: undefined, error: undefined, since: undefined, until: undefined };
const GONE = 1_900_000_000_000;
const MIB = 1 << 20;

/** What every store of deferred requests does. */
export function deferredStoreSuite(name: string, rigged: () => Promise<DeferredStoreRig>): void {
  describe(`deferred store: ${name}`, () => {
    let rig: DeferredStoreRig;
    let store: DeferredStore;
    const restart = async (): Promise<Awaited<ReturnType<typeof opened>>> => {
      store = await rig.create();
      return opened(store);
    };
    beforeEach(async () => {
      rig = await rigged();
      expect(await restart()).toMatchObject({ rows: [], ended: [], flights: [] });
    });
    afterEach(() => rig.end());

    it('keeps every field of what was acknowledged over the end of the process', async () => {
      const full = row(7, {
        group: 'Bücher',
        route: 'r',
        caller: 'shop',
        key: 'shop/1',
        priority: 3,
        costs: { requests: 1, tokens: 2_000 },
        dueAt: 1_700_000_900_000,
        deadlineAt: 1_700_001_000_000,
        firstAttemptAt: 1_700_000_000_500,
        attempts: 4,
        spared: 2,
        idHash: '00ff00ff00ff00ff',
        requestHash: 'ffffffffffffffff',
        ordered: true,
        callbackOf: 2 ** 40,
      });
      const rich = { timeoutMs: 1_500, retries: { delaysMs: [0, 1_000, 86_400_000] }, callback: 'https://a.example/x' };
      await store.commit([submit(row(6), new Uint8Array(0), { retries: { attemptsMax: 3 }, headers: [] }), submit(full, BODY, rich)]);
      const { rows } = await restart();
      expect(rows).toEqual([row(6), full]);
      expect((await store.load(7))?.head).toEqual(head({ ...rich }));
      expect((await store.load(6))?.head).toEqual(head({ headers: [], bodyBytes: 0, retries: { attemptsMax: 3 } }));
      expect(await bodyOf(store, 7)).toEqual(Buffer.from(BODY));
      expect(await bodyOf(store, 6)).toEqual(Buffer.alloc(0));
      for (const [index, size] of [1, 4_095, 4_096, 4_097, 65_536].entries()) {
        const body = Buffer.alloc(size, index + 1);
        await store.commit([submit(row(100 + index), body)]);
        expect((await bodyOf(store, 100 + index))?.equals(body)).toBe(true);
      }
      expect(await store.load(8)).toBe(undefined);
    });

    it('never names a sequence below what was reserved', async () => {
      await store.reserve(1_000_001);
      expect((await restart()).nextSequence).toBeGreaterThanOrEqual(1_000_001);
      await store.commit([submit(row(1_000_500))]);
      await store.commit([end(row(1_000_500), 'done', { goneAt: 1 })]);
      await sweepAll(store, GONE);
      expect((await restart()).nextSequence).toBeGreaterThanOrEqual(1_000_001);
    });

    it('says what may have been on its way as it was armed last', async () => {
      await store.commit([submit(row(1)), submit(row(2))]);
      await store.commit([{ kind: 'arm', flights: [{ sequence: 1, attempt: 1 }] }]);
      await store.commit([{ kind: 'arm', flights: [1, 2].map((sequence) => ({ sequence, attempt: 3 })) }]);
      expect((await restart()).flights).toEqual([
        { sequence: 1, attempt: 3 },
        { sequence: 2, attempt: 3 },
      ]);
      await store.commit([{ kind: 'arm', flights: [] }]);
      expect((await restart()).flights).toEqual([]);
    });

    it('keeps the row of a retry, and the last 20 attempts in their order', async () => {
      await store.commit([submit(row(1))]);
      for (let number = 1; number <= 23; number++) {
        await store.commit([{ kind: 'retry', row: row(1, { attempts: number, dueAt: 5 + number }), attempt: attempt(number) }]);
      }
      expect((await restart()).rows).toEqual([row(1, { attempts: 23, dueAt: 28 })]);
      expect((await store.attempts(1)).map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, index) => index + 4));
      await store.commit([end(row(1), 'dead', {}, attempt(24, { firstBytes: new Uint8Array(256) }))]);
      await restart();
      const attempts = await store.attempts(1);
      expect(attempts.map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, index) => index + 5));
      expect(attempts.at(-1)).toEqual(attempt(24, { firstBytes: new Uint8Array(256) }));
    });

    it('finds an end by its sequence before and after the sweep and a restart, with its answer', async () => {
      const long = { status: 201, headers: ['a', 'b', 'a', 'c'], body: new Uint8Array(3_000).fill(7), truncated: true };
      await store.commit([submit(row(1)), submit(row(2)), submit(row(3))]);
      await store.commit([end(row(2), 'done', { response: long }, attempt(1)), end(row(1), 'cancelled')]);
      for (const step of [undefined, () => sweepAll(store, 0), restart]) {
        await step?.();
        expect((await store.ended(2))?.end).toMatchObject({ state: 'done', response: long });
        expect(await store.ended(2)).toMatchObject({ row: row(2) });
        expect((await store.ended(1))?.end).toMatchObject({ state: 'cancelled', response: undefined });
        expect(await store.ended(3)).toBe(undefined);
        expect(await store.load(2)).toBe(undefined);
        expect(await store.attempts(2)).toEqual([attempt(1)]);
        expect(store.counts()).toEqual({ done: 1, dead: 0, cancelled: 1 });
      }
      expect((await restart()).sequences).toEqual([3]);
    });

    it('says which keys are known of ended requests that are kept, and forgets them when they are gone', async () => {
      const keyed = (sequence: number) => row(sequence, { idHash: sequence.toString(16).padStart(16, 'a'), requestHash: 'b'.repeat(16) });
      await store.commit([1, 2, 3, 4].map((sequence) => submit(keyed(sequence))));
      await store.commit([submit(row(5)), end(row(5), 'done')]);
      await store.commit([end(keyed(1), 'done', { goneAt: 5_000 }), end(keyed(2), 'dead')]);
      const ended = [
        { row: keyed(1), state: 'done' },
        { row: keyed(2), state: 'dead' },
      ];
      expect(await restart()).toMatchObject({ ended, sequences: [3, 4] });
      await sweepAll(store, 4_999);
      expect(await restart()).toMatchObject({ ended, sequences: [3, 4] });
      await store.commit([end(keyed(3), 'cancelled')]);
      await sweepAll(store, 5_000);
      const after = await restart();
      expect(after.ended.map(({ row: { sequence } }) => sequence).sort()).toEqual([2, 3]);
      expect(await store.ended(1)).toBe(undefined);
      expect(await store.attempts(1)).toEqual([]);
      expect(store.counts()).toEqual({ done: 1, dead: 1, cancelled: 1 });
    });

    it('records one end of a request, and no retry after it', async () => {
      await store.commit([submit(row(1)), submit(row(2))]);
      await store.commit([end(row(1), 'done', { at: 10 }), end(row(1), 'dead', { at: 11 })]);
      await store.commit([end(row(1), 'cancelled', { at: 12 }), { kind: 'retry', row: row(1, { attempts: 9 }), attempt: attempt(9) }]);
      await sweepAll(store, 0);
      await store.commit([
        { kind: 'retry', row: row(1, { attempts: 9 }), attempt: attempt(9) },
        { kind: 'redrive', row: row(1) },
      ]);
      expect((await store.ended(1))?.end).toMatchObject({ state: 'done', at: 10 });
      expect((await restart()).sequences).toEqual([2]);
      expect(store.counts()).toEqual({ done: 1, dead: 0, cancelled: 0 });
    });

    it('keeps head, body and attempts of a dead letter, and cancels it once', async () => {
      await store.commit([submit(row(1)), submit(row(2))]);
      await store.commit([end(row(1), 'dead', {}, attempt(1)), end(row(2), 'dead', {}, attempt(1))]);
      await sweepAll(store, 0);
      await restart();
      expect(await bodyOf(store, 1)).toEqual(Buffer.from(BODY));
      await store.commit([end(row(1), 'cancelled', { at: 99 })]);
      expect((await store.ended(1))?.end).toMatchObject({ state: 'cancelled', at: 99 });
      expect(await store.attempts(1)).toEqual([attempt(1)]);
      expect(await store.load(1)).toBe(undefined);
      for (const step of [() => sweepAll(store, 0), restart]) {
        await step();
        expect(store.counts()).toEqual({ done: 0, dead: 1, cancelled: 1 });
        expect(await store.load(1)).toBe(undefined);
        expect((await store.listEnded({ ...ANY, group: 'mail' }, 10, '')).requests.map(({ row: { sequence } }) => sequence)).toEqual([2]);
      }
    });

    it('puts what is redriven after all that was accepted before, and before what came later', async () => {
      await store.commit([1, 2, 3, 4].map((sequence) => submit(row(sequence))));
      await store.commit([end(row(1), 'dead', {}, attempt(1)), end(row(2), 'dead', {}, attempt(1))]);
      await sweepAll(store, 0);
      await store.commit([end(row(3), 'dead', {}, attempt(1))]);
      const again = (sequence: number, acceptedAt: number) => row(sequence, { acceptedAt, attempts: 1 });
      await store.commit([
        { kind: 'redrive', row: again(3, 10) },
        { kind: 'redrive', row: again(1, 11) },
        { kind: 'redrive', row: again(1, 12) },
      ]);
      await store.commit([submit(row(5))]);
      await store.commit([{ kind: 'redrive', row: again(2, 13) }]);
      await store.commit([submit(row(6)), { kind: 'retry', row: { ...again(3, 10), attempts: 2 }, attempt: attempt(2) }]);
      const order = [row(4), { ...again(3, 10), attempts: 2 }, again(1, 11), row(5), again(2, 13), row(6)];
      expect((await restart()).rows).toEqual(order);
      expect(await store.ended(1)).toBe(undefined);
      expect(await store.attempts(3)).toEqual([attempt(1), attempt(2)]);
      expect(store.counts()).toEqual({ done: 0, dead: 0, cancelled: 0 });
      // Dead again, and redriven again, after a restart.
      await store.commit([end(again(3, 10), 'dead'), end(again(2, 13), 'done')]);
      await sweepAll(store, 0);
      await store.commit([{ kind: 'redrive', row: again(3, 20) }]);
      expect((await restart()).sequences).toEqual([4, 1, 5, 6, 3]);
      expect(await bodyOf(store, 3)).toEqual(Buffer.from(BODY));
      expect(await store.load(2)).toBe(undefined);
    });

    it('lists ended requests by state, group, key, error and time, page by page, the oldest end first', async () => {
      const all: RequestRow[] = [];
      for (let sequence = 1; sequence <= 40; sequence++) all.push(row(sequence, { group: sequence % 2 === 0 ? 'mail' : 'mailbox', key: `k${sequence % 3}` }));
      await store.commit(all.map((each) => submit(each)));
      const states: readonly EndState[] = ['dead', 'dead', 'done', 'cancelled'];
      for (const each of all) {
        const state = states[each.sequence % 4] as EndState;
        await store.commit([end(each, state, { at: 1_000 + each.sequence, error: each.sequence % 5 === 0 ? 'timeout' : 'status' })]);
        if (each.sequence === 20) await sweepAll(store, 0);
      }
      const listed = async (filter: Partial<EndedFilter>, size: number): Promise<readonly number[]> => {
        const found: number[] = [];
        let pages = 0;
        for (let token = ''; pages === 0 || token !== ''; pages++) {
          const page = await store.listEnded({ ...ANY, ...filter }, size, token);
          expect(page.requests.length).toBeLessThanOrEqual(size);
          found.push(...page.requests.map(({ row: each }) => each.sequence));
          token = page.next;
        }
        return found;
      };
      const expected = (fits: (each: RequestRow) => boolean): readonly number[] => all.filter(fits).map(({ sequence }) => sequence);
      const isDead = ({ sequence }: RequestRow): boolean => sequence % 4 < 2;
      for (const size of [1, 3, 100]) {
        expect(await listed({}, size)).toEqual(expected(isDead));
        expect(await listed({ state: 'cancelled' }, size)).toEqual(expected(({ sequence }) => sequence % 4 === 3));
        expect(await listed({ group: 'mail' }, size)).toEqual(expected((each) => isDead(each) && each.group === 'mail'));
        expect(await listed({ state: 'done', group: 'mailbox' }, size)).toEqual([]);
        expect(await listed({ group: 'mailbox', key: 'k1' }, size)).toEqual(expected((each) => isDead(each) && each.group === 'mailbox' && each.key === 'k1'));
        expect(await listed({ error: 'timeout' }, size)).toEqual(expected((each) => isDead(each) && each.sequence % 5 === 0));
        const within = ({ sequence }: RequestRow): boolean => sequence >= 10 && sequence < 30;
        expect(await listed({ since: 1_010, until: 1_030, group: 'mail' }, size)).toEqual(
          expected((each) => isDead(each) && within(each) && each.group === 'mail'),
        );
        expect(await listed({ since: 1_010, until: 1_030 }, size)).toEqual(expected((each) => isDead(each) && within(each)));
      }
      const [done] = (await store.listEnded({ ...ANY, state: 'done' }, 1, '')).requests;
      expect(done?.end.response).toMatchObject({ status: 200, headers: ['x-a', '1'], body: new Uint8Array(0) });
    });

    it('goes on in a list where it stopped, though what came before has been redriven meanwhile', async () => {
      await store.commit([1, 2, 3, 4, 5].map((sequence) => submit(row(sequence))));
      await store.commit([1, 2, 3, 4, 5].map((sequence) => end(row(sequence), 'dead')));
      const first = await store.listEnded({ ...ANY, group: 'mail' }, 2, '');
      await store.commit(first.requests.map((each) => ({ kind: 'redrive', row: each.row })));
      const second = await store.listEnded({ ...ANY, group: 'mail' }, 9, first.next);
      expect(second.requests.map(({ row: { sequence } }) => sequence)).toEqual([3, 4, 5]);
    });

    it('stores a body in pieces, gives it to its request, and drops what was not given', async () => {
      const pieces = Array.from({ length: 6 }, (_, index) => new Uint8Array(256 << 10).fill(index + 1));
      await Promise.all(pieces.flatMap((bytes, piece) => [store.upload(1, piece, bytes), store.upload(2, piece, bytes), store.upload(3, piece, bytes)]));
      await store.commit([submit(row(9), { upload: 1, pieces: 6, bytes: 6 * (256 << 10) })]);
      await store.dropUpload(2);
      await store.dropUpload(7);
      expect((await bodyOf(store, 9))?.equals(Buffer.concat(pieces))).toBe(true);
      // The process ends; upload 3 never had a row, and its number is used again.
      expect((await restart()).sequences).toEqual([9]);
      await store.upload(1, 0, BODY);
      await store.upload(3, 0, new Uint8Array([9]));
      await store.commit([submit(row(10), { upload: 1, pieces: 1, bytes: 4 }), submit(row(11), { upload: 3, pieces: 1, bytes: 1 })]);
      await restart();
      expect((await bodyOf(store, 9))?.equals(Buffer.concat(pieces))).toBe(true);
      expect(await bodyOf(store, 10)).toEqual(Buffer.from(BODY));
      expect(await bodyOf(store, 11)).toEqual(Buffer.from([9]));
    });

    it('refuses submits when it is full, goes on recording ends, and takes submits again when there is room', async () => {
      store = await rig.create(6 * MIB);
      await opened(store);
      const body = new Uint8Array(60_000);
      let last = 0;
      const fill = async (): Promise<void> => {
        for (;;) await store.commit([submit(row(++last), body)]);
      };
      await expect(fill()).rejects.toMatchObject({ name: 'StoreUnavailable', reason: 'full' });
      await expect(store.upload(1, 0, body)).rejects.toMatchObject({ reason: 'full' });
      expect(store.space.bytes).toBeGreaterThanOrEqual(0.95 * 6 * MIB);
      expect(store.space.bytes).toBeLessThan(1.1 * 6 * MIB);
      for (let sequence = 1; sequence < last; sequence++) await store.commit([end(row(sequence), 'done', { goneAt: 1_000 })]);
      expect((await store.ended(1))?.end.state).toBe('done');
      await sweepAll(store, 2_000);
      expect(store.space.bytes).toBeLessThan(2 * MIB);
      await store.commit([submit(row(last + 1), body)]);
      expect((await restart()).sequences).toEqual([last + 1]);
    });

    it('does as the store in memory does, whatever comes in whatever order, over restarts and sweeps', async () => {
      const step = fc.oneof(
        { weight: 6, arbitrary: fc.record({ op: fc.constant('submit' as const), n: fc.nat(4) }) },
        { weight: 3, arbitrary: fc.record({ op: fc.constant('retry' as const), n: fc.nat() }) },
        { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('done' as const, 'dead' as const, 'cancelled' as const), n: fc.nat() }) },
        { weight: 4, arbitrary: fc.record({ op: fc.constant('redrive' as const), n: fc.nat() }) },
        { weight: 3, arbitrary: fc.record({ op: fc.constantFrom('sweep' as const, 'restart' as const), n: fc.nat(60) }) },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
          await rig.end();
          rig = await rigged();
          await restart();
          const disk = new MemoryDisk();
          const model = new MemoryStore({ disk, bytesMax: 2 ** 40 });
          let last = 0;
          let now = 1_000;
          for (const { op, n } of steps) {
            now++;
            const changes: Change[] = [];
            const pick = (from: readonly number[]): number | undefined => from[n % Math.max(1, from.length)];
            if (op === 'submit') for (let index = 0; index <= n; index++) changes.push(submit(row(++last, { idHash: last % 2 === 0 ? '' : 'c'.repeat(16) })));
            const pending = pick([...disk.rows.keys()]);
            if (op === 'retry' && pending !== undefined) changes.push({ kind: 'retry', row: row(pending, { attempts: now }), attempt: attempt(now % 50) });
            if ((op === 'done' || op === 'dead' || op === 'cancelled') && last > 0) {
              const sequence = op === 'cancelled' ? 1 + (n % last) : (pending ?? 1);
              if (disk.rows.has(sequence) || disk.ended.has(sequence))
                changes.push(end(row(sequence), op, { at: now, goneAt: now + (n % 40) }, attempt(n % 50)));
            }
            const dead = pick([...disk.ended.keys()]);
            if (op === 'redrive' && dead !== undefined) changes.push({ kind: 'redrive', row: row(dead, { acceptedAt: now }) });
            await model.commit(changes);
            if (changes.length > 0) await store.commit(changes);
            if (op === 'sweep') {
              now += n;
              await sweepAll(model, now);
              await sweepAll(store, now);
            }
            if (op === 'restart') expect((await restart()).rows).toEqual((await opened(new MemoryStore({ disk, bytesMax: 1 }))).rows);
            expect(store.counts()).toEqual(model.counts());
          }
          const found = await restart();
          const wanted = await opened(new MemoryStore({ disk, bytesMax: 1 }));
          const bySequence = (a: { row: RequestRow }, b: { row: RequestRow }): number => a.row.sequence - b.row.sequence;
          expect(found.rows).toEqual(wanted.rows);
          expect(found.ended.sort(bySequence)).toEqual(wanted.ended.sort(bySequence));
          for (let sequence = 1; sequence <= last; sequence++) {
            expect(await store.ended(sequence)).toEqual(await model.ended(sequence));
            expect(await store.attempts(sequence)).toEqual(await model.attempts(sequence));
            expect(await bodyOf(store, sequence)).toEqual(await bodyOf(model, sequence));
          }
          for (const state of ['done', 'dead', 'cancelled'] as const) {
            expect(await store.listEnded({ ...ANY, state }, 1_000, '')).toEqual(await model.listEnded({ ...ANY, state }, 1_000, ''));
          }
        }),
        { numRuns: 25 },
      );
    });
  });
}
