import { statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeFolder, openStore } from '../../src/storage/open-store.ts';
import { StoreInUse } from '../../src/storage/store-lock.ts';
import { DamagedStore } from '../../src/storage/verify.ts';
import { folder } from '../support/fakes/folder.ts';

const holder = { pid: 4711, address: '127.0.0.1:8080' };

test('a store in use is refused with process and address of its holder, and free once that has closed it', async () => {
  const { path, end } = await folder();
  const first = await openStore(path, { holder, takeOver: false });
  await expect(openStore(path, { holder, takeOver: false })).rejects.toThrow(StoreInUse);
  await expect(openStore(path, { holder, takeOver: false })).rejects.toThrow(/process 4711 on host .*, serving 127\.0\.0\.1:8080, since 2.*store\.takeOver/);
  await first.describe({ ...holder, address: '127.0.0.1:5' });
  await expect(openStore(path, { holder, takeOver: false })).rejects.toThrow('serving 127.0.0.1:5,');
  await first.close();
  await first.close();
  await (await openStore(path, { holder, takeOver: false })).close();
  await end();
});

test('a holder that never said who it is still holds the store', async () => {
  const { path, end } = await folder();
  const first = await openStore(path, { holder, takeOver: false });
  writeFileSync(join(path, 'store.holder.json'), 'nothing of use');
  await expect(openStore(path, { holder, takeOver: false })).rejects.toThrow('another process, which has not said who it is');
  await first.close();
  await end();
});

test('what a holder left behind does not hold the store', async () => {
  const { path, end } = await folder();
  // The id of a process that lives: an id alone proves nothing.
  writeFileSync(join(path, 'store.holder.json'), JSON.stringify({ pid: process.pid, address: '', host: '', since: '' }));
  writeFileSync(join(path, 'store.lock'), '');
  await (await openStore(path, { holder, takeOver: false })).close();
  await end();
});

test('taking over opens a store in use, and holds it once the other has closed it', async () => {
  const { path, end } = await folder();
  const first = await openStore(path, { holder, takeOver: false });
  const second = await openStore(path, { holder: { ...holder, pid: 12 }, takeOver: true });
  await first.close();
  const taken = async (): Promise<boolean> => {
    const third = await openStore(path, { holder, takeOver: false }).catch((cause: Error) => cause);
    if (!(third instanceof Error)) await third.close();
    return third instanceof Error && third.message.includes('process 12 ');
  };
  await expect.poll(taken).toBe(true);
  await second.close();
  await (await openStore(path, { holder, takeOver: false })).close();
  await end();
});

test('a damaged store is refused with what to do, and given back', async () => {
  const { path, end } = await folder();
  const first = await openStore(path, { holder, takeOver: false });
  await first.file.change({ table: 't', key: 'k', version: undefined }, [{ table: 't', key: 'k', value: new Uint8Array(1), version: 1 }]);
  await first.close();
  truncateSync(join(path, 'data.mdb'), 4096);
  for (const _ of [1, 2]) {
    const refused = openStore(path, { holder, takeOver: false });
    await expect(refused).rejects.toThrow(DamagedStore);
    await expect(refused).rejects.toThrow(/data\.mdb is damaged: it ends before meta page 1.* Move the folder away/);
  }
  await end();
});

test('the table of readers has no holes that a full disk could not fill', async () => {
  const { path, end } = await folder();
  await (await openStore(path, { holder, takeOver: false })).close();
  const { size, blocks } = statSync(join(path, 'lock.mdb'));
  expect(blocks * 512).toBeGreaterThanOrEqual(size);
  await (await openStore(path, { holder, takeOver: false })).close();
  await end();
});

test('folders are made one by one, and where none can be made it says so at once', async () => {
  const { path, end } = await folder();
  await makeFolder(join(path, 'a', 'b', 'c'));
  expect(statSync(join(path, 'a', 'b', 'c')).isDirectory()).toBe(true);
  await makeFolder(join(path, 'a', 'b', 'c'));
  await expect(makeFolder('/proc/foo')).rejects.toThrow('ENOENT');
  await expect(makeFolder('/proc/foo/bar/baz')).rejects.toThrow('ENOENT');
  writeFileSync(join(path, 'file'), '');
  await expect(makeFolder(join(path, 'file', 'x'))).rejects.toThrow(/ENOTDIR|not a folder/);
  await expect(makeFolder(join(path, 'file'))).rejects.toThrow('is not a folder');
  await end();
});
