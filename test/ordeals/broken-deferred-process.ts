import { BatchedStore, type Write } from '../../src/deferred/batched-store.ts';

/*
 * The server, broken on purpose: a submit is acknowledged before its batch is committed. The judge of the kill runs has to find it out.
 */

const { write } = BatchedStore.prototype;
BatchedStore.prototype.write = function (this: BatchedStore, change: Write): Promise<void> {
  const written = write.call(this, change);
  if (change.kind !== 'submit') return written;
  written.catch(() => undefined);
  return Promise.resolve();
};

await import('../../src/main.ts');
