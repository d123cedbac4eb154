import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder of its own, gone at the end. */
export async function folder(): Promise<{ readonly path: string; end(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'sluice-'));
  return { path, end: () => rm(path, { recursive: true, force: true }) };
}
