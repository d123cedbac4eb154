import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { SimModules } from './modules.ts';
import { type Removed, without } from './rules.ts';

const source = fileURLToPath(new URL('../../src', import.meta.url));

/** A copy of what is simulated, in `folder`, with one rule taken out. */
export async function loadWithout(removed: Removed, folder: string): Promise<SimModules> {
  for (const part of ['core', 'coordination', 'ledger', 'relay/transport']) {
    cpSync(join(source, part), join(folder, part), {
      recursive: true,
      filter: (path) => !path.endsWith('.json') && !/\/(?:stores|registers)\/(?:jetstream|lmdb)/.test(path),
    });
  }
  const path = join(folder, removed.file);
  writeFileSync(path, without(removed, readFileSync(path, 'utf8')));
  const load = (name: string): Promise<unknown> => import(/* @vite-ignore */ pathToFileURL(join(folder, name)).href);
  const [member, channels, gate, replay] = await Promise.all(
    ['coordination/replica-machine.ts', 'relay/transport/channel.ts', 'core/gate/gate.ts', 'ledger/replay.ts'].map(load),
  );
  const { ReplicaMachine: Member } = member as { ReplicaMachine: SimModules['Member'] };
  return { Member, ...(channels as object), ...(gate as object), ...(replay as object) } as SimModules;
}
