const NOTHING: readonly never[] = [];

/** A larger array is dropped when it is emptied, so that one peak is not kept for good. */
const KEPT_MAX = 64;

/**
 * Empties an array that lives long and returns what was in it, as an array of its own.
 *
 * The long-lived array is kept and its places are cleared. To hand it out and put a fresh `[]` in its place would cost more than it
 * saves: the fresh one is promoted with its owner, and once handed out it is garbage of the old generation, which no
 * scavenge frees. All that is pushed into it, a whole request, then survives every scavenge, too.
 */
export function takeAll<T>(items: T[]): readonly T[] {
  const { length } = items;
  if (length === 0) return NOTHING;
  const taken = items.slice();
  if (length > KEPT_MAX) items.length = 0;
  // `length = 0` would drop the backing store, which the next push would have to allocate.
  else for (let at = 0; at < length; at++) items.pop();
  return taken;
}
