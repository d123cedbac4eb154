import type { StoredLines } from '../admission/stored-lines.ts';
import type { Refusal } from '../core/refusal.ts';
import { SHARDS } from '../core/sharding.ts';
import { MILLISECOND, plus } from '../core/time.ts';
import { callbackUrl } from './callback-target.ts';
import type { CallbackTransport } from './callback-transport.ts';
import { type AskedAttempts, ClusterNews, type NewsBus } from './cluster-news.ts';
import { ClusterPages } from './cluster-pages.ts';
import type { Conversion, DeferredRequests, RequestFilter, RequestScope, RequestView, Submission, SubmitOutcome } from './deferred.ts';
import { type DeferredFigures, figuresOf } from './deferred-figures.ts';
import type { DeferredRoute } from './deferred-route.ts';
import { InFlight } from './in-flight.ts';
import { BodyBroken, IncomingBody } from './incoming-body.ts';
import { NOT_DEAD, onlyDead, type RedrivePage, redriveMany } from './redrive-many.ts';
import { parseRequestId, type RequestEnd, type RequestRow, requestId } from './request.ts';
import { ENDED, NONE, SENDING } from './request-index.ts';
import { type DeferredDeps, RETRY_AFTER } from './request-lifecycle.ts';
import { inScope, viewOf } from './request-view.ts';
import { waitOf } from './request-wait.ts';
import { ShardOwner } from './shard-owner.ts';
import { type EdgeOutcome, type RequestEdge, type SharedStore, shardOfSecret } from './shared-store.ts';
import { type Report, StoreUnavailable } from './store.ts';
import { checkSubmission, hashOfKey, headOf, KEY_TAKEN, refused, rowOf } from './submission.ts';

/** Callbacks under way at once, of all shards of a process. */
const CALLBACKS_MAX = 64;
/** An end that no news came of is looked for so often. */
const LOOK_MS = 5_000;

/** Dependencies of a replica's deferred requests. */
export interface ClusterRequestsDeps extends Omit<DeferredDeps, 'store' | 'line' | 'callbacks' | 'inFlight' | 'shared'> {
  readonly edge: RequestEdge;
  /** A store of one shard that was not opened yet; what it changes without being opened is right at any replica. */
  readonly openStore: (shard: number, term: bigint) => SharedStore;
  readonly lines: StoredLines;
  /** The shard that decides for a group; undefined: there is no such group. */
  readonly shardOf: (group: string) => number | undefined;
  readonly bus: NewsBus;
  /** The name of this process among all. */
  readonly instance: () => string;
  /** Whether a process, this one or another, still lives. */
  readonly isAlive: (instance: string) => boolean;
  readonly transport: CallbackTransport;
  /** How full the streams are. */
  readonly space: () => { readonly bytes: number; readonly bytesMax: number };
}

/** A request as the streams have it. */
interface Found {
  readonly store: SharedStore;
  readonly owner: ShardOwner | undefined;
  readonly row: RequestRow;
  readonly end: RequestEnd | undefined;
}

/**
 * Deferred requests of one replica: stores what its callers submit, whichever replica owns their shard; owns the shards that it is given; and
 * finds, cancels and redrives every request of the cluster.
 */
export class ClusterRequests implements DeferredRequests {
  readonly #deps: ClusterRequestsDeps;
  readonly #owners = new Map<number, ShardOwner>();
  /** Of shards that went to others, while attempts are under way. */
  readonly #released = new Set<ShardOwner>();
  readonly #inFlight: InFlight;
  readonly #callbacksInFlight = new InFlight(CALLBACKS_MAX);
  readonly #news: ClusterNews;
  readonly #pages: ClusterPages;
  /** Shards whose streams cannot be used now. */
  readonly #failing = new Set<number>();
  #uploads = 0;
  #draining = false;

