import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, NEVER, plus } from '../core/time.ts';
import type { Conversion, DeferredRequests, RequestFilter, RequestScope, RequestView, Submission, SubmitOutcome } from './deferred.ts';
import { type DeferredFigures, figuresOf } from './deferred-figures.ts';
import type { DeferredRoute } from './deferred-route.ts';
import { BodyBroken, IncomingBody } from './incoming-body.ts';
import { NOT_DEAD, onlyDead, type RedrivePage, redriveMany } from './redrive-many.ts';
import { parseRequestId, type RequestEnd, type RequestHead, type RequestRow, requestId } from './request.ts';
import { ENDED, NONE, SENDING } from './request-index.ts';
import { type DeferredDeps, RequestLifecycle } from './request-lifecycle.ts';
import { RequestPages } from './request-pages.ts';
import { inScope, narrowed, viewOf } from './request-view.ts';
import { waitOf } from './request-wait.ts';
import { randomSecret } from './secret.ts';
import type { LocalStore, StoredBody } from './store.ts';
import { type CheckedSubmission, checkSubmission, hashOfKey, headOf, KEY_TAKEN, refused, rowOf } from './submission.ts';
import { orUnreadable } from './unreadable.ts';

/** Sequences that count as used from before they are given out. */
const RESERVED = 1_000_000;
const SWEEP_MS = 1_000;

/** Dependencies of the deferred requests of one process. */
export interface ServiceDeps extends DeferredDeps {
  readonly store: LocalStore;
}

/** Opens the store, reads its rows, and begins to deliver. Rejects when the store cannot be read; the error names what is damaged. */
export async function createDeferred(deps: ServiceDeps): Promise<DeferredService> {
  const service = new DeferredService(deps);
  await service.begin();
  return service;
}

/** Deferred requests of one process over one store. */
export class DeferredService implements DeferredRequests {
  readonly #deps: ServiceDeps;
  readonly #requests: RequestLifecycle;
  /** Submits under way, by the hash of their key: a second one waits for the first. */
  readonly #keys = new Map<string, Promise<unknown>>();
  /** Changes of dead letters under way, by sequence. */
  readonly #changing = new Map<number, Promise<void>>();
  readonly #pages: RequestPages;
  #next = 1;
  #reserved = 1;
  #reserving: Promise<void> | undefined;
  #uploads = 0;
  #draining = false;
  #stopSweep: (() => void) | undefined;

