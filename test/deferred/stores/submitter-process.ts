/*
 * Submits to a store of deferred requests from 64 submitters until it is killed, and says on stdout what was acknowledged, a
 * line each: `submitted 12`, `ended 12`. Every third request is ended. node submitter-process.ts FOLDER [early]
 *
 * `early`: a store that acknowledges before its commit, for the test of the test.
 */
import { join } from 'node:path';
import { BatchedStore } from '../../../src/deferred/batched-store.ts';
import type { Change } from '../../../src/deferred/store.ts';
import { LmdbDeferredStore } from '../../../src/deferred/stores/lmdb.ts';
import { openStore } from '../../../src/storage/open-store.ts';
import { attempt, end, row, submit } from '../../conformance/deferred-requests.ts';

const SUBMITTERS = 64;

class EarlyStore extends LmdbDeferredStore {
  override commit(batch: readonly Change[]): Promise<void> {
    void super.commit(batch);
    return new Promise((resolve) => setImmediate(resolve));
  }
}

const [folder, mutant] = process.argv.slice(2) as [string, string | undefined];
const { file, close } = await openStore(join(folder, 'deferred'), { holder: { pid: process.pid, address: '' }, takeOver: false, keys: 'binary' });
const store = new (mutant === 'early' ? EarlyStore : LmdbDeferredStore)(file, { bytesMax: 2 ** 40, close });
let { nextSequence: next } = await store.open(
  () => {},
  () => {},
);
await store.reserve(next + 1_000_000);
const batched = new BatchedStore(store);
const body = new Uint8Array(1_000);

/** One write, synchronous on pipes: what is said was said when the process is killed. */
function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function submitter(): Promise<void> {
  for (;;) {
    const sequence = next++;
    const of = row(sequence, { idHash: sequence % 2 === 0 ? sequence.toString(16).padStart(16, '0') : '' });
    await batched.write(submit(of, body) as Extract<Change, { kind: 'submit' }>);
    say(`submitted ${sequence}`);
    if (sequence % 3 !== 0) continue;
    await batched.write({ kind: 'arm', flight: { sequence, attempt: 1 } });
    await batched.write(end(of, sequence % 2 === 0 ? 'done' : 'dead', {}, attempt(1)) as Extract<Change, { kind: 'end' }>);
    say(`ended ${sequence}`);
  }
}

async function sweeper(): Promise<void> {
  for (;;) {
    await store.sweep(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

say('ready');
await Promise.all([sweeper(), ...Array.from({ length: SUBMITTERS }, submitter)]);
