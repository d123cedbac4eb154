/** The disk did not do it, or did not say so in time: what was being written may or may not be there. */
export class DiskUnavailable extends Error {
  override readonly name = 'DiskUnavailable';
}

/**
 * `promise`, or a rejection with {@link DiskUnavailable} after `deadlineMs`. A late rejection of `promise` is swallowed:
 * somebody has been told already.
 */
export function within<T>(deadlineMs: number, promise: PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DiskUnavailable(`The disk did not answer within ${deadlineMs} ms.`)), deadlineMs);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (cause: unknown) => {
        clearTimeout(timer);
        reject(cause);
      },
    );
  });
}

/** What of an LMDB environment says when it is on the disk. */
export interface Flushing {
  readonly flushed: PromiseLike<unknown>;
}

/**
 * Starts a write and resolves with its answer once it is committed *and* flushed. A write that was not applied (its
 * condition failed) is not waited for further. Rejects with {@link DiskUnavailable}; the outcome is then unknown.
 *
 * Both are awaited because lmdb's documentation says both "put resolves when durable" and, with overlappingSync,
 * "see `flushed`"; both against a deadline because on a full disk puts reject while `flushed` never settles
 * (coordination.md 4 and 7).
 */
export async function durably(env: Flushing, deadlineMs: number, write: () => PromiseLike<boolean>): Promise<boolean> {
  try {
    const applied = await within(deadlineMs, write());
    if (applied) await within(deadlineMs, env.flushed);
    return applied;
  } catch (cause) {
    hushCommitError(cause);
    if (cause instanceof DiskUnavailable) throw cause;
    throw new DiskUnavailable('The disk refused a write.', { cause });
  }
}

/** lmdb hangs the reason of a failed commit on the error as a promise of its own, which would reject unheard. */
function hushCommitError(cause: unknown): void {
  const reason = (cause as { commitError?: PromiseLike<unknown> } | undefined)?.commitError;
  reason?.then(undefined, () => {});
}
