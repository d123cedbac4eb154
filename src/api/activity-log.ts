/** Entries kept; the oldest goes first. */
const ENTRIES_MAX = 1_000;

/** Something an operator did, or tried. */
export interface ActivityEntry {
  /** Names the entry: grows by one with each. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Name of the credential; '' without auth. */
  readonly who: string;
  /** Name of the log event, as `group_paused`. */
  readonly what: string;
  /** '' where it is about no group in particular. */
  readonly group: string;
  /** As the operator wrote it. */
  readonly reason: string;
  /** One sentence for people; names no key and no holder. */
  readonly text: string;
  /** Why it was not done; '' if it was. */
  readonly refused: string;
}

/** What operators did at this process: the last 1,000 entries, in memory. */
export class ActivityLog {
  readonly #entries: ActivityEntry[] = [];
  #count = 0;

  /** Notes something. Returns the entry's id. */
  add(entry: Omit<ActivityEntry, 'id'>): string {
    const id = String(++this.#count);
    this.#entries.push({ ...entry, id });
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift();
    return id;
  }

  /** Returns entries that are wanted, the newest first, at most `count`, of those before the id `before` where it is not ''. */
  list(count: number, before: string, wanted: (entry: ActivityEntry) => boolean): readonly ActivityEntry[] {
    const found: ActivityEntry[] = [];
    for (let at = this.#entries.length - 1; at >= 0 && found.length < count; at--) {
      const entry = this.#entries[at] as ActivityEntry;
      if ((before === '' || Number(entry.id) < Number(before)) && wanted(entry)) found.push(entry);
    }
    return found;
  }
}
