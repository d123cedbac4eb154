/** The disk did not do it, or did not say so in time: what was being written may or may not be there. */
export class DiskUnavailable extends Error {
  override readonly name = 'DiskUnavailable';
}

/** By name, and by number on Linux as lmdb says them. LMDB calls a write that was cut short EIO, so a full disk is often that. */
const REFUSALS: ReadonlySet<unknown> = new Set(['ENOSPC', 'EFBIG', 'EDQUOT', 'EIO', 28, 27, 122, 5]);

/** Whether an error, or one that caused it, says that the disk took no write: it is full, or fails. SQLITE_FULL counts. */
export function isDiskRefusal(cause: unknown): boolean {
  for (let at = cause, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code, errcode } = at as { code?: unknown; errcode?: unknown };
    if (REFUSALS.has(code) || errcode === 13) return true;
  }
  return false;
}

/** ENOSPC, EFBIG and EDQUOT by name, and by number on Linux, as lmdb reports them. */
const OUT_OF_ROOM: ReadonlySet<unknown> = new Set(['ENOSPC', 'EFBIG', 'EDQUOT', 28, 27, 122]);

/** Returns whether an error, or one that caused it, says that the disk has no room. */
export function isOutOfRoom(cause: unknown): boolean {
  for (let at = cause, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (OUT_OF_ROOM.has((at as { code?: unknown }).code)) return true;
  }
  return false;
}

/**
 * `promise`, or a rejection with {@link DiskUnavailable} after `deadlineMs`. A late rejection of `promise` is swallowed:
 * somebody has been told already.
 */
export function withTimeout<T>(deadlineMs: number, promise: PromiseLike<T>): Promise<T> {
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
 * (docs/design/coordination.md 4 and 7).
 */
export async function writeDurably(env: Flushing, deadlineMs: number, write: () => PromiseLike<boolean>): Promise<boolean> {
  try {
    const applied = await withTimeout(deadlineMs, write());
    if (applied) await withTimeout(deadlineMs, env.flushed);
    return applied;
  } catch (cause) {
    if (cause instanceof DiskUnavailable) throw cause;
    throw new DiskUnavailable('The disk refused a write.', { cause: await reasonOf(cause) });
  }
}

/**
 * Resolves with what `applied` resolves with, once all `writes` that belong to it have settled. Rejects with the first
 * rejection of any of them; every other rejection is handled, so none of them can end the process.
 */
export async function settledWhole<T>(applied: PromiseLike<T>, writes: readonly PromiseLike<unknown>[]): Promise<T> {
  const [first, ...others] = await Promise.allSettled([applied, ...writes]);
  for (const each of [first, ...others]) if (each.status === 'rejected') handleCommitError(each.reason);
  for (const each of [first, ...others]) if (each.status === 'rejected') throw each.reason;
  return (first as PromiseFulfilledResult<Awaited<T>>).value;
}

/** Handles the promise that lmdb puts on the error of a failed commit for its reason: it rejects too, and nothing else listens. */
function handleCommitError(cause: unknown): void {
  commitError(cause)?.then(undefined, () => {});
}

/** The reason of a failed commit, as far as lmdb says it. */
async function reasonOf(cause: unknown): Promise<unknown> {
  const reason = commitError(cause);
  if (reason === undefined) return cause;
  // It settles in the turn in which the commit failed; a reason that does not come is not waited for.
  return await Promise.race([
    reason.then(
      () => cause,
      (why: unknown) => why,
    ),
    new Promise((resolve) => setImmediate(resolve, cause)),
  ]);
}

function commitError(cause: unknown): PromiseLike<unknown> | undefined {
  return (cause as { commitError?: PromiseLike<unknown> } | undefined)?.commitError;
}
