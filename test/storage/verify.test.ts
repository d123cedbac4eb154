import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LmdbFile } from '../../src/storage/lmdb.ts';
import { DamagedStore, verifyStore } from '../../src/storage/verify.ts';
import { folder } from '../support/fakes/folder.ts';

const PAGE = 4096;

interface Written {
  readonly keys: number;
  readonly bytes: number;
  readonly removed: number;
  readonly large: number;
}

/** A store with several tables, branches, overflow pages and free pages; answers its data file. */
async function written(path: string, { keys, bytes, removed, large }: Written): Promise<string> {
  const file = new LmdbFile(path);
  const put = (table: string, key: string, size: number) =>
    file.change({ table: 'guard', key: `${table}/${key}`, version: undefined }, [
      { table: 'guard', key: `${table}/${key}`, value: new Uint8Array(1), version: 1 },
      { table, key: [key, 7], value: new Uint8Array(size).fill(5) },
    ]);
  await Promise.all(Array.from({ length: keys }, (_, index) => put(`t${index % 3}`, `k${index}`, bytes)));
  for (let index = 0; index < large; index++) await put('large', `k${index}`, 300_000);
  const drop = (index: number) => ({ table: `t${index % 3}`, key: [`k${index}`, 7] as [string, number], value: undefined });
  await file.change(
    { table: 'guard', key: 'end', version: undefined },
    Array.from({ length: Math.min(keys, removed) }, (_, index) => drop(index)),
  );
  await file.close();
  return join(path, 'data.mdb');
}

const plenty: Written = { keys: 900, bytes: 200, removed: 500, large: 3 };

test('a store that LMDB wrote is sound, whatever its size and however much was removed', async () => {
  const shape = fc.record({ keys: fc.nat(600), bytes: fc.nat(6_000), removed: fc.nat(700), large: fc.nat(2) });
  await fc.assert(
    fc.asyncProperty(shape, async (of) => {
      const { path, end } = await folder();
      const { pages, whole } = await verifyStore(await written(path, of), 60_000);
      expect(whole).toBe(true);
      expect(pages).toBeGreaterThan(0);
      await end();
    }),
    { numRuns: 12 },
  );
});

test('a file that is missing or empty is a store that was never written', async () => {
  const { path, end } = await folder();
  expect(await verifyStore(join(path, 'data.mdb'), 1_000)).toEqual({ pages: 0, whole: true });
  writeFileSync(join(path, 'data.mdb'), '');
  expect(await verifyStore(join(path, 'data.mdb'), 1_000)).toEqual({ pages: 0, whole: true });
  await end();
});

test('a file cut short is damaged, wherever it ends', async () => {
  const { path, end } = await folder();
  const file = await written(path, plenty);
  const size = readFileSync(file).length;
  const cut = join(path, 'cut.mdb');
  for (const left of [1, 100, PAGE - 1, PAGE, 2 * PAGE, 3 * PAGE, size >> 1]) {
    copyFileSync(file, cut);
    truncateSync(cut, left);
    await expect(verifyStore(cut, 60_000), `${left} bytes`).rejects.toThrow(DamagedStore);
  }
  await end();
});

test('a damaged page is named or belongs to no tree, and no damage breaks the check itself', async () => {
  const { path, end } = await folder();
  const sound = readFileSync(await written(path, plenty));
  const harmed = join(path, 'harmed.mdb');
  const damage = fc.record({
    page: fc.nat(sound.length / PAGE - 1),
    at: fc.oneof(fc.nat(200), fc.nat(PAGE - 1)),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
  });
  let found = 0;
  await fc.assert(
    fc.asyncProperty(damage, async ({ page, at, bytes }) => {
      const copy = Buffer.from(sound);
      copy.set(bytes.subarray(0, PAGE - at), page * PAGE + at);
      writeFileSync(harmed, copy);
      const outcome = await verifyStore(harmed, 60_000).catch((cause: unknown) => cause);
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(DamagedStore);
      if (outcome instanceof DamagedStore) found++;
    }),
    { numRuns: 400 },
  );
  expect(found).toBeGreaterThan(20);
  await end();
});

test('pages of zeros in the place of a tree are damage', async () => {
  const { path, end } = await folder();
  const file = await written(path, plenty);
  const bytes = readFileSync(file);
  bytes.fill(0, 2 * PAGE);
  writeFileSync(file, bytes);
  await expect(verifyStore(file, 60_000)).rejects.toThrow(/page \d+/);
  await end();
});

test('the check ends when its time does, and says that it was not whole', async () => {
  const { path, end } = await folder();
  const file = await written(path, { ...plenty, keys: 9_000 });
  expect(await verifyStore(file, 0)).toEqual({ pages: 128, whole: false });
  await end();
});
