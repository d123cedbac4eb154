import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { SourceFile } from '../importers/importer.ts';

/** Files of one import at most. */
const FILES_MAX = 1_000;
/** Bytes of all of them at most. */
const BYTES_MAX = 64 * 1024 * 1024;
/** Folders that Lunar keeps its files in. */
const FOLDERS = ['flows', 'quotas'];

/** Reads what Lunar would: a file, or the YAML files of a folder, of its `flows` and `quotas`, and of `quotas` beside `flows`. Rejects where there is none, or too much. */
export async function lunarFiles(path: string): Promise<readonly SourceFile[]> {
  if (!(await stat(path)).isDirectory()) return [{ name: path, text: await readFile(path, 'utf8') }];
  const names = await yamlIn(path, true);
  for (const folder of FOLDERS) names.push(...(await yamlIn(join(path, folder), false)));
  if (basename(path) === 'flows') names.push(...(await yamlIn(join(dirname(path), 'quotas'), false)));
  if (names.length === 0) throw new Error('no YAML file is in it, nor in its folders flows and quotas');
  if (names.length > FILES_MAX) throw new Error(`it has more than ${FILES_MAX} files`);
  const files: SourceFile[] = [];
  let bytes = 0;
  for (const name of names) {
    bytes += (await stat(name)).size;
    if (bytes > BYTES_MAX) throw new Error(`its files have more than ${BYTES_MAX} bytes`);
    files.push({ name, text: await readFile(name, 'utf8') });
  }
  return files;
}

/** Returns the YAML files of a folder by name; none where there is no such folder, unless it must be there. */
async function yamlIn(folder: string, must: boolean): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    if (!must && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) return [];
    throw cause;
  });
  const files = entries.filter((entry) => !entry.isDirectory() && /\.ya?ml$/.test(entry.name)).map((entry) => join(folder, entry.name));
  return files.sort();
}
