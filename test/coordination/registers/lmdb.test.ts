import { LmdbRegisters } from '../../../src/coordination/registers/lmdb.ts';
import { LmdbFile } from '../../../src/storage/lmdb.ts';
import { registersSuite } from '../../conformance/registers.suite.ts';
import { folder } from '../../support/fakes/folder.ts';

registersSuite('lmdb', async () => {
  const { path, end } = await folder();
  const files: LmdbFile[] = [];
  const file = (): LmdbFile => {
    const opened = new LmdbFile(path);
    files.push(opened);
    return opened;
  };
  return {
    open: async () => new LmdbRegisters(file()),
    async damage(name) {
      const table = file().table('registers');
      const found = table.getEntry(name);
      const entry = { table: 'registers', key: name, version: found?.version as number };
      await file().change(entry, [{ ...entry, value: Uint8Array.from(found?.value as Uint8Array).reverse() }]);
    },
    async end() {
      for (const opened of files) await opened.close();
      await end();
    },
  };
});