  constructor(deps: ClusterRequestsDeps) {
    this.#deps = deps;
    this.#inFlight = new InFlight(deps.bounds.inFlightMax, deps.bounds.inFlightBytesMax);
    this.#news = new ClusterNews({
      ...deps,
      stored: (shard, sequence) => this.#owners.get(shard)?.storedUpTo(sequence),
      over: (shard, sequence) => void this.#owners.get(shard)?.over(sequence),
      asked: (asked) => this.#sayOver(asked),
    });
    this.#pages = new ClusterPages({ storeOf: (shard) => this.#storeOf(shard), waitOf: (row, state) => this.#waitOf(row, state) });
  }

  /** The shard is this process's from now on, as long as `decides` returns true: it reads a clock, and ends before another process may begin. */
  gained(shard: number, term: bigint, decides: () => boolean): void {
    if (this.#draining) return;
    this.lost(shard);
    const { openStore, events } = this.#deps;
    const owner: ShardOwner = new ShardOwner({
      ...this.#deps,
      ...{ shard, term, decides, inFlight: this.#inFlight, callbacksInFlight: this.#callbacksInFlight },
      openStore: () => openStore(shard, term),
      events: (event) => {
        if (event.kind === 'store_failed' || event.kind === 'store_works') this.#storeChanged(shard, event.kind, event.cause);
        else events(event);
      },
      report: (row, end, route) => this.#reportOf(openStore(shard, 0n), row, end, route),
      ended: (secret) => this.#news.ended(secret),
      attemptOver: (sequence) => this.#news.over(shard, sequence),
      askHolder: (holder, sequences) => this.#news.ask({ shard, holder, sequences }),
    });
    this.#owners.set(shard, owner);
  }

  /** The shard is another process's; `term`: only if it was this process's in that term. */
  lost(shard: number, term?: bigint): void {
    if (term === undefined || this.#owners.get(shard)?.term === term) this.#release(shard, false);
  }

  /** The shard is about to be another process's, which leaves to this one what is under way here. */
  handOver(shard: number, term: bigint): void {
    if (this.#owners.get(shard)?.term === term) this.#release(shard, true);
  }

  /** Numbers of the shards that this process owns; bytes of all. */
  get figures(): DeferredFigures {
    const opened = [...this.#owners.values()].flatMap((owner) => owner.opened ?? []);
    return figuresOf(opened, this.#deps.clock, this.#deps.space());
  }

  async submit(submission: Submission, conversion?: Conversion): Promise<SubmitOutcome> {
    try {
      return await this.#submit(submission, conversion);
    } finally {
      // Stored, it comes to the owner by the streams, and stands where the live request stood.
      conversion?.place?.held.cancel();
    }
  }

  async get(scope: RequestScope, id: string, waitMs: number, signal?: AbortSignal): Promise<RequestView | Refusal> {
    const view = await this.#viewOf(scope, id);
    if ('reason' in view || waitMs <= 0 || (view.state !== 'pending' && view.state !== 'sending')) return view;
    await this.#untilEnded(id, waitMs, signal);
    return this.#viewOf(scope, id);
  }

  async cancel(scope: RequestScope, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    if (found.end !== undefined && found.end.state !== 'dead') return NOT_CANCELLED;
    const requests = found.owner?.opened?.requests;
    const slot = requests?.index.slotOf(found.row.sequence) ?? NONE;
    if (requests === undefined || slot === NONE || requests.index.stateOf(slot) === ENDED) return this.#tried(() => this.#cancel(found));
    const running = requests.running.get(found.row.sequence);
    const failed = await requests.end(slot, 'cancelled', '', undefined, undefined);
    if (failed !== undefined) return failed;
    running?.abort();
    return { cancelled: true, aborted: running !== undefined };
  }

  list(
    scope: RequestScope,
    filter: RequestFilter,
    size: number,
    token: string,
  ): Promise<{ readonly requests: readonly RequestView[]; readonly next: string } | Refusal> {
    return this.#tried(() => this.#pages.list(scope, filter, size, token));
  }

  async redrive(scope: RequestScope, id: string): Promise<Refusal | undefined> {
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    if (found.end?.state !== 'dead') return onlyDead(found.end?.state ?? 'pending');
    return this.#tried(() => this.#redrive(found));
  }

  async redriveAll(
    scope: RequestScope,
    filter: RequestFilter,
    max: number,
    token: string,
  ): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
    const pageOf: RedrivePage = async (size, from) => {
      const page = await this.list(scope, { ...filter, state: 'dead' }, size, from);
      if ('reason' in page) return page;
      return { results: await Promise.all(page.requests.map(({ id }) => this.redrive(scope, id))), next: page.next };
    };
    return redriveMany(pageOf, max, token);
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    this.#news.stop();
    // Shards are handed over meanwhile, each with what is on its way still.
    const owners = [...this.#owners.values(), ...this.#released];
    await Promise.all(owners.map((owner) => owner.drain(graceMs)));
    await this.#deps.edge.quiet();
    this.#news.close();
  }

  async #submit(submission: Submission, conversion: Conversion | undefined): Promise<SubmitOutcome> {
    const { clock, shardOf, edge } = this.#deps;
    if (this.#draining) return refused({ reason: 'draining', retryAt: clock.now() });
    const checked = checkSubmission({ ...this.#deps, line: this.#deps.lines }, submission, conversion !== undefined, this.#nowMs());
    if ('reason' in checked) return refused(checked);
    const shard = shardOf(submission.group);
    if (shard === undefined) return refused({ reason: 'unknown_group', detail: `There is no group ${JSON.stringify(submission.group)}.` });
    // A caller that turns to another replica names another host, and means the same request.
    const body = new IncomingBody({ ...submission, host: '' }, async (piece, bytes) => {
      if (piece.upload === 0) piece.upload = ++this.#uploads;
      await edge.upload(shard, piece.upload, piece.number, bytes);
    });
    const drop = (): Promise<void> => body.drop({ dropUpload: (upload) => edge.dropUpload(shard, upload) }).catch(() => undefined);
    try {
      await body.read();
    } catch (cause) {
      await drop();
      if (cause instanceof BodyBroken) return refused({ reason: 'malformed', detail: 'The body did not come whole.' });
      return refused(this.#unstored(cause));
    }
    const { requestHash } = body;
    const more = { nowMs: this.#nowMs(), idHash: hashOfKey(submission), requestHash, attempts: conversion?.attempts ?? 0 };
    const since = conversion?.place?.held.arrival();
    const row = { ...rowOf(submission, checked, more), since: since && { at: clock.epoch(since.arrivedAt), order: since.order } };
    try {
      const renews = (known: EdgeOutcome): boolean => this.#renews(known, submission, checked.route);
      const outcome = await edge.submit({ shard, row, head: headOf(submission, body.bytes), body: body.stored, renews });
      this.#storeChanged(EDGE, 'store_works', undefined);
      if (outcome.existing) await drop();
      return this.#accepted(shard, submission, outcome, requestHash);
    } catch (cause) {
      // What may have been stored needs its body: the owner removes it later if it was not.
      if (cause instanceof StoreUnavailable && cause.reason === 'full') await drop();
      return refused(this.#unstored(cause));
    }
  }

  #accepted(shard: number, { dedupeId }: Submission, { row, existing, end }: EdgeOutcome, requestHash: string): SubmitOutcome {
    if (existing && dedupeId === '' && row.requestHash !== requestHash) return KEY_TAKEN;
    this.#deps.events({ kind: 'accepted', group: row.group, route: row.route, existing });
    if (!existing) this.#news.stored(shard, row.sequence);
    return { kind: 'accepted', id: requestId(row.sequence, row.secret), sequence: row.sequence, existing, keyExpiresAt: end?.goneAt };
  }

  /** Whether an ended request of a key makes room for another: as on one node. */
  #renews({ end }: EdgeOutcome, { dedupeId }: Submission, route: DeferredRoute): boolean {
    if (end === undefined) return false;
    const now = this.#nowMs();
    return end.state !== 'done' || end.goneAt <= now || (dedupeId !== '' && end.at + route.keep.dedupeMs < now);
  }

  /** The callback that is owed for an end. */
  async #reportOf(store: SharedStore, row: RequestRow, end: RequestEnd, route: DeferredRoute | undefined): Promise<Report | undefined> {
    const policy = route?.callback;
    if (policy === undefined) return undefined;
    const url = (await store.load(row.sequence, row.secret))?.head.callback ?? '';
    if (url === '' || !(callbackUrl(url, policy) instanceof URL)) return undefined;
    const { forMs, delaysMs } = policy.retry;
    return { url, until: end.at + forMs + (delaysMs ?? []).reduce((sum, each) => sum + each, 0) + LATEST_CALLBACK_MS };
  }

  async #cancel({ store, owner, row, end: before }: Found): Promise<{ readonly cancelled: boolean; readonly aborted: boolean }> {
    const route = this.#deps.routes().get(row.route);
    const armed = before === undefined ? ((await store.armed()).get(row.sequence) ?? 0) : 0;
    const at = this.#nowMs();
    const attempts = before?.attempts ?? Math.max(row.attempts, armed);
    const goneAt = at + (route?.keep.resultsMs ?? 3_600_000);
    const end: RequestEnd = { sequence: row.sequence, state: 'cancelled', at, attempts, error: before?.error ?? '', response: before?.response, goneAt };
    const report = before === undefined ? await this.#reportOf(store, row, end, route) : undefined;
    await store.commit([{ kind: 'end', end, row, attempt: undefined, report }]);
    const after = await store.find(row.sequence, row.secret);
    if (typeof after !== 'object' || after.end?.state !== 'cancelled' || after.end.at !== at) return NOT_CANCELLED;
    this.#changed(store, owner, row);
    owner?.opened?.requests.endedElsewhere(row, 'cancelled');
    this.#news.ended(row.secret);
    return { cancelled: true, aborted: armed > row.attempts };
  }

  async #redrive({ store, owner, row: dead }: Found): Promise<Refusal | undefined> {
    const row: RequestRow = { ...dead, acceptedAt: this.#nowMs(), dueAt: 0, deadlineAt: 0, firstAttemptAt: 0, spared: dead.attempts };
    const requests = owner?.opened?.requests;
    await (requests === undefined ? store.commit([{ kind: 'redrive', row }]) : requests.store.write({ kind: 'redrive', row }));
    const after = await store.find(row.sequence, row.secret);
    if (typeof after !== 'object' || after.row.acceptedAt !== row.acceptedAt) return NOT_DEAD;
    this.#deps.events({ kind: 'redriven', group: row.group });
    if (after.end === undefined) requests?.learned(row);
    this.#changed(store, owner, row);
    return undefined;
  }

  /** What another replica's owner is to learn; what a change has left behind here is removed. */
  #changed(store: SharedStore, owner: ShardOwner | undefined, { secret }: RequestRow): void {
    if (owner?.opened !== undefined) return;
    this.#news.stored(shardOfSecret(secret), Number.MAX_SAFE_INTEGER);
    store.tidy().catch(() => undefined);
  }

  async #viewOf(scope: RequestScope, id: string): Promise<RequestView | Refusal> {
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    return this.#tried(async () => {
      const { store, row, end } = found;
      const { sequence, secret } = row;
      const [loaded, tries] = await Promise.all([store.load(sequence, secret), store.attempts(sequence, secret)]);
      const state = end?.state ?? ((await this.#isSending(found)) ? 'sending' : 'pending');
      const named = loaded !== undefined && loaded.head.callback !== '';
      const callback = end === undefined ? (named ? 'pending' : 'none') : await store.callbackOf(sequence, secret);
      const waits = end === undefined ? this.#waitOf(row, state) : {};
      return { ...viewOf(row, loaded?.head, end, state), ...waits, callback, tries, error: end?.error ?? tries.at(-1)?.error ?? '' };
    });
  }

  /** What a request that has not ended waits for: all of it where its shard is owned here, elsewhere its due time alone. */
  #waitOf(row: RequestRow, state: string): Partial<RequestView> {
    const requests = this.#owners.get(shardOfSecret(row.secret))?.opened?.requests;
    const slot = requests?.index.slotOf(row.sequence) ?? NONE;
    if (requests !== undefined && slot !== NONE && requests.index.stateOf(slot) !== ENDED) return waitOf(requests, this.#deps.clock, slot);
    return state === 'pending' && row.dueAt > this.#nowMs() ? { waitsFor: 'due' } : {};
  }

  async #isSending({ store, owner, row }: Found): Promise<boolean> {
    const index = owner?.opened?.requests.index;
    if (index === undefined) return ((await store.armed()).get(row.sequence) ?? 0) > row.attempts;
    const slot = index.slotOf(row.sequence);
    return slot !== NONE && index.stateOf(slot) === SENDING;
  }

  async #find(scope: RequestScope, id: string): Promise<Found | Refusal> {
    const parsed = parseRequestId(id);
    const shard = parsed === undefined ? SHARDS : shardOfSecret(parsed.secret);
    if (parsed === undefined || shard >= SHARDS) return UNKNOWN;
    return this.#tried(async (): Promise<Found | Refusal> => {
      const store = this.#storeOf(shard);
      const found = await store.find(parsed.sequence, parsed.secret);
      if (found === 'gone') return { reason: 'gone' };
      if (found === undefined || !inScope(scope, found.row)) return UNKNOWN;
      return { store, owner: this.#owners.get(shard), ...found };
    });
  }

  /** A store of this shard: the owner's, where that is this process. */
  #storeOf(shard: number): SharedStore {
    return this.#owners.get(shard)?.opened?.store ?? this.#deps.openStore(shard, 0n);
  }

  /** Resolves at the end of a request, or after `waitMs`, or when it cannot be known. */
  async #untilEnded(id: string, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#deps;
    const { sequence, secret } = parseRequestId(id) as { sequence: number; secret: string };
    const until = plus(clock.now(), waitMs * MILLISECOND);
    while (!this.#draining && signal?.aborted !== true) {
      const heard = this.#news.whenEnded(secret, Math.min(LOOK_MS, Math.max(0, (until - clock.now()) / MILLISECOND)), signal);
      try {
        const found = await this.#storeOf(shardOfSecret(secret)).find(sequence, secret);
        if (typeof found !== 'object' || found.end !== undefined) return heard.stop();
      } catch {
        // Looked for again.
      }
      if (await heard.news) return;
      if (clock.now() >= until) return;
    }
  }

  /** Reports to another owner which of these attempts this process does not send. */
  #sayOver({ shard, holder, sequences }: AskedAttempts): void {
    if (holder !== this.#deps.instance()) return;
    const owners = [...this.#owners.values(), ...this.#released].filter((owner) => owner.shard === shard);
    for (const sequence of sequences) if (!owners.some((owner) => owner.isUnderWay(sequence))) this.#news.over(shard, sequence);
  }

  #release(shard: number, inOrder: boolean): void {
    const owner = this.#owners.get(shard);
    if (owner === undefined) return;
    this.#owners.delete(shard);
    this.#storeChanged(shard, 'store_works', undefined);
    for (const each of this.#released) if (each.sending === 0) this.#released.delete(each);
    this.#released.add(owner);
    owner.release(inOrder);
  }

  /** NATS is one: it is reported when the first shard fails, and when the last works again. */
  #storeChanged(shard: number, kind: 'store_failed' | 'store_works', cause: unknown): void {
    const before = this.#failing.size;
    if (kind === 'store_failed') this.#failing.add(shard);
    else this.#failing.delete(shard);
    const changed = kind === 'store_failed' ? before === 0 : before > 0 && this.#failing.size === 0;
    if (changed) this.#deps.events({ kind, cause });
  }

  #unstored(cause: unknown): Refusal {
    if (!(cause instanceof StoreUnavailable)) this.#deps.onError(cause);
    this.#storeChanged(EDGE, 'store_failed', cause);
    const full = cause instanceof StoreUnavailable && cause.reason === 'full';
    const detail = full ? 'The store for deferred requests is full.' : 'The request could not be stored.';
    return { reason: 'unstored', detail, retryAt: plus(this.#deps.clock.now(), RETRY_AFTER) };
  }

  /** What NATS does not answer is refused, with a time to retry. */
  async #tried<T>(work: () => Promise<T>): Promise<T | Refusal> {
    try {
      return await work();
    } catch (cause) {
      if (BUGS.some((kind) => cause instanceof kind)) throw cause;
      const detail = 'NATS does not answer just now.';
      return { reason: 'unstored', detail, retryAt: plus(this.#deps.clock.now(), RETRY_AFTER) };
    }
  }

  #nowMs(): number {
    const { clock } = this.#deps;
    return clock.epoch(clock.now());
  }
}

/** Among the shards whose streams fail, what takes submits. */
const EDGE = SHARDS;
/** NATS throws none of these. */
const BUGS = [TypeError, RangeError, ReferenceError, SyntaxError];
/** An end with a callback is kept this much longer than the callback may be tried. */
const LATEST_CALLBACK_MS = 3_600_000;
const NOT_CANCELLED = { cancelled: false, aborted: false } as const;
const UNKNOWN: Refusal = { reason: 'unknown_request' };
