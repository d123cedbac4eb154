import { LmdbRegisters } from '../../../src/coordination/registers/lmdb.ts';
import { LmdbFile } from '../../../src/disk/lmdb-file.ts';
import { registersSuite } from '../../conformance/registers.suite.ts';
import { folder } from '../../fakes/folder.ts';

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
      await table.put(name, Uint8Array.from(found?.value as Uint8Array).reverse(), found?.version as number);
    },
    async end() {
      for (const opened of files) await opened.close();
      await end();
    },
  };
});
