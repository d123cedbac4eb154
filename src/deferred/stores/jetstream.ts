import { setTimeout } from 'node:timers/promises';
import type { ShardLayout } from '../../nats/deferred-layout.ts';
import type { QueueMessage } from '../../nats/queue-records.ts';
import type { StreamQuota } from '../../nats/stream-quota.ts';
import type { Attempt, RequestEnd, RequestHead, RequestRow } from '../request.ts';
import { matches } from '../request-view.ts';
import type { AllPage, CallbackProgress, PendingCallback, PendingPage, ReportedEnd, SharedStore } from '../shared-store.ts';
import { type Change, type EndedFilter, type EndedPage, type LoadedRequest, type Opened, StoreUnavailable } from '../store.ts';
import { ShardWriter } from './jetstream-commit.ts';
import { failed, type JetStreamEdge, type QueueVerbs } from './jetstream-edge.ts';
import { decodeCallback, decodeEnd, decodeFlights, decodeRequest, decodeRow, encodeCallback, type QueuedBody, type QueuedRow } from './jetstream-format.ts';
import { owedFor, ShardState } from './jetstream-shard.ts';

const LOOKED_AT_MAX = 10_000;
/** A scan that ends before what must be there goes on so often, so far apart: a server that lags behind catches up. */
const LOOKS = 25;
const LOOK_MS = 200;
/** Of one call of the sweep. */
const PURGES_MAX = 64;
const SWEPT_MAX = 3_000;
/** Pieces of a body without a request are removed when their upload began so long ago. */
const UPLOAD_MS = 3_600_000;
const SWEEP_EVERY_MS = 60_000;

type EndOf = Pick<RequestEnd, 'state' | 'goneAt'>;

/** What a shard's store is made of. */
export interface ShardStoreOptions {
  readonly records: QueueVerbs;
  readonly layout: ShardLayout;
  readonly shard: number;
  /** Of the ownership: the register of flights keeps an owner before it from arming anything more. */
  readonly term: bigint;
  readonly edge: JetStreamEdge;
  readonly nowMs: () => number;
  /** Shared with the edge. */
  readonly room: StreamQuota;
  /** On servers that forget nothing by themselves the whole stream is looked through so often. */
  readonly sweepEveryMs?: number;
  /** Between two looks at a server that lags behind; default a timer of the process. */
  readonly pause?: (ms: number) => Promise<unknown>;
}

/**
 * Stored requests of one shard, as its owner of one term reads and ends them (docs/decisions/0025). Requests come by edges:
 * `learn` brings what was stored since. A sequence is that of the message in its stream, so that order is the order of the
 * stream; an end replaces the request's message, so that one passes.
 */
