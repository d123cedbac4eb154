import { afterEach, expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { LmdbDeferredStore } from '../../src/deferred/stores/lmdb.ts';
import { type Condition, type Edit, LmdbFile, type Table } from '../../src/storage/lmdb.ts';
import { settingsOf } from '../admission/rig.ts';
import { group, spacing } from '../core/specs.ts';
import { folder } from '../support/fakes/folder.ts';
import { until } from '../support/fakes/until.ts';
import { DeferredRig, SUBMISSION } from './rig.ts';

/* RQ-15 by what is read and written; how long it takes is measured by `npm run bench -- stored`, with a million waiting. */

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Counts entries written, and entries read. */
class CountingFile extends LmdbFile {
  written = 0;
  read = 0;

  override async change(condition: Condition, edits: readonly Edit[]): Promise<boolean> {
    this.written += edits.length;
    return super.change(condition, edits);
  }

  override table(name: string): Table {
    this.read++;
    return super.table(name);
  }
}

/** Its sweep is out of the way of the counts. */
class UnsweptStore extends LmdbDeferredStore {
  override async sweep(): Promise<boolean> {
    return false;
  }
}

/** What it costs to submit one and to deliver the next, with so many waiting. */
async function costs(waiting: number): Promise<{ readonly submit: readonly number[]; readonly next: readonly number[] }> {
  const { path, end } = await folder();
  ends.push(end);
  const file = new CountingFile(path, undefined, 'binary');
  ends.push(() => file.close());
  const rig = new DeferredRig([settingsOf(group('g', [spacing(SECOND)]))]);
  rig.store = new UnsweptStore(file, { bytesMax: 2 ** 40 });
  await rig.start();
  for (let from = 0; from < waiting; from += 500)
    await Promise.all(
      Array.from({ length: Math.min(500, waiting - from) }, (_, index) => rig.service.submit({ ...SUBMISSION, key: `k${(from + index) % 7}` })),
    );
  // The first is on its way; what its end leaves is over.
  await until('a delivery', () => rig.seen.length === 1 && rig.service.figures.ended.done === 1);
  const before = [file.written, file.read];
  await rig.service.submit(SUBMISSION);
  const between = [file.written, file.read];
  await rig.admission.pass(1);
  await until('a delivery', () => rig.seen.length === 2 && rig.service.figures.ended.done === 2);
  const after = [file.written, file.read];
  await rig.service.drain(0);
  return { submit: between.map((count, index) => count - (before[index] as number)), next: after.map((count, index) => count - (between[index] as number)) };
}

test('RQ-15: submitting one and delivering the next reads and writes as much with 20,000 waiting as with 20', async () => {
  const [few, many] = [await costs(20), await costs(20_000)];
  expect(many.submit).toEqual(few.submit);
  expect(many.next[0]).toBe(few.next[0]);
});
