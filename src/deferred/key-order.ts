/** Requests of one key that are sent one after the other: only the oldest may be in line or on its way. */
export class KeyOrder {
  readonly #queues = new Map<string, number[]>();

  /** Enters in the order of sequences; again for one that is in the queue does nothing. */
  enter(group: string, key: string, sequence: number): void {
    const name = nameOf(group, key);
    const queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, [sequence]);
    else if ((queue.at(-1) as number) < sequence) queue.push(sequence);
    else if (!queue.includes(sequence)) {
      const at = queue.findIndex((each) => each > sequence);
      // A redriven one is younger than the head that is on its way, whatever its sequence.
      queue.splice(Math.max(1, at), 0, sequence);
    }
  }

  isHead(group: string, key: string, sequence: number): boolean {
    return this.#queues.get(nameOf(group, key))?.[0] === sequence;
  }

  /** It has ended; returns the next one of its key if it was the head. */
  leave(group: string, key: string, sequence: number): number | undefined {
    const name = nameOf(group, key);
    const queue = this.#queues.get(name);
    const at = queue?.indexOf(sequence) ?? -1;
    if (queue === undefined || at < 0) return undefined;
    queue.splice(at, 1);
    if (queue.length === 0) this.#queues.delete(name);
    return at === 0 ? queue[0] : undefined;
  }
}

function nameOf(group: string, key: string): string {
  return `${group}\u0000${key}`;
}
