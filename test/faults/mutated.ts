import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Removed, without } from '../sim/rules.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Copies the whole server into `folder`, with one rule taken out. Returns the file that starts it. */
export function mutatedMain(removed: Removed, folder: string): string {
  mkdirSync(folder, { recursive: true });
  cpSync(join(root, 'src'), join(folder, 'src'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const path = join(folder, 'src', removed.file);
  writeFileSync(path, without(removed, readFileSync(path, 'utf8')));
  return join(folder, 'src', 'main.ts');
}
