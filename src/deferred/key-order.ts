interface Queue {
  items: number[];
  /** Where the queue begins: taking the first one moves nothing. */
  head: number;
}

/** Requests of one key that are sent one after the other: only the oldest may be in line or on its way. */
export class KeyOrder {
  readonly #queues = new Map<string, Queue>();

  /** Enters in the order of sequences; again for one that is in the queue does nothing. */
  enter(group: string, key: string, sequence: number): void {
    const name = nameOf(group, key);
    const queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, { items: [sequence], head: 0 });
    else if ((queue.items.at(-1) as number) < sequence) queue.items.push(sequence);
    else if (queue.items.indexOf(sequence, queue.head) < 0) {
      const at = queue.items.findIndex((each, index) => index >= queue.head && each > sequence);
      // A redriven one is younger than the head that is on its way, whatever its sequence.
      queue.items.splice(Math.max(queue.head + 1, at), 0, sequence);
    }
  }

  isHead(group: string, key: string, sequence: number): boolean {
    const queue = this.#queues.get(nameOf(group, key));
    return queue !== undefined && queue.items[queue.head] === sequence;
  }

  /** It has ended; returns the next one of its key if it was the head. */
  leave(group: string, key: string, sequence: number): number | undefined {
    const name = nameOf(group, key);
    const queue = this.#queues.get(name);
    const at = queue?.items.indexOf(sequence, queue.head) ?? -1;
    if (queue === undefined || at < 0) return undefined;
    if (at > queue.head) {
      queue.items.splice(at, 1);
      return undefined;
    }
    queue.head++;
    if (queue.head === queue.items.length) this.#queues.delete(name);
    else if (queue.head > 1_024 && queue.head * 2 > queue.items.length) {
      queue.items = queue.items.slice(queue.head);
      queue.head = 0;
    }
    return queue.items[queue.head];
  }
}

function nameOf(group: string, key: string): string {
  return `${group}\u0000${key}`;
}
