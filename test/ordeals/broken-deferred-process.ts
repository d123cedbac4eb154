import { BatchedStore, type Write } from '../../src/deferred/batched-store.ts';

/*
 * The server, broken on purpose: a submit is acknowledged before its batch is committed. The judges of
 * the kill runs and of the system-call trace have to find it out.
 */

const { write } = BatchedStore.prototype;
BatchedStore.prototype.write = function (this: BatchedStore, ...writes: readonly Write[]): Promise<void> {
  const written = write.call(this, ...writes);
  if (writes.some(({ kind }) => kind !== 'submit')) return written;
  written.catch(() => undefined);
  return Promise.resolve();
};

await import('../../src/main.ts');
