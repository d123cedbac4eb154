/*
 * Appends until the disk refuses, then until it gives in again. Started by a test as a process of its own, under a limit of
 * the size of a file, which is to LMDB what a full disk is: node filler.ts FOLDER
 */

import { LmdbStore } from '../../../src/ledger/stores/lmdb.ts';
import { LmdbFile } from '../../../src/storage/lmdb.ts';

// The signal's default would end the process before write(2) can answer EFBIG.
process.on('SIGXFSZ', () => {});
// No handler of unhandled rejections: one of them has to end this process, as it would end a server.
const file = new LmdbFile(process.argv[2] as string, 5_000);
const store = new LmdbStore(file, { bytes: 1 << 30 });
const failures: string[] = [];
let last = 0;
while (failures.length < 4) {
  try {
    last = await store.append('a', new Uint8Array(100_000), last);
  } catch (cause) {
    failures.push((cause as Error).name);
  }
}
const readable: number[] = [];
for await (const { sequence } of store.read('a', 0)) readable.push(sequence);
await store.trim('a', last);
const after = await store.append('a', new Uint8Array(100), last);
await file.close();
process.stdout.write(JSON.stringify({ failures, acknowledged: last, readable: readable.length, after }));
