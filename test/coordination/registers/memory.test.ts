import { MemoryRegisters, type RegisterDisk } from '../../../src/coordination/registers/memory.ts';
import { registersSuite } from '../../conformance/registers.suite.ts';

registersSuite('memory', async () => {
  const disk: RegisterDisk = new Map();
  return {
    open: async () => new MemoryRegisters(disk),
    async damage(name) {
      const { framed } = disk.get(name) as { framed: Uint8Array };
      framed[framed.length - 1] = (framed[framed.length - 1] ?? 0) ^ 1;
    },
    end: async () => {},
  };
});