export class JetStreamStore implements SharedStore {
  readonly #records: QueueVerbs;
  readonly #layout: ShardLayout;
  readonly #shard: number;
  readonly #edge: JetStreamEdge;
  readonly #nowMs: () => number;
  readonly #state = new ShardState();
  readonly #writer: ShardWriter;
  /** Everything in the stream up to here was read. */
  #seen = 0;
  readonly #room: StreamQuota;
  readonly #sweepEveryMs: number;
  readonly #pause: (ms: number) => Promise<unknown>;
  #sweep = { from: 1, at: Number.NEGATIVE_INFINITY };
  #orphansFound = false;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(options: ShardStoreOptions) {
    const { records, layout, shard, term, edge, nowMs, room, sweepEveryMs = SWEEP_EVERY_MS, pause = setTimeout } = options;
    this.#records = records;
    this.#layout = layout;
    this.#shard = shard;
    this.#edge = edge;
    this.#nowMs = nowMs;
    this.#room = room;
    this.#sweepEveryMs = sweepEveryMs;
    this.#pause = pause;
    this.#writer = new ShardWriter({ records, layout, state: this.#state, term, nowMs });
  }

  get space(): { readonly bytes: number; readonly bytesMax: number } {
    return this.#room.known(this.#layout.all.stream);
  }

  get seen(): number {
    return this.#seen;
  }

  async open(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: EndOf) => void): Promise<Opened> {
    // Written first: it proves that a scan that has read it has read everything that was acknowledged before.
    const flights = await this.#writer.claim();
    const claim = this.#writer.flightsAt;
    const retried = new Map<string, { readonly row: RequestRow; readonly at: number }>();
    for await (const message of this.#scanTo(claim, this.#layout.retries.subject)) {
      const kind = this.#layout.kindOf(message.subject);
      if (kind?.kind === 'retry') retried.set(kind.token, { row: decodeRow(message).row, at: message.sequence });
    }
    const owed = new Map<string, PendingCallback>();
    for await (const message of this.#scanTo(claim, this.#layout.all.subject)) {
      const kind = this.#layout.kindOf(message.subject);
      if (kind?.kind === 'request') this.#opened(message, { retried, owed }, onRow, onEnded);
      else if (kind?.kind === 'callback') this.#progressed(owed, kind.token, decodeCallback(message));
    }
    this.#state.callbacks.push(...owed.values());
    for (const [token, { at }] of retried) this.#writer.litter.push({ place: this.#layout.retry(token), upTo: at });
    this.#seen = claim;
    await this.#room.refresh(this.#layout.all.stream);
    return { flights, nextSequence: claim + 1 };
  }

  /** Brings requests and ends that were stored since, in their order; not the ends that this owner stored. Resolves with whether there may be more. */
  async learn(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: EndOf) => void): Promise<boolean> {
    const found = await this.#records.tail(this.#layout.all, this.#seen + 1);
    for (const message of found) {
      this.#seen = Math.max(this.#seen, message.sequence);
      if (this.#layout.kindOf(message.subject)?.kind !== 'request') continue;
      const queued = decodeRow(message);
      if (queued.end !== undefined) {
        // Another replica's: cancelled there, or ended by an owner before this one.
        if (this.#state.own.delete(message.sequence)) continue;
        const { upload } = this.#state.uploads.get(queued.row.sequence) ?? { upload: '' };
        this.#writer.over(queued.row, queued.end, upload, queued.reportUntil);
        onEnded(queued.row, queued.end);
      } else {
        this.#note(queued, message.sequence);
        onRow(queued.row);
      }
    }
    return found.length > 0;
  }

  async commit(batch: readonly Change[]): Promise<void> {
    await this.#wait(this.#writer.commit(batch));
  }

  /** Sequences are the stream's. */
  reserve(): Promise<void> {
    return Promise.resolve();
  }

  upload(upload: number, piece: number, bytes: Uint8Array): Promise<void> {
    return this.#edge.upload(this.#shard, upload, piece, bytes);
  }

  dropUpload(upload: number): Promise<void> {
    return this.#edge.dropUpload(this.#shard, upload);
  }

  async load(sequence: number, secret?: string): Promise<LoadedRequest | undefined> {
    const token = secret ?? (await this.#tokenAt(sequence));
    if (token === undefined) return undefined;
    const pending = await this.#writer.pending({ sequence, secret: token });
    if (pending !== undefined) return this.#loaded(pending);
    const ended = await this.#endedAt(sequence, token);
    if (ended?.queued.end?.state !== 'dead') return undefined;
    const deadSubject = this.#layout.dead(ended.queued.row.group, token);
    const tombstoned = (await this.#records.newest(deadSubject)) ?? (await this.#records.certain(deadSubject));
    return tombstoned === undefined ? undefined : this.#loaded(tombstoned);
  }

  async ended(sequence: number, secret?: string): Promise<{ readonly end: RequestEnd; readonly row: RequestRow } | undefined> {
    const found = secret === undefined ? undefined : await this.#endedAt(sequence, secret);
    if (found?.queued.end === undefined) return undefined;
    const { row, end } = found.queued;
    return { row, end: { ...end, sequence, response: decodeEnd(found.message).response } };
  }

  async attempts(sequence: number, secret?: string): Promise<readonly Attempt[]> {
    const token = secret ?? (await this.#tokenAt(sequence));
    if (token === undefined) return [];
    if (this.#state.retries.has(sequence)) return this.#writer.attempts({ sequence, secret: token });
    const ended = await this.#endedAt(sequence, token);
    return ended === undefined ? this.#writer.attempts({ sequence, secret: token }) : decodeEnd(ended.message).attempts;
  }

  async find(sequence: number, secret: string): Promise<{ readonly row: RequestRow; readonly end: RequestEnd | undefined } | 'gone' | undefined> {
    const place = this.#layout.request(secret);
    let found = await this.#records.certain(place);
    if (found === undefined) {
      const { last } = await this.#records.size(place.stream);
      if (sequence > last) return undefined;
      found = await this.#writer.certain(place, sequence);
    }
    const queued = found === undefined ? undefined : decodeRow(found);
    if (found === undefined || queued?.row.sequence !== sequence || (queued.end?.goneAt ?? Number.POSITIVE_INFINITY) <= this.#nowMs()) {
      const { last } = await this.#records.size(place.stream);
      return sequence <= last ? 'gone' : undefined;
    }
    const { row, end } = queued;
    if (end === undefined) return { row: await this.#retried(row), end };
    return { row, end: { ...end, sequence, response: decodeEnd(found).response } };
  }

  async armed(): Promise<ReadonlyMap<number, number>> {
    const found = await this.#records.certain(this.#layout.flights);
    return new Map(found === undefined ? [] : decodeFlights(found).flights.map(({ sequence, attempt }) => [sequence, attempt]));
  }

  async retried(sequence: number, secret: string): Promise<RequestRow | undefined> {
    const found = await this.#records.certain(this.#layout.retry(secret));
    const row = found === undefined ? undefined : decodeRow(found).row;
    if (found === undefined || row?.sequence !== sequence) return undefined;
    this.#state.retries.set(sequence, found.sequence);
    return row;
  }

  takeCallbacks(): readonly PendingCallback[] {
    const { callbacks } = this.#state;
    this.#state.callbacks = [];
    return callbacks;
  }

  async reported({ row: { sequence, secret }, progress, until }: PendingCallback): Promise<ReportedEnd | undefined> {
    const found = await this.#records.certain(this.#layout.request(secret));
    const queued = found === undefined ? undefined : decodeRow(found);
    if (found === undefined || queued?.end === undefined || queued.row.sequence !== sequence || queued.end.at !== progress.endedAt) return undefined;
    const { response, callback: url } = decodeEnd(found);
    return { row: queued.row, end: { ...queued.end, sequence, response }, report: { url, until } };
  }

  async reportProgress({ row, progress, until }: PendingCallback): Promise<void> {
    const place = this.#layout.callback(row.secret);
    const ttlSeconds = (until - this.#nowMs()) / 1000;
    await this.#records.write({ place, row: encodeCallback(place.subject, progress), bytes: new Uint8Array(), last: undefined, ttlSeconds });
  }

  async callbackOf(sequence: number, secret: string): Promise<'none' | CallbackProgress['state']> {
    const [ended, found] = await Promise.all([this.#records.certain(this.#layout.request(secret)), this.#records.certain(this.#layout.callback(secret))]);
    const queued = ended === undefined ? undefined : decodeRow(ended);
    if (queued?.end === undefined || queued.row.sequence !== sequence || queued.reportUntil === 0) return 'none';
    const progress = found === undefined ? undefined : decodeCallback(found);
    return progress?.sequence === sequence && progress.endedAt === queued.end.at ? progress.state : 'pending';
  }

  async tidy(): Promise<void> {
    const litter = this.#writer.litter.splice(0, PURGES_MAX);
    await Promise.all(litter.map(({ place, upTo }) => this.#records.purge(place, upTo)));
    if (litter.length > 0) this.#room.changed(this.#layout.all.stream);
  }

  async listPending(fits: (row: RequestRow) => boolean, size: number, token: string): Promise<PendingPage> {
    const rows: RequestRow[] = [];
    let looked = 0;
    let next = token === '' ? 1 : Number(token);
    if (token === '' && (await this.#records.next(this.#layout.everyRequest, 1)) === undefined) return { rows, next: '' };
    for await (const message of this.#records.scan(this.#layout.all, next)) {
      if (rows.length >= size || looked >= LOOKED_AT_MAX) return { rows, next: String(next) };
      looked++;
      next = message.sequence + 1;
      if (this.#layout.kindOf(message.subject)?.kind !== 'request') continue;
      const { row, end } = decodeRow(message);
      if (end === undefined && fits(row)) rows.push(await this.#retried(row));
    }
    return { rows, next: '' };
  }

  /**
   * One way through the stream: a request has one message there, which moves to the end of the stream, never back, when it ends or is redriven. So
   * the end of the way is where nothing follows, not what was the last message when the page was begun.
   */
  async listAll(fits: (row: RequestRow, end: RequestEnd | undefined) => boolean, size: number, token: string): Promise<AllPage> {
    const requests: { row: RequestRow; end: RequestEnd | undefined }[] = [];
    let looked = 0;
    let next = token === '' ? 1 : Number(token);
    while ((await this.#records.next(this.#layout.everyRequest, next)) !== undefined) {
      for await (const message of this.#records.scan(this.#layout.all, next)) {
        if (requests.length >= size || looked >= LOOKED_AT_MAX) return { requests, next: String(next) };
        looked++;
        next = message.sequence + 1;
        if (this.#layout.kindOf(message.subject)?.kind !== 'request') continue;
        const { row, end: stored } = decodeRow(message);
        const end = stored && { ...stored, sequence: row.sequence, response: undefined };
        if ((end !== undefined && end.goneAt <= this.#nowMs()) || !fits(row, end)) continue;
        requests.push({ row: end === undefined ? await this.#retried(row) : row, end });
      }
    }
    return { requests, next: '' };
  }

  async listEnded(filter: EndedFilter, size: number, token: string): Promise<EndedPage> {
    const requests: { row: RequestRow; end: RequestEnd }[] = [];
    const place = filter.state === 'dead' ? this.#layout.everyDead(filter.group) : this.#layout.all;
    let looked = 0;
    let next = token === '' ? 1 : Number(token);
    // Most shards have nothing, and one look is less than a consumer.
    if (token === '' && (await this.#records.next(filter.state === 'dead' ? place : this.#layout.everyRequest, 1)) === undefined) return { requests, next: '' };
    for await (const message of this.#records.scan(place, next)) {
      if (requests.length >= size || looked >= LOOKED_AT_MAX) return { requests, next: String(next) };
      looked++;
      next = message.sequence + 1;
      if (filter.state !== 'dead' && this.#layout.kindOf(message.subject)?.kind !== 'request') continue;
      const { row, end } = decodeRow(message);
      if (end === undefined) continue;
      if (!matches(filter, row, { ...end, sequence: row.sequence, response: undefined })) continue;
      const ended = await this.ended(row.sequence, row.secret);
      // What is buried may have been redriven by an owner that ended before it removed it.
      if (ended?.end.state !== filter.state || ended.end.at !== end.at) continue;
      const { response } = ended.end;
      requests.push({ row, end: { ...ended.end, response: response === undefined ? undefined : { ...response, body: new Uint8Array() } } });
    }
    return { requests, next: '' };
  }

  counts(): { readonly done: number; readonly dead: number; readonly cancelled: number } {
    return this.#state.counts;
  }

  async sweep(nowMs: number): Promise<boolean> {
    if (this.#records.features.ttl) this.#state.forget(nowMs);
    for (const [sequence, { upload, goneAt }] of this.#state.uploads) {
      if (goneAt === 0 || goneAt > nowMs) continue;
      this.#state.uploads.delete(sequence);
      this.#writer.litter.push({ place: this.#layout.pieces(upload), upTo: undefined });
    }
    await this.tidy();
    await this.#room.refresh(this.#layout.all.stream);
    if (!this.#orphansFound) await this.#findOrphans(nowMs);
    const more = this.#records.features.ttl ? false : await this.#sweepEnded(nowMs);
    return more || this.#writer.litter.length > 0;
  }

  /** The connection belongs to its opener. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  #opened(
    message: QueueMessage,
    { retried, owed }: { readonly retried: Map<string, { readonly row: RequestRow; readonly at: number }>; readonly owed: Map<string, PendingCallback> },
    onRow: (row: RequestRow) => void,
    onEnded: (row: RequestRow, end: EndOf) => void,
  ): void {
    const queued = decodeRow(message);
    const { row, end, upload } = queued;
    if (end !== undefined) {
      if (queued.reportUntil > this.#nowMs()) owed.set(row.secret, owedFor(row, end.at, queued.reportUntil));
      const gone = end.goneAt <= this.#nowMs();
      // Servers that forget nothing still have it, and the sweep counts it out.
      if (!gone || !this.#records.features.ttl) this.#state.count(end.state, end.goneAt);
      if (gone) return;
      if (upload !== '') this.#state.uploads.set(row.sequence, { upload, goneAt: end.goneAt });
      if (row.idHash !== '') onEnded(row, end);
      return;
    }
    this.#note(queued, message.sequence);
    const retry = retried.get(row.secret);
    if (retry?.row.sequence !== row.sequence) return onRow(row);
    retried.delete(row.secret);
    this.#state.retries.set(row.sequence, retry.at);
    onRow(retry.row);
  }

  /** What was recorded of a callback comes after its end in the stream. */
  #progressed(owed: Map<string, PendingCallback>, token: string, progress: CallbackProgress): void {
    const pending = owed.get(token);
    if (pending === undefined || pending.row.sequence !== progress.sequence || pending.progress.endedAt !== progress.endedAt) return;
    if (progress.state === 'pending') owed.set(token, { ...pending, progress });
    else owed.delete(token);
  }

  /** The row as it is after its failed attempts. */
  async #retried(row: RequestRow): Promise<RequestRow> {
    const found = await this.#records.newest(this.#layout.retry(row.secret));
    const retried = found === undefined ? undefined : decodeRow(found).row;
    return retried?.sequence === row.sequence ? retried : row;
  }

  #note({ row, upload }: QueuedRow, at: number): void {
    if (at !== row.sequence) this.#state.moved.set(row.sequence, at);
    if (upload !== '') this.#state.uploads.set(row.sequence, { upload, goneAt: 0 });
  }

  /** All messages of a subject up to one that is known to be there. */
  async *#scanTo(end: number, subject: string): AsyncIterable<QueueMessage> {
    let read = 0;
    for (let look = 1; ; look++) {
      for await (const message of this.#records.scan({ stream: this.#layout.all.stream, subject }, read + 1)) {
        // What comes after it is learned.
        if (message.sequence > end) return;
        yield message;
        read = message.sequence;
        look = 1;
      }
      if (read >= end) return;
      if (look === LOOKS) throw failed('What is stored', new Error(`${subject} was read to ${read} only, and ${end} is there`));
      await this.#pause(LOOK_MS);
    }
  }

  /** The token of a request that stands at its own sequence. */
  async #tokenAt(sequence: number): Promise<string | undefined> {
    const found = await this.#records.at(this.#layout.all.stream, this.#state.at(sequence));
    const kind = found === undefined ? undefined : this.#layout.kindOf(found.subject);
    return kind?.kind === 'request' ? kind.token : undefined;
  }

  /** An end, looked for at the leader too before it is said that there is none. */
  async #endedAt(sequence: number, token: string): Promise<{ readonly message: QueueMessage; readonly queued: QueuedRow } | undefined> {
    const place = this.#layout.request(token);
    for (const look of [() => this.#records.newest(place), () => this.#records.certain(place)]) {
      const message = await look();
      const queued = message === undefined ? undefined : decodeRow(message);
      if (message === undefined || queued?.end === undefined || queued.row.sequence !== sequence) continue;
      return queued.end.goneAt <= this.#nowMs() ? undefined : { message, queued };
    }
    return undefined;
  }

  #loaded(message: QueueMessage): LoadedRequest {
    const { head, body } = decodeRequest(message);
    const { upload } = decodeRow(message);
    return { head, body: () => this.#body(head, upload, body) };
  }

  async *#body(head: RequestHead, upload: string, body: QueuedBody): AsyncIterable<Uint8Array> {
    if (body instanceof Uint8Array) {
      if (body.length > 0) yield body;
      return;
    }
    for (let number = 0; number < body.pieces; number++) {
      const place = this.#layout.piece(upload, number);
      const piece = (await this.#records.newest(place)) ?? (await this.#records.certain(place));
      if (piece === undefined) throw new Error(`Piece ${number} of ${body.pieces} of the body for ${head.method} ${head.target} is gone.`);
      yield piece.bytes;
    }
  }

  /** Bodies whose request was never stored, once after a takeover. */
  async #findOrphans(nowMs: number): Promise<void> {
    this.#orphansFound = true;
    const known = new Set([...this.#state.uploads.values()].map(({ upload }) => upload));
    for (const subject of await this.#records.subjects(this.#layout.firstPieces)) {
      const upload = this.#layout.uploadAt(subject);
      const began = Number.parseInt(upload.split('-')[0] ?? '', 36) * 1000;
      if (!known.has(upload) && began < nowMs - UPLOAD_MS) this.#writer.litter.push({ place: this.#layout.pieces(upload), upTo: undefined });
    }
  }

  /** For servers that forget nothing by themselves: ends are in their order in the stream. */
  async #sweepEnded(nowMs: number): Promise<boolean> {
    if (this.#sweep.from === 1 && nowMs - this.#sweep.at < this.#sweepEveryMs) return false;
    let looked = 0;
    for await (const message of this.#records.scan(this.#layout.all, this.#sweep.from)) {
      if (looked++ === SWEPT_MAX) return true;
      this.#sweep.from = message.sequence + 1;
      const kind = this.#layout.kindOf(message.subject);
      if (kind?.kind !== 'request') continue;
      const { row, end, reportUntil } = decodeRow(message);
      if (end === undefined || Math.max(end.goneAt, reportUntil) > nowMs) continue;
      if (reportUntil > 0) this.#writer.litter.push({ place: this.#layout.callback(kind.token), upTo: undefined });
      if (end.state === 'dead') await this.#writer.discard(this.#layout.dead(row.group, kind.token));
      this.#writer.litter.push({ place: this.#layout.request(kind.token), upTo: message.sequence });
      this.#state.count(end.state, end.goneAt, -1);
    }
    this.#sweep = { from: 1, at: nowMs };
    return false;
  }

  async #wait<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } catch (cause) {
      throw cause instanceof StoreUnavailable ? cause : failed('A change', cause);
    } finally {
      this.#underWay.delete(work);
    }
  }
}