  constructor(deps: ServiceDeps) {
    this.#deps = deps;
    this.#requests = new RequestLifecycle(deps, () => this.#sequence());
    this.#pages = new RequestPages({
      store: deps.store,
      requests: this.#requests,
      changing: this.#changing,
      pendingView: (slot, row) => this.#pendingView(slot, row, undefined),
    });
  }

  /** Reads the store and enters what is pending. */
  async begin(): Promise<void> {
    let requests = 0;
    const { flights, nextSequence } = await this.#deps.store.open(
      (row) => {
        this.#requests.index.add(row);
        requests++;
      },
      (row, { goneAt }) => {
        this.#requests.forgetAt(this.#requests.index.addEnded(row), goneAt);
      },
    );
    this.#next = nextSequence;
    this.#reserved = nextSequence;
    const armed = this.#requests.countFlights(flights);
    this.#deps.events({ kind: 'loaded', requests, armed });
    this.#requests.dispatcher.begin();
    this.#requests.callbacks?.begin();
    this.#sweepLater();
  }

  /** Numbers for metrics. */
  get figures(): DeferredFigures {
    const { store, clock } = this.#deps;
    return figuresOf([{ store, requests: this.#requests }], clock, store.space);
  }

  async submit(submission: Submission, conversion?: Conversion): Promise<SubmitOutcome> {
    let stored = false;
    try {
      const outcome = await this.#submitOnce(submission, conversion);
      stored = outcome.kind === 'accepted' && !outcome.existing;
      return outcome;
    } finally {
      if (!stored) conversion?.place?.held.cancel();
    }
  }

  async #submitOnce(submission: Submission, conversion: Conversion | undefined): Promise<SubmitOutcome> {
    if (this.#draining) return refused({ reason: 'draining', retryAt: this.#deps.clock.now() });
    const checked = checkSubmission(this.#deps, submission, conversion !== undefined, this.#requests.now());
    if ('reason' in checked) return refused(checked);
    const idHash = hashOfKey(submission);
    for (let other = this.#keys.get(idHash); idHash !== '' && other !== undefined; other = this.#keys.get(idHash)) await other;
    const stored = this.#submit(submission, checked, idHash, conversion);
    if (idHash !== '') {
      this.#keys.set(
        idHash,
        stored.catch(() => undefined),
      );
      void stored.catch(() => undefined).finally(() => this.#keys.delete(idHash));
    }
    return stored;
  }

  get(scope: RequestScope, id: string, waitMs: number, signal?: AbortSignal): Promise<RequestView | Refusal> {
    return orUnreadable(this.#deps, () => this.#get(scope, id, waitMs, signal));
  }

  cancel(scope: RequestScope, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    return orUnreadable(this.#deps, () => this.#cancel(scope, id));
  }

  redrive(scope: RequestScope, id: string): Promise<Refusal | undefined> {
    return orUnreadable(this.#deps, () => this.#redriveOne(scope, id));
  }

  list(
    scope: RequestScope,
    filter: RequestFilter,
    size: number,
    token: string,
  ): Promise<{ readonly requests: readonly RequestView[]; readonly next: string } | Refusal> {
    return orUnreadable(this.#deps, () => this.#pages.list(scope, filter, size, token));
  }

  redriveAll(scope: RequestScope, filter: RequestFilter, max: number, token: string): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
    return orUnreadable(this.#deps, () => this.#redriveAll(scope, filter, max, token));
  }

  async #get(scope: RequestScope, id: string, waitMs: number, signal: AbortSignal | undefined): Promise<RequestView | Refusal> {
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    if (waitMs > 0 && (found.state === 'pending' || found.state === 'sending')) {
      await this.#ended(parseRequestId(id)?.sequence as number, waitMs, signal);
      return this.#find(scope, id);
    }
    return found;
  }

  async #cancel(scope: RequestScope, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    const slot = this.#requests.index.slotOf(parseRequestId(id)?.sequence as number);
    if (slot === NONE || this.#requests.index.stateOf(slot) === ENDED) {
      if (found.state !== 'dead') return { cancelled: false, aborted: false };
      return this.#cancelDead(parseRequestId(id)?.sequence as number);
    }
    const running = this.#requests.running.get(this.#requests.index.sequenceOf(slot));
    const cancelled = await this.#requests.end(slot, 'cancelled', '', undefined, undefined);
    if (cancelled !== undefined) return cancelled;
    running?.abort();
    return { cancelled: true, aborted: running !== undefined };
  }

  async #redriveOne(scope: RequestScope, id: string): Promise<Refusal | undefined> {
    const parsed = parseRequestId(id);
    const found = await this.#find(scope, id);
    if ('reason' in found) return found;
    if (found.state !== 'dead' || parsed === undefined) return onlyDead(found.state);
    return this.#redrive(parsed.sequence);
  }

  async #redriveAll(
    scope: RequestScope,
    filter: RequestFilter,
    max: number,
    token: string,
  ): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
    const pageOf: RedrivePage = async (size, from) => {
      const page = await this.#deps.store.listEnded({ ...filter, state: 'dead', ...narrowed(scope, filter) }, size, from);
      const sequences = page.requests.filter(({ row }) => inScope(scope, row)).map(({ row }) => row.sequence);
      return { results: await Promise.all(sequences.map((sequence) => this.#redrive(sequence))), next: page.next };
    };
    return redriveMany(pageOf, max, token);
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    this.#stopSweep?.();
    await this.#requests.drain(graceMs);
    await this.#deps.store.close();
  }

  async #submit(submission: Submission, checked: CheckedSubmission, idHash: string, conversion: Conversion | undefined): Promise<SubmitOutcome> {
    const known = idHash === '' ? NONE : this.#requests.index.slotOfHash(idHash);
    const body = new IncomingBody(submission, (piece, bytes) => this.#upload(piece, bytes));
    try {
      await body.read();
      const requestHash = body.requestHash;
      if (known !== NONE) {
        const answer = await this.#existing(submission, known, requestHash, checked.route);
        if (answer !== undefined) {
          await body.drop(this.#deps.store);
          return answer;
        }
        this.#requests.index.forgetHash(known);
      }
      return await this.#accept({ submission, checked, idHash, requestHash, body: body.stored, bodyBytes: body.bytes, conversion });
    } catch (cause) {
      await body.drop(this.#deps.store).catch(() => undefined);
      if (cause instanceof BodyBroken) return refused({ reason: 'malformed', detail: 'The body did not come whole.' });
      return refused(this.#requests.unstored(cause));
    }
  }

  async #upload(piece: { upload: number; number: number }, bytes: Uint8Array): Promise<void> {
    if (piece.upload === 0) piece.upload = ++this.#uploads;
    await this.#deps.store.upload(piece.upload, piece.number, bytes);
  }

  async #accept(ask: {
    readonly submission: Submission;
    readonly checked: CheckedSubmission;
    readonly idHash: string;
    readonly requestHash: string;
    readonly body: StoredBody;
    readonly bodyBytes: number;
    readonly conversion: Conversion | undefined;
  }): Promise<SubmitOutcome> {
    const { submission, checked, idHash, requestHash, body, bodyBytes } = ask;
    const sequence = await this.#sequence();
    const more = { nowMs: this.#requests.now(), idHash, requestHash, attempts: ask.conversion?.attempts ?? 0 };
    const row: RequestRow = { ...rowOf(submission, checked, more), sequence, secret: randomSecret() };
    const head = headOf(submission, bodyBytes);
    await this.#requests.store.write({ kind: 'submit', row, head, body });
    this.#requests.works();
    const slot = this.#requests.index.add(row);
    this.#deps.events({ kind: 'accepted', group: row.group, route: row.route, existing: false });
    this.#enter(slot, row, ask.conversion);
    return { kind: 'accepted', id: requestId(sequence, row.secret), sequence, existing: false, keyExpiresAt: undefined };
  }

  /** Queues a new request. A caller that waited in the queue passes on its position, or the permit that it was granted meanwhile. */
  #enter(slot: number, row: RequestRow, conversion: Conversion | undefined): void {
    const { dispatcher } = this.#requests;
    const place = conversion?.place;
    if (place === undefined) return dispatcher.add(slot);
    const { line, clock } = this.#deps;
    if (row.dueAt > this.#requests.now() || !dispatcher.isNext(slot)) {
      // It may not be sent yet, or not before another of its key.
      place.held.cancel();
      return dispatcher.add(slot);
    }
    const deadline = row.deadlineAt === 0 ? NEVER : plus(clock.now(), (row.deadlineAt - this.#requests.now()) * MILLISECOND);
    const converted = line.convert(place.held, row.sequence, deadline);
    if (converted !== undefined) return dispatcher.adopt(slot, converted.entry);
    dispatcher.await(slot);
    place.decided((outcome) => {
      if (outcome.kind === 'admitted') dispatcher.adoptAdmitted(row.sequence, outcome, place.held);
      else dispatcher.add(slot);
    });
  }

  /** The answer for a key that is known; undefined: it may be submitted anew. */
  async #existing(submission: Submission, slot: number, requestHash: string, route: DeferredRoute): Promise<SubmitOutcome | undefined> {
    const row = this.#requests.index.row(slot);
    const hasEnded = (await this.#requests.ends.settled(row.sequence)) && this.#requests.index.stateOf(slot) === ENDED;
    const ended = hasEnded ? await this.#deps.store.ended(row.sequence) : undefined;
    if (hasEnded) {
      if (ended === undefined || ended.end.state !== 'done') return undefined;
      if (submission.dedupeId !== '' && ended.end.at + route.keep.dedupeMs < this.#requests.now()) return undefined;
    }
    if (submission.dedupeId === '' && row.requestHash !== requestHash) return KEY_TAKEN;
    this.#deps.events({ kind: 'accepted', group: row.group, route: row.route, existing: true });
    return { kind: 'accepted', id: requestId(row.sequence, row.secret), sequence: row.sequence, existing: true, keyExpiresAt: ended?.end.goneAt };
  }

  async #sequence(): Promise<number> {
    while (this.#next >= this.#reserved) {
      this.#reserving ??= this.#deps.store.reserve(this.#next + RESERVED).then(
        () => {
          this.#reserved = this.#next + RESERVED;
          this.#reserving = undefined;
        },
        (cause: unknown) => {
          this.#reserving = undefined;
          throw cause;
        },
      );
      await this.#reserving;
    }
    return this.#next++;
  }

  /** Cancels and redrives of one dead letter take turns, so that the second sees what the first did. */
  async #inTurn<T>(sequence: number, change: () => Promise<T>): Promise<T> {
    for (let other = this.#changing.get(sequence); other !== undefined; other = this.#changing.get(sequence)) await other;
    const changed = change();
    this.#changing.set(
      sequence,
      changed.then(
        () => undefined,
        () => undefined,
      ),
    );
    try {
      return await changed;
    } finally {
      this.#changing.delete(sequence);
    }
  }

  #cancelDead(sequence: number): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    return this.#inTurn(sequence, () => this.#cancelDeadNow(sequence));
  }

  #redrive(sequence: number): Promise<Refusal | undefined> {
    return this.#inTurn(sequence, () => this.#redriveNow(sequence));
  }

  async #cancelDeadNow(sequence: number): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    const found = await this.#deps.store.ended(sequence);
    if (found === undefined || found.end.state !== 'dead') return { cancelled: false, aborted: false };
    const now = this.#requests.now();
    const route = this.#deps.routes().get(found.row.route);
    const end: RequestEnd = { ...found.end, state: 'cancelled', at: now, goneAt: now + (route?.keep.resultsMs ?? 3_600_000) };
    try {
      await this.#requests.store.write({ kind: 'end', end, row: found.row, attempt: undefined });
    } catch (cause) {
      return this.#requests.unstored(cause);
    }
    this.#requests.dispatcher.release(found.row.group, found.row.key, sequence);
    return { cancelled: true, aborted: false };
  }

  async #redriveNow(sequence: number): Promise<Refusal | undefined> {
    if (this.#isPending(sequence)) return NOT_DEAD;
    const found = await this.#deps.store.ended(sequence);
    if (found === undefined || found.end.state !== 'dead') return NOT_DEAD;
    const row: RequestRow = { ...found.row, acceptedAt: this.#requests.now(), dueAt: 0, deadlineAt: 0, firstAttemptAt: 0, spared: found.row.attempts };
    try {
      await this.#requests.store.write({ kind: 'redrive', row });
    } catch (cause) {
      return this.#requests.unstored(cause);
    }
    const before = this.#requests.index.slotOf(sequence);
    if (before !== NONE) this.#requests.index.remove(before);
    const slot = this.#requests.index.add(row);
    this.#deps.events({ kind: 'redriven', group: row.group });
    this.#requests.enter(slot);
    return undefined;
  }

  async #find(scope: RequestScope, id: string): Promise<RequestView | Refusal> {
    const parsed = parseRequestId(id);
    if (parsed === undefined) return UNKNOWN;
    const { store } = this.#deps;
    const isSettled = await this.#requests.ends.settled(parsed.sequence);
    const slot = this.#requests.index.slotOf(parsed.sequence);
    const pending = slot !== NONE && (!isSettled || this.#requests.index.stateOf(slot) !== ENDED);
    const ended = pending ? undefined : await store.ended(parsed.sequence);
    const row = pending ? this.#requests.index.row(slot) : ended?.row;
    if (row === undefined) {
      // Being redriven or cancelled it is neither ended nor pending for a moment: look again when that is done.
      const changing = this.#changing.get(parsed.sequence);
      if (changing !== undefined) await changing;
      if (changing !== undefined || this.#isPending(parsed.sequence)) return this.#find(scope, id);
      return parsed.sequence < this.#next ? { reason: 'gone' } : UNKNOWN;
    }
    if (row.secret !== parsed.secret || !inScope(scope, row)) return UNKNOWN;
    const loaded = await store.load(parsed.sequence);
    const tries = await store.attempts(parsed.sequence);
    const shown = ended === undefined ? this.#pendingView(slot, row, loaded?.head) : viewOf(row, loaded?.head, ended.end, ended.end.state);
    const callback = await this.#callbackOf(parsed.sequence, loaded?.head);
    return { ...shown, callback, tries, error: ended?.end.error ?? tries.at(-1)?.error ?? '' };
  }

  #isPending(sequence: number): boolean {
    const { index } = this.#requests;
    const slot = index.slotOf(sequence);
    return slot !== NONE && index.stateOf(slot) !== ENDED;
  }

  /** A request that has not ended, or whose end is not on disk. */
  #pendingView(slot: number, row: RequestRow, head: RequestHead | undefined): RequestView {
    const state = this.#requests.index.stateOf(slot);
    const view = viewOf(row, head, undefined, state === SENDING || state === ENDED ? 'sending' : 'pending');
    return state === ENDED ? view : { ...view, ...waitOf(this.#requests, this.#deps.clock, slot) };
  }

  async #callbackOf(sequence: number, head: RequestHead | undefined): Promise<RequestView['callback']> {
    const { index, callbacks } = this.#requests;
    const slot = callbacks?.slotOf(sequence) ?? NONE;
    if (slot === NONE) return head === undefined || head.callback === '' ? 'none' : 'pending';
    if (index.stateOf(slot) !== ENDED) return 'pending';
    return (await this.#deps.store.ended(index.sequenceOf(slot)))?.end.state === 'done' ? 'done' : 'dead';
  }

  /** Resolves at the end of a request, or after `waitMs`. */
  #ended(sequence: number, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#deps;
    return new Promise((resolve) => {
      const waiting = this.#requests.waiters.get(sequence) ?? new Set();
      this.#requests.waiters.set(sequence, waiting);
      const over = (): void => {
        stop();
        signal?.removeEventListener('abort', over);
        waiting.delete(over);
        if (waiting.size === 0 && this.#requests.waiters.get(sequence) === waiting) this.#requests.waiters.delete(sequence);
        resolve();
      };
      const stop = clock.at(plus(clock.now(), waitMs * MILLISECOND), over);
      signal?.addEventListener('abort', over);
      waiting.add(over);
    });
  }

  #sweepLater(): void {
    const { clock, store } = this.#deps;
    this.#stopSweep = clock.at(plus(clock.now(), SWEEP_MS * MILLISECOND), () => {
      void (async () => {
        try {
          const now = this.#requests.now();
          for (let more = true; more && !this.#draining; ) more = await store.sweep(now);
        } catch (cause) {
          this.#requests.storeFailed(cause);
        }
        if (!this.#draining) this.#sweepLater();
      })();
    });
  }
}

const UNKNOWN: Refusal = { reason: 'unknown_request' };
