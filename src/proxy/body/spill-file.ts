import { type FileHandle, mkdir, open, readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const PREFIX = 'held-';

/** A folder for bytes that do not stay in memory. Its files have no name once they are open: what a crash leaves is gone with the process. */
export class SpillFolder {
  readonly #path: string;
  readonly #random: (bytes: number) => Uint8Array;

  private constructor(path: string, random: (bytes: number) => Uint8Array) {
    this.#path = path;
    this.#random = random;
  }

  /** Makes the folder, and removes what a crash left between a file's creation and its unlinking. Rejects, saying what to do, when it cannot be used. */
  static async open(path: string, random: (bytes: number) => Uint8Array): Promise<SpillFolder> {
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      for (const name of await readdir(path)) if (name.startsWith(PREFIX)) await rm(join(path, name), { force: true });
      const folder = new SpillFolder(path, random);
      await (await folder.create()).close();
      return folder;
    } catch (cause) {
      throw new Error(`Bodies cannot be held in ${path}; make the folder writable, or choose another.`, { cause });
    }
  }

  /** A new file, without a name. */
  async create(): Promise<SpillFile> {
    const path = join(this.#path, PREFIX + Buffer.from(this.#random(16)).toString('hex'));
    const handle = await open(path, 'wx+', 0o600);
    try {
      await unlink(path);
    } catch (cause) {
      await handle.close();
      throw cause;
    }
    return new SpillFile(handle);
  }
}

/** Bytes on disk, appended and read back. Not called twice at once: its owner waits for each call. */
export class SpillFile {
  readonly #handle: FileHandle;
  /** Bytes written. */
  size = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Appends all of it. */
  async append(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.byteLength; ) at += (await this.#handle.write(chunk, at, chunk.byteLength - at, this.size + at)).bytesWritten;
    this.size += chunk.byteLength;
  }

  /** Up to `bytes` from `offset`; fewer only at the end. */
  async read(offset: number, bytes: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.min(bytes, this.size - offset));
    let at = 0;
    while (at < buffer.byteLength) {
      const { bytesRead } = await this.#handle.read(buffer, at, buffer.byteLength - at, offset + at);
      if (bytesRead === 0) throw new Error('A held body is shorter on disk than it was written.');
      at += bytesRead;
    }
    return buffer;
  }

  /** Gives the bytes up; what was written is gone from the disk. */
  close(): Promise<void> {
    return this.#handle.close();
  }
}
