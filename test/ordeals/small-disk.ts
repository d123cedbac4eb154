import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How large a small disk is. */
export const SIZE = '20m';
const SIZE_BYTES = 20 << 20;

/** A file system of 20 MB: in memory, or ext4 in a file, which can also fail as a disk does. Wants root. */
export class SmallDisk {
  readonly path: string;
  readonly #folder: string;
  readonly #image: string | undefined;

  private constructor(kind: 'tmpfs' | 'ext4') {
    this.#folder = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
    this.path = join(this.#folder, 'mounted');
    mkdirSync(this.path);
    this.#image = kind === 'ext4' ? join(this.#folder, 'image') : undefined;
    if (this.#image === undefined) return;
    writeFileSync(this.#image, '');
    truncateSync(this.#image, SIZE_BYTES);
  }

  /** Makes and mounts one. Throws where this machine cannot. */
  static mount(kind: 'tmpfs' | 'ext4'): SmallDisk {
    const disk = new SmallDisk(kind);
    try {
      if (disk.#image !== undefined) execFileSync('mkfs.ext4', ['-q', '-m', '0', disk.#image], { stdio: 'ignore' });
      disk.mount('rw');
    } catch (cause) {
      rmSync(disk.#folder, { recursive: true, force: true });
      throw cause;
    }
    return disk;
  }

  /** What this machine lacks for one; undefined: nothing. */
  static lacks(kind: 'tmpfs' | 'ext4'): string | undefined {
    if (process.getuid?.() !== 0) return 'root, to mount a file system of limited size';
    try {
      SmallDisk.mount(kind).remove();
      return undefined;
    } catch {
      return kind === 'tmpfs' ? 'the right to mount a tmpfs' : 'mkfs.ext4 and the right to mount an image through a loop device';
    }
  }

  mount(how: 'rw' | 'ro'): void {
    if (this.#image === undefined) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},${how}`, 'sluice-ordeal', this.path]);
    else execFileSync('mount', ['-o', `loop,${how}`, this.#image, this.path]);
  }

  /** Nothing may have a file of it open. */
  unmount(): void {
    execFileSync('umount', [this.path]);
  }

  /** Takes no write any more, under whoever has files open, as after an error of the disk; ext4 only. It is whole again after unmount, repair and mount. */
  fail(): void {
    execFileSync('mount', ['-o', 'remount,abort', this.path]);
  }

  /** Repairs what {@link fail} left; it is unmounted. */
  repair(): void {
    try {
      execFileSync('e2fsck', ['-fy', this.#image as string], { stdio: 'ignore' });
    } catch (cause) {
      // 1: errors were corrected.
      if ((cause as { status?: number }).status !== 1) throw cause;
    }
  }

  /** Writes until no byte more fits. */
  fill(): void {
    const file = openSync(join(this.path, 'filler'), 'w');
    try {
      for (let size = 1 << 20; size >= 1; ) {
        try {
          writeSync(file, new Uint8Array(size));
        } catch (cause) {
          if ((cause as NodeJS.ErrnoException).code !== 'ENOSPC') throw cause;
          size >>= 1;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  /** Gives back what {@link fill} took. */
  free(): void {
    rmSync(join(this.path, 'filler'), { force: true });
  }

  /** Unmounts and removes it. */
  remove(): void {
    try {
      this.unmount();
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
