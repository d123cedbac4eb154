import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FILE_BYTES_MAX } from '../config/yaml.ts';
import { type FileBytes, readRegularFile } from './source-files.ts';

/** Files of one import at most. */
const FILES_MAX = 1_000;
/** Bytes of all of them at most. */
const BYTES_MAX = 64 * 1024 * 1024;
/** Folders that Lunar keeps its files in. */
const FOLDERS = ['flows', 'quotas'];

/** Reads what Lunar would: a file, or the YAML files of a folder, of its `flows` and `quotas`, and of `quotas` beside `flows`. Rejects where there is none, too much, or something that is not a file. */
export async function lunarFiles(path: string): Promise<readonly FileBytes[]> {
  if (!(await stat(path)).isDirectory()) return [await readRegularFile(path, FILE_BYTES_MAX)];
  const names = await yamlIn(path, true);
  for (const folder of FOLDERS) names.push(...(await yamlIn(join(path, folder), false)));
  if (basename(path) === 'flows') names.push(...(await yamlIn(join(dirname(path), 'quotas'), false)));
  if (names.length === 0) throw new Error('no YAML file is in it, nor in its folders flows and quotas');
  if (names.length > FILES_MAX) throw new Error(`it has more than ${FILES_MAX} files`);
  const files: FileBytes[] = [];
  let bytes = 0;
  for (const name of names) {
    const file = await readRegularFile(name, FILE_BYTES_MAX);
    bytes += file.bytes.length;
    if (bytes > BYTES_MAX) throw new Error(`its files have more than ${BYTES_MAX} bytes`);
    files.push(file);
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
