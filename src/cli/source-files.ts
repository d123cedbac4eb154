import { constants, type Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';

/** A file that cannot be imported as bytes; the message names the file and the cause. */
export class UnreadableFileError extends Error {
  constructor(path: string, why: string) {
    super(`${path}: cannot be read: ${why}`);
    this.name = 'UnreadableFileError';
  }
}

/** A file as it lies on the disk. */
export interface FileBytes {
  /** The path it was opened by. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads a regular file, also one behind a link. Rejects with {@link UnreadableFileError} where it is something else (a FIFO would be waited for, a
 * device read without end), where it has more than `bytesMax` bytes, and where it cannot be opened or read. Reads one byte beyond `bytesMax` at most.
 */
export async function readRegularFile(path: string, bytesMax: number): Promise<FileBytes> {
  try {
    // Looked at before it is opened: opening alone wakes the writer of a FIFO, and moves some devices.
    checkRegular(path, await stat(path));
    // What was put in its place since then is not waited for.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await file.stat();
    checkRegular(path, found);
    // Files of /proc report 0 bytes: the size is a hint only.
    let buffer = Buffer.allocUnsafe(Math.min(found.size, bytesMax) + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      length += bytesRead;
      if (bytesRead === 0) return { name: path, bytes: buffer.subarray(0, length) };
      if (length > bytesMax) throw new UnreadableFileError(path, `it has more than ${bytesMax} bytes`);
      if (length === buffer.length) buffer = Buffer.concat([buffer, Buffer.allocUnsafe(Math.min(length * 2, bytesMax + 1) - length)]);
    }
  } catch (cause) {
    throw cause instanceof UnreadableFileError ? cause : new UnreadableFileError(path, (cause as Error).message);
  }
}

function checkRegular(path: string, found: Stats): void {
  if (!found.isFile()) throw new UnreadableFileError(path, `it is ${kindOf(found)}, not a regular file`);
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a FIFO';
  if (found.isSocket()) return 'a socket';
  return 'a device';
}
