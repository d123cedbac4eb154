import { Heap, type HeapItem } from '../collections/heap.ts';
import { costOf } from '../group.ts';
import { DISTANT_PAST } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyQueue, PriorityLevel } from '../tree/queues.ts';
import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';

/** A queue of which some waiters have been passed on. */
interface Cursor extends HeapItem {
  readonly queue: KeyQueue;
  /** Its next waiter. */
  slot: number;
  /** Waiters whose callers are away that are still to come; they stand before the others. */
  away: number;
  /** Where its next admission would begin in virtual time. */
  startTag: number;
}

/**
 * Passes on the waiters of a group in the order in which they would go if each took what it asks for and none came or left: by priority, then by the fair
 * shares of their keys or by arrival. Waiters that only their own key's limit holds are among them, stored requests that are not in the table are not. O(log keys) each.
 */
export function* waitersInOrder(waiters: WaiterTable, node: GroupNode): IterableIterator<number> {
  const queues = [...node.keys.values()].flatMap((state) => state.queues);
  for (const level of node.priorityLevels) yield* inLevel(waiters, level, queues);
}

function* inLevel(waiters: WaiterTable, level: PriorityLevel, queues: readonly KeyQueue[]): IterableIterator<number> {
  const { node } = level;
  const order = (cursor: Cursor): number => waiters.orderOf(currentOf(cursor));
  const cursors = new Heap<Cursor>((a, b) => (node.fair && a.startTag !== b.startTag ? a.startTag < b.startTag : order(a) < order(b)));
  for (const queue of queues) if (queue.level === level && queue.head + 1 + queue.detached.length > 0) cursors.push(cursorOf(queue));
  for (let cursor = cursors.peek(); cursor !== undefined; cursor = cursors.peek()) {
    const slot = currentOf(cursor);
    yield slot;
    const cost = node.fairUnit === undefined ? 1 : Math.max(1, costOf(waiters.costsOf(slot), node.fairUnit));
    cursor.startTag += cost / node.weightOf(cursor.queue.keyState.key);
    if (cursor.away > 0) cursor.away--;
    else cursor.slot = waiters.nextOf(cursor.slot);
    if (cursor.away === 0 && cursor.slot === NO_SLOT) cursors.remove(cursor);
    else cursors.update(cursor);
  }
}

function cursorOf(queue: KeyQueue): Cursor {
  const { level, head, detached, position, startTag, epoch, finishTag } = queue;
  const tag = position >= 0 ? startTag : Math.max(epoch === level.epoch ? finishTag : DISTANT_PAST, level.virtualTime);
  return { position: -1, queue, slot: head, away: detached.length, startTag: tag };
}

function currentOf({ queue, slot, away }: Cursor): number {
  return away > 0 ? (queue.detached[queue.detached.length - away] as number) : slot;
}
