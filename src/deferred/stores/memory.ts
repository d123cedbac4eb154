import type { Attempt, RequestEnd, RequestHead, RequestRow } from '../request.ts';
import { matches } from '../request-view.ts';
import {
  type Change,
  type EndedFilter,
  type EndedInOrder,
  type EndedPage,
  type Flight,
  type LoadedRequest,
  type LocalStore,
  type Opened,
  StoreUnavailable,
  takesRoom,
} from '../store.ts';

const ATTEMPTS_MAX = 20;
const LOOKED_AT_MAX = 10_000;

/** What stays when the process ends: share one between two stores to play a restart. */
export class MemoryDisk {
  readonly rows = new Map<number, RequestRow>();
  readonly heads = new Map<number, { readonly head: RequestHead; readonly body: Uint8Array }>();
  readonly ended = new Map<number, { readonly row: RequestRow; readonly end: RequestEnd }>();
  readonly attempts = new Map<number, Attempt[]>();
  readonly uploads = new Map<number, Uint8Array[]>();
  /** Of requests that were redriven: the newest sequence at that time, and how many redrives there had been. */
  readonly redriven = new Map<number, readonly [newest: number, redrives: number]>();
  newest = 0;
  redrives = 0;
  flights: readonly Flight[] = [];
  reserved = 1;
}

/** A store in memory: `store: memory` and tests. It defines what the others mean; nothing survives the process. */
export class MemoryStore implements LocalStore {
  readonly #disk: MemoryDisk;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(options: { readonly disk?: MemoryDisk; readonly bytesMax: number }) {
    this.#disk = options.disk ?? new MemoryDisk();
    this.#bytesMax = options.bytesMax;
    for (const { head, body } of this.#disk.heads.values()) this.#bytes += sizeOf(head, body);
  }

  get space(): { readonly bytes: number; readonly bytesMax: number } {
    return { bytes: this.#bytes, bytesMax: this.#bytesMax };
  }

  open(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: Pick<RequestEnd, 'state' | 'goneAt'>) => void): Promise<Opened> {
    const disk = this.#disk;
    const place = ({ sequence }: RequestRow): readonly [number, number] => disk.redriven.get(sequence) ?? [sequence, 0];
    const rows = [...disk.rows.values()].map((row) => ({ row, place: place(row) }));
    for (const { row } of rows.sort((a, b) => a.place[0] - b.place[0] || a.place[1] - b.place[1])) onRow(row);
    for (const { row, end } of disk.ended.values()) if (row.idHash !== '') onEnded(row, end);
    disk.uploads.clear();
    return Promise.resolve({ flights: disk.flights, nextSequence: disk.reserved });
  }

  reserve(end: number): Promise<void> {
    this.#disk.reserved = Math.max(this.#disk.reserved, end);
    return Promise.resolve();
  }

  async commit(batch: readonly Change[]): Promise<void> {
    if (batch.some(takesRoom)) this.#refuseFull();
    for (const change of batch) this.#apply(change);
    await Promise.resolve();
  }

  async upload(upload: number, piece: number, bytes: Uint8Array): Promise<void> {
    this.#refuseFull();
    const pieces = this.#disk.uploads.get(upload) ?? [];
    pieces[piece] = bytes.slice();
    this.#disk.uploads.set(upload, pieces);
    await Promise.resolve();
  }

  dropUpload(upload: number): Promise<void> {
    this.#disk.uploads.delete(upload);
    return Promise.resolve();
  }

  load(sequence: number): Promise<LoadedRequest | undefined> {
    const found = this.#disk.heads.get(sequence);
    if (found === undefined) return Promise.resolve(undefined);
    return Promise.resolve({
      head: found.head,
      async *body() {
        if (found.body.byteLength > 0) yield found.body;
      },
    });
  }

