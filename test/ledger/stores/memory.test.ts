import { MemoryDisk, MemoryStore } from '../../../src/ledger/stores/memory.ts';
import { storeSuite } from '../../conformance/store.suite.ts';

storeSuite(
  'memory',
  async () => {
    const disk = new MemoryDisk();
    const record = (subject: string, sequence: number) => disk.logs.get(subject)?.records.get(sequence) as Uint8Array;
    return {
      open: async (bytes) => new MemoryStore({ bytes }, disk),
      async damage(subject, sequence) {
        const bytes = record(subject, sequence);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      },
      async tear(subject, sequence) {
        disk.logs.get(subject)?.records.set(sequence, record(subject, sequence).slice(0, -3));
      },
      end: async () => {},
    };
  },
  { shares: true },
);
