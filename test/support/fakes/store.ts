import type { Sequence, Store, StoredRecord } from '../../../src/ledger/stores/store.ts';

/** What becomes of one append: as it should; nothing is written; written, but the answer is lost. */
export type AppendFate = 'ok' | 'lost' | 'unheard';

/** A change that reached the disk. */
export type StoreEvent =
  | { readonly kind: 'append'; readonly subject: string; readonly bytes: Uint8Array }
  | { readonly kind: 'trim'; readonly subject: string; readonly before: Sequence };

/** A store whose appends meet faults as told, can be held back, and which remembers what reached the disk, in order. */
export class FaultyStore implements Store {
  readonly #inner: Store;
  /** Fates of the next appends, in order; then `ok`. */
  fates: AppendFate[] = [];
  readonly events: StoreEvent[] = [];
  appends = 0;
  #held: (() => void)[] | undefined;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  /** Appends from now on wait for `free`. */
  hold(): void {
    this.#held ??= [];
  }

  free(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const go of held) go();
  }

  async append(subject: string, bytes: Uint8Array, last: Sequence, relief?: boolean): Promise<Sequence> {
    this.appends++;
    if (this.#held !== undefined) await new Promise<void>((resolve) => this.#held?.push(resolve));
    const fate = this.fates.shift() ?? 'ok';
    if (fate === 'lost') throw new Error('The disk refused.');
    const sequence = await this.#inner.append(subject, bytes, last, relief);
    this.events.push({ kind: 'append', subject, bytes });
    if (fate === 'unheard') throw new Error('The answer was lost.');
    return sequence;
  }

  read(subject: string, from: Sequence): AsyncIterable<StoredRecord> {
    return this.#inner.read(subject, from);
  }

  async trim(subject: string, before: Sequence): Promise<void> {
    await this.#inner.trim(subject, before);
    this.events.push({ kind: 'trim', subject, before });
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** The disk as it was after the first `count` events: what a crash leaves. */
export async function upTo(store: Store, events: readonly StoreEvent[], count: number): Promise<void> {
  const last = new Map<string, Sequence>();
  for (const event of events.slice(0, count)) {
    if (event.kind === 'trim') await store.trim(event.subject, event.before);
    else last.set(event.subject, await store.append(event.subject, event.bytes, last.get(event.subject) ?? 0, true));
  }
}
