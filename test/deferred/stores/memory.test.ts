import { MemoryDisk, MemoryStore } from '../../../src/deferred/stores/memory.ts';
import { deferredStoreSuite } from '../../conformance/deferred-store.suite.ts';

deferredStoreSuite('memory', async () => {
  const disk = new MemoryDisk();
  return { create: async (bytesMax = 2 ** 40) => new MemoryStore({ disk, bytesMax }), end: async () => {} };
});
