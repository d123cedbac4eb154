import { LmdbStore } from '../../../src/ledger/stores/lmdb.ts';
import { LmdbFile } from '../../../src/storage/lmdb.ts';
import { storeSuite } from '../../conformance/store.suite.ts';
import { folder } from '../../support/fakes/folder.ts';

storeSuite(
  'lmdb',
  async () => {
    const { path, end } = await folder();
    const files: LmdbFile[] = [];
    const file = (): LmdbFile => {
      const opened = new LmdbFile(path);
      files.push(opened);
      return opened;
    };
    const change = async (subject: string, sequence: number, how: (bytes: Uint8Array) => Uint8Array): Promise<void> => {
      const table = file().table('ledger-records');
      const found = table.getEntry([subject, sequence]);
      const entry = { table: 'ledger-records', key: [subject, sequence] as [string, number], version: found?.version as number };
      await file().change(entry, [{ ...entry, value: how(Uint8Array.from(found?.value as Uint8Array)) }]);
    };
    return {
      open: async (bytes) => new LmdbStore(file(), { bytes }),
      damage: (subject, sequence) => change(subject, sequence, (bytes) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 1 : byte))),
      tear: (subject, sequence) => change(subject, sequence, (bytes) => bytes.slice(0, -3)),
      async end() {
        for (const opened of files) await opened.close();
        await end();
      },
    };
  },
  { shares: true },
);
