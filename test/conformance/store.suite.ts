import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Conflict, Oversize, RECORD_BYTES_MAX, type Sequence, type Store, StoreFull } from '../../src/ledger/stores/store.ts';
import { CorruptRecord } from '../../src/storage/checksum.ts';

/** What the suite needs of an implementation: one disk that outlives its stores. */
export interface StoreRig {
  open(bytes: number): Promise<Store>;
  /** Flips a bit in the middle of a stored record. */
  damage(subject: string, sequence: Sequence): Promise<void>;
  /** Shortens a stored record, as a torn write would. */
  tear(subject: string, sequence: Sequence): Promise<void>;
  /** Forgets the disk and closes what is open. */
  end(): Promise<void>;
}

const BYTES = 64 << 20;
const text = (value: string) => new TextEncoder().encode(value);

async function all(store: Store, subject: string, from = 0): Promise<[Sequence, string][]> {
  const found: [Sequence, string][] = [];
  for await (const { sequence, bytes } of store.read(subject, from)) found.push([sequence, new TextDecoder().decode(bytes)]);
  return found;
}

/** What every store does. `shares`: and keeps a share of its room for each subject. */
export function storeSuite(name: string, rigged: () => Promise<StoreRig>, { shares }: { readonly shares: boolean }): void {
  describe(`store: ${name}`, () => {
    let rig: StoreRig;
    let store: Store;
    beforeEach(async () => {
      rig = await rigged();
      store = await rig.open(BYTES);
    });
    afterEach(() => rig.end());

    it('appends in order and reads in that order, from anywhere', async () => {
      let last = 0;
      for (let index = 0; index < 600; index++) last = await store.append('a', text(`r${index}`), last);
      const found = await all(store, 'a');
      expect(found.map(([, value]) => value)).toEqual(Array.from({ length: 600 }, (_, index) => `r${index}`));
      expect((await all(store, 'a', found[300]?.[0]))[0]?.[1]).toBe('r300');
      expect(await all(store, 'a', last + 1)).toEqual([]);
    });

    it('keeps subjects apart, also where one name begins another', async () => {
      await store.append('a', text('1'), 0);
      await store.append('a.b', text('2'), 0);
      await store.append('ab', text('3'), 0);
      expect(await all(store, 'a')).toEqual([[expect.anything(), '1']]);
      expect(await all(store, 'nothing')).toEqual([]);
    });

    it('refuses an append whose last is not the newest, and writes nothing of it', async () => {
      const first = await store.append('a', text('1'), 0);
      await expect(store.append('a', text('x'), 0)).rejects.toThrow(Conflict);
      await expect(store.append('a', text('x'), first + 7)).rejects.toThrow(Conflict);
      await expect(store.append('new', text('x'), 3)).rejects.toThrow(Conflict);
      const second = await store.append('a', text('2'), first);
      expect(second).toBeGreaterThan(first);
      expect((await all(store, 'a')).map(([, value]) => value)).toEqual(['1', '2']);
    });

    it('lets one of many win a race, while other subjects go on', async () => {
      const racers = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => store.append('race', text(`${index}`), 0)));
      const others = await Promise.all(Array.from({ length: 50 }, (_, index) => store.append(`other-${index}`, text('ok'), 0)));
      expect(racers.filter((racer) => racer.status === 'fulfilled').length).toBe(1);
      expect(others.length).toBe(50);
      expect((await all(store, 'race')).length).toBe(1);
    });

    it('takes appends of many subjects in one turn, a conflict among them hurting nobody else', async () => {
      await store.append('s5', text('before'), 0);
      const done = await Promise.allSettled(Array.from({ length: 40 }, (_, index) => store.append(`s${index}`, text('one'), 0)));
      expect(done.map((one) => one.status)).toEqual(done.map((_, index) => (index === 5 ? 'rejected' : 'fulfilled')));
      for (let index = 0; index < 40; index++) expect((await all(store, `s${index}`))[0]?.[1]).toBe(index === 5 ? 'before' : 'one');
    });

    it('trims the old, keeps the newest, and goes on counting', async () => {
      let last = 0;
      for (let index = 0; index < 700; index++) last = await store.append('a', text(`r${index}`), last);
      const kept = (await all(store, 'a'))[650]?.[0] as Sequence;
      await store.trim('a', kept);
      expect((await all(store, 'a')).length).toBe(50);
      for (const nothing of [0, 1]) await store.trim('a', nothing);
      expect((await all(store, 'a')).length).toBe(50);
      await store.trim('a', last + 100);
      expect((await all(store, 'a')).map(([, value]) => value)).toEqual(['r699']);
      await store.trim('nothing', 5);
      await store.append('a', text('on'), last);
      expect((await all(store, 'a')).map(([, value]) => value)).toEqual(['r699', 'on']);
    });

    it('keeps everything over a reopening', async () => {
      const last = await store.append('a', text('1'), 0);
      await store.append('a', text('2'), last);
      await store.close();
      const again = await rig.open(BYTES);
      const found = await all(again, 'a');
      expect(found.map(([, value]) => value)).toEqual(['1', '2']);
      await again.append('a', text('3'), found[1]?.[0] as Sequence);
    });

    it('with two handles, an append of the second makes the first one conflict', async () => {
      const last = await store.append('a', text('1'), 0);
      const second = await rig.open(BYTES);
      expect(await all(second, 'a')).toEqual([[last, '1']]);
      await second.append('a', text('theirs'), last);
      await expect(store.append('a', text('mine'), last)).rejects.toThrow(Conflict);
      expect((await all(store, 'a')).map(([, value]) => value)).toEqual(['1', 'theirs']);
    });

    it('refuses a damaged or torn record by its name', async () => {
      const first = await store.append('a', text('a record to damage'), 0);
      const second = await store.append('a', text('a record to tear'), first);
      await store.append('b', text('sound'), 0);
      await rig.tear('a', second);
      await expect(all(store, 'a', second)).rejects.toThrow(new CorruptRecord(`a#${second}`));
      await rig.damage('a', first);
      await expect(all(store, 'a')).rejects.toThrow(`a#${first} is damaged`);
      expect((await all(store, 'b')).length).toBe(1);
    });

    it('takes a record at the bound and none past it', async () => {
      const last = await store.append('a', new Uint8Array(RECORD_BYTES_MAX), 0);
      await expect(store.append('a', new Uint8Array(RECORD_BYTES_MAX + 1), last)).rejects.toThrow(Oversize);
      await store.append('a', new Uint8Array(0), last);
    });

    it('refuses past its bound, keeps a reserve for relief, and takes again after a trim', async () => {
      const small = await rig.open(400_000);
      const record = new Uint8Array(20_000);
      let last = 0;
      const fill = async (): Promise<void> => {
        for (;;) last = await small.append('a', record, last);
      };
      await expect(fill()).rejects.toThrow(StoreFull);
      expect(last).toBeGreaterThan(3);
      if (!shares) await expect(small.append('b', record, 0)).rejects.toThrow(StoreFull);
      last = await small.append('a', record, last, true);
      await small.trim('a', last);
      await small.append('a', record, last);
    });

    if (shares) {
      it('keeps room for other subjects when one fills it, and for a whole copy of any', async () => {
        const small = await rig.open(800_000);
        const record = new Uint8Array(10_000);
        const last = new Map<string, number>();
        const fill = async (subject: string): Promise<void> => {
          for (;;) last.set(subject, await small.append(subject, record, last.get(subject) ?? 0));
        };
        const counts: number[] = [];
        for (const subject of ['a', 'b', 'c', 'd']) {
          expect(small.fill?.(subject)).toBeLessThan(0.5);
          await expect(fill(subject)).rejects.toThrow(StoreFull);
          expect(small.fill?.(subject)).toBeGreaterThan(0.6);
          counts.push(last.get(subject) ?? 0);
        }
        for (const count of counts) expect(count).toBeGreaterThan(0);
        expect(counts[0]).toBeGreaterThan(counts[3] as number);
        for (let copies = counts[0] as number; copies > 0; copies--) last.set('a', await small.append('a', record, last.get('a') ?? 0, true));
        await small.trim('a', last.get('a') as number);
        await small.append('a', record, last.get('a') as number);
      });
    }

    it('refuses subjects that no other store would take', async () => {
      for (const subject of ['', 'a b', 'a/b', 'a*', 'x'.repeat(401)]) await expect(store.append(subject, text('x'), 0)).rejects.toThrow(RangeError);
    });
  });
}