  ended(sequence: number): Promise<{ readonly end: RequestEnd; readonly row: RequestRow } | undefined> {
    return Promise.resolve(this.#disk.ended.get(sequence));
  }

  attempts(sequence: number): Promise<readonly Attempt[]> {
    return Promise.resolve([...(this.#disk.attempts.get(sequence) ?? [])]);
  }

  listEnded(filter: EndedFilter, size: number, token: string): Promise<EndedPage> {
    const requests: { row: RequestRow; end: RequestEnd }[] = [];
    const [lastAt = -1, lastSequence = -1] = token === '' ? [] : token.split('.').map(Number);
    const isAfter = ({ end }: { end: RequestEnd }): boolean => end.at > lastAt || (end.at === lastAt && end.sequence > lastSequence);
    const all = [...this.#disk.ended.values()].filter(isAfter).sort((a, b) => a.end.at - b.end.at || a.end.sequence - b.end.sequence);
    for (const [index, { row, end }] of all.entries()) {
      if (matches(filter, row, end)) requests.push({ row, end: withoutBody(end) });
      const more = index < all.length - 1 && (requests.length >= size || index + 1 >= LOOKED_AT_MAX);
      if (more) return Promise.resolve({ requests, next: `${end.at}.${end.sequence}` });
    }
    return Promise.resolve({ requests, next: '' });
  }

  endedFrom(sequence: number, limit: number): EndedInOrder {
    const { sequences, upTo } = leastFrom(this.#disk.ended.keys(), sequence, limit);
    const requests = sequences.map((each) => this.#disk.ended.get(each)).filter((each) => each !== undefined);
    return { requests: requests.map(({ row, end }) => ({ row, end: withoutBody(end) })), upTo };
  }

  counts(): { readonly done: number; readonly dead: number; readonly cancelled: number } {
    const counts = { done: 0, dead: 0, cancelled: 0 };
    for (const { end } of this.#disk.ended.values()) counts[end.state]++;
    return counts;
  }

  sweep(nowMs: number): Promise<boolean> {
    for (const [sequence, { end }] of this.#disk.ended) {
      if (end.goneAt > nowMs) continue;
      this.#disk.ended.delete(sequence);
      this.#disk.attempts.delete(sequence);
      this.#disk.redriven.delete(sequence);
      this.#dropHead(sequence);
    }
    return Promise.resolve(false);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #refuseFull(): void {
    if (this.#bytes < this.#bytesMax * 0.95) return;
    throw new StoreUnavailable('full', 'The store is full: raise store.bytes, or wait until requests have ended.');
  }

  #apply(change: Change): void {
    const disk = this.#disk;
    switch (change.kind) {
      case 'submit': {
        const { row, head, body } = change;
        const bytes = body instanceof Uint8Array ? body.slice() : Buffer.concat(disk.uploads.get(body.upload) ?? []);
        if (!(body instanceof Uint8Array)) disk.uploads.delete(body.upload);
        disk.rows.set(row.sequence, row);
        disk.heads.set(row.sequence, { head, body: bytes });
        disk.newest = Math.max(disk.newest, row.sequence);
        this.#bytes += sizeOf(head, bytes);
        break;
      }
      case 'arm':
        disk.flights = change.flights;
        break;
      case 'retry':
        // Cancelled meanwhile: a row that is gone does not come back.
        if (!disk.rows.has(change.row.sequence)) break;
        disk.rows.set(change.row.sequence, change.row);
        this.#tried(change.row.sequence, change.attempt);
        break;
      case 'end': {
        const { row, end, attempt } = change;
        const before = disk.ended.get(row.sequence);
        // At most one end; only a dead letter can be cancelled after it.
        if (before !== undefined && (before.end.state !== 'dead' || end.state !== 'cancelled')) break;
        disk.rows.delete(row.sequence);
        disk.ended.set(row.sequence, { row, end });
        if (attempt !== undefined) this.#tried(row.sequence, attempt);
        if (end.state !== 'dead') this.#dropHead(row.sequence);
        break;
      }
      case 'redrive': {
        const { sequence } = change.row;
        // Redriven twice at once: the second finds it pending.
        if (disk.ended.get(sequence)?.end.state !== 'dead') break;
        disk.ended.delete(sequence);
        disk.rows.set(sequence, change.row);
        disk.redriven.set(sequence, [disk.newest, ++disk.redrives]);
        break;
      }
    }
  }

  #tried(sequence: number, attempt: Attempt): void {
    const attempts = this.#disk.attempts.get(sequence) ?? [];
    attempts.push(attempt);
    if (attempts.length > ATTEMPTS_MAX) attempts.shift();
    this.#disk.attempts.set(sequence, attempts);
  }

  #dropHead(sequence: number): void {
    const found = this.#disk.heads.get(sequence);
    if (found === undefined) return;
    this.#bytes -= sizeOf(found.head, found.body);
    this.#disk.heads.delete(sequence);
  }
}

function sizeOf(head: RequestHead, body: Uint8Array): number {
  return body.byteLength + head.target.length + head.headers.reduce((sum, each) => sum + each.length, 0) + 256;
}

/** An end as lists have it. */
export function withoutBody(end: RequestEnd): RequestEnd {
  return end.response === undefined ? end : { ...end, response: { ...end.response, body: new Uint8Array(0) } };
}

/** At most `limit` of these sequences that are not below `from`, in order; none is missing up to `upTo`. One pass, whatever their order. */
export function leastFrom(all: Iterable<number>, from: number, limit: number): { readonly sequences: readonly number[]; readonly upTo: number } {
  let least: number[] = [];
  let upTo = Number.POSITIVE_INFINITY;
  const cut = (): void => {
    least.sort((a, b) => a - b);
    if (least.length <= limit) return;
    least = least.slice(0, limit);
    upTo = least.at(-1) as number;
  };
  for (const sequence of all) {
    if (sequence < from || sequence > upTo) continue;
    least.push(sequence);
    if (least.length >= 2 * limit) cut();
  }
  cut();
  return { sequences: least, upTo };
}
