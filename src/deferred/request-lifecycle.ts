import type { AcquireHandle, AdmissionService, GroupSettings, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, plus, SECOND } from '../core/time.ts';
import { WatchLater } from '../proxy/body/watch-later.ts';
import type { Forwarding } from '../proxy/forwarding.ts';
import { Agenda } from './agenda.ts';
import { BackendOutages } from './backend-outages.ts';
import { BatchedStore } from './batched-store.ts';
import type { CallbackTransport } from './callback-transport.ts';
import { Callbacks, type NewCallback } from './callbacks.ts';
import { type DeferredRoute, nextAttemptAt, verdictOf } from './deferred-route.ts';
import { type AttemptResult, type DeliveryDeps, type RunningAttempt, smallBodyOf, startAttempt } from './delivery.ts';
import { Dispatcher } from './dispatcher.ts';
import { InFlight } from './in-flight.ts';
import { type Attempt, type RequestEnd, type RequestRow, requestId } from './request.ts';
import { ENDED, NONE, PENDING, RequestIndex, SENDING } from './request-index.ts';
import type { SharedHooks } from './shared-store.ts';
import { StartQueue } from './start-queue.ts';
import { type DeferredStore, type Flight, type LoadedRequest, type Report, StoreUnavailable } from './store.ts';
import { StoredEnds } from './stored-ends.ts';

/** An end or a retry that cannot be stored is tried again after this long, until the process ends. */
const STORE_AGAIN_MS = 1_000;
/** Time for which a delivery before a shard went to another process is recorded. */
const RECORDED_FOR_MS = 30_000;
/** A caller whose request cannot be stored may come back after this long. */
export const RETRY_AFTER = 2 * SECOND;

/** What happened, for metrics and the log. Times are milliseconds. */
export type DeferredEvent =
  | { readonly kind: 'accepted'; readonly group: string; readonly route: string; readonly existing: boolean }
  | { readonly kind: 'attempted'; readonly group: string; readonly route: string; readonly outcome: string; readonly tookMs: number }
  | { readonly kind: 'retried'; readonly group: string; readonly route: string; readonly error: string }
  | {
      readonly kind: 'ended';
      readonly group: string;
      readonly route: string;
      readonly state: RequestEnd['state'];
      readonly error: string;
      readonly ageMs: number;
    }
  | { readonly kind: 'redriven'; readonly group: string }
  | { readonly kind: 'backend_down' | 'backend_up'; readonly backend: string }
  | { readonly kind: 'cost_missing'; readonly route: string; readonly unit: string }
  | { readonly kind: 'loaded'; readonly requests: number; readonly armed: number }
  /** The store cannot commit (or can again): submits are refused meanwhile. */
  | { readonly kind: 'store_failed' | 'store_works'; readonly cause: unknown };

/** Dependencies of deferred mode. */
export interface DeferredDeps {
  readonly store: DeferredStore;
  readonly line: StoredLine;
  readonly admission: AdmissionService;
  readonly forwarding: Pick<Forwarding, 'deliver'>;
  readonly clock: Clock;
  /** Routes of the configuration in force, by name. */
  readonly routes: () => ReadonlyMap<string, DeferredRoute>;
  /** Settings of a group; undefined: there is none. */
  readonly settings: (group: string) => GroupSettings | undefined;
  readonly events: (event: DeferredEvent) => void;
  readonly onError: (error: unknown) => void;
  readonly defer: (run: () => void) => void;
  /** Uniform in [0, 1): jitter of retries. */
  readonly random: () => number;
  readonly bounds: { readonly inFlightMax: number; readonly inFlightBytesMax: number; readonly downAfter: number; readonly probeMs: number };
  /** Sends callbacks to the URLs that requests named; absent: nothing is reported, or {@link shared} does. */
  readonly callbacks?: CallbackTransport | undefined;
  /** Attempts under way of all that share it; absent: `bounds.inFlightMax` of this one alone. */
  readonly inFlight?: InFlight | undefined;
  /** Where replicas share the store; absent: one process has it to itself. */
  readonly shared?: SharedHooks | undefined;
}

type Admitted = Extract<Outcome, { kind: 'admitted' }>;

/** The result of an attempt. */
interface OverAttempt {
  readonly slot: number;
  readonly sequence: number;
  readonly route: DeferredRoute;
  readonly loaded: LoadedRequest;
  readonly attempt: number;
  readonly began: number;
  readonly result: AttemptResult;
}

/**
 * Requests from their store to their end:
 *
 *     stored ─▶ in line ─▶ admitted ─▶ armed ─▶ sent ─▶ done | dead
 *                  ▲                              │
 *                  └── retry, or the process ended ┘
 *
 * An attempt is on disk as armed before it is sent; an end is recorded however long the store fails.
 */
export class RequestLifecycle {
  readonly index = new RequestIndex();
  readonly store: BatchedStore;
  readonly dispatcher: Dispatcher;
  readonly outages: BackendOutages;
  readonly callbacks: Callbacks | undefined;
  /** Attempts under way, by sequence. */
  readonly running = new Map<number, RunningAttempt>();
  /** Called once when their request has ended, by sequence. */
  readonly waiters = new Map<number, Set<() => void>>();
  readonly #deps: DeferredDeps;
  readonly #starts: StartQueue;
  readonly #delivery: DeliveryDeps;
  /** Requests whose attempt is being armed, or was sent and its outcome is not on record. */
  readonly #underWay = new Set<number>();
  /** Ends that are being stored. */
  readonly ends: StoredEnds;
  /** When ended requests with a key are forgotten. */
  readonly #kept: Agenda;
  #failing = false;
  #draining = false;
  /** The shard is another process's, or about to be: since when (milliseconds since 1970), and whether that one waits for what is under way here. */
  #released: { readonly at: number; readonly waits: boolean } | undefined;

  /** `sequence` answers one that was never used. */
  constructor(deps: DeferredDeps, sequence: () => Promise<number>) {
    const { clock, admission, forwarding, onError, events, bounds } = deps;
    this.#deps = deps;
    this.ends = new StoredEnds(clock);
    this.#kept = new Agenda(clock, (sequence) => this.#forget(sequence));
    this.store = new BatchedStore(deps.store);
    const inFlight = deps.inFlight ?? new InFlight(bounds.inFlightMax, bounds.inFlightBytesMax);
    this.#starts = new StartQueue(inFlight);
    this.callbacks = deps.callbacks && this.#callbacksBy(deps.callbacks, sequence);
    const costMissing = (route: string, unit: string): void => events({ kind: 'cost_missing', route, unit });
    this.#delivery = { admission, clock, forwarding, passes: new WatchLater(clock), onError, costMissing };
    this.outages = new BackendOutages({
      clock,
      after: bounds.downAfter,
      probeMs: bounds.probeMs,
      onDown: (backend) => {
        events({ kind: 'backend_down', backend });
        this.dispatcher.withdraw(backend);
      },
      onUp: (backend) => {
        events({ kind: 'backend_up', backend });
        this.dispatcher.restore(backend);
      },
      probe: (backend, another) => this.dispatcher.probe(backend, another),
    });
    this.dispatcher = new Dispatcher({
      index: this.index,
      line: deps.line,
      clock,
      routeOf: (slot) => this.routeOf(slot),
      backendOf: (group, route) => this.#routeNamed(group, route)?.backend,
      isDown: (backend) => this.outages.isDown(backend),
      start: (slot, admitted, held) => void this.#attempt(slot, admitted, held),
      giveUp: (slot, error) => void this.end(slot, 'dead', error, undefined, undefined),
      defer: deps.defer,
      inFlight,
    });
  }

  #callbacksBy(transport: CallbackTransport, sequence: () => Promise<number>): Callbacks {
    const { clock, random, onError } = this.#deps;
    return new Callbacks({
      ...{ index: this.index, store: this.store, clock, transport, sequence, random, onError },
      routeOf: (slot) => this.routeOf(slot),
      end: (slot, state, error, attempt) => this.end(slot, state, error, attempt, undefined),
    });
  }

  /** A request, or a callback, is pending: it goes when it may. */
  enter(slot: number): void {
    if (this.index.callbackOf(slot) === 0) this.dispatcher.add(slot);
    else this.callbacks?.add(slot);
  }

  /** Counts what may have been on its way when the process ended: each is one attempt. Returns how many did. */
  countFlights(flights: readonly Flight[]): number {
    const { index } = this;
    let armed = 0;
    for (const flight of flights) {
      const { sequence, attempt } = flight;
      const slot = index.slotOf(sequence);
      if (slot === NONE || index.stateOf(slot) === ENDED || index.attemptsOf(slot) >= attempt) continue;
      // Until the next of its attempts is armed, this one is known by the register alone.
      this.store.carry(flight);
      index.setAttempts(slot, attempt);
      if (index.firstAttemptAtOf(slot) === 0) index.setFirstAttemptAt(slot, this.now());
      armed++;
    }
    return armed;
  }

  /** The wall clock, in milliseconds since 1970. */
  now(): number {
    const { clock } = this.#deps;
    return clock.epoch(clock.now());
  }

  /** A request that another process has stored, or put back: it goes when it may. One that is known is passed over. */
  learned(row: RequestRow): void {
    const known = this.index.slotOf(row.sequence);
    if (known !== NONE) {
      if (this.index.stateOf(known) !== ENDED) return;
      this.index.remove(known);
    }
    this.enter(this.load(row));
  }

  /** Takes a row of the store into the index; it is not in line yet. Returns its slot. */
  load(row: RequestRow): number {
    const slot = this.index.add(row);
    if (row.since !== undefined && row.attempts === 0) this.dispatcher.stand(slot, row.since);
    return slot;
  }

  /** Another process has stored the end of a request. An attempt under way is given up if it was cancelled, else its outcome is dropped. */
  endedElsewhere(row: RequestRow, state: RequestEnd['state']): void {
    const { index } = this;
    const { sequence } = row;
    const slot = index.slotOf(sequence);
    if (slot === NONE) {
      // A dead letter that held its key.
      if (row.ordered && state === 'cancelled') this.dispatcher.release(row.group, row.key, sequence);
      return;
    }
    if (index.stateOf(slot) === ENDED) return;
    index.setState(slot, ENDED);
    this.dispatcher.leave(slot);
    this.store.forget(sequence);
    if (state === 'cancelled') this.running.get(sequence)?.abort();
    if (row.ordered && (state !== 'dead' || this.routeOf(slot)?.onDead !== 'hold')) this.dispatcher.release(row.group, row.key, sequence);
    index.remove(slot);
    this.#wake(sequence);
    this.#deps.shared?.ended(row.secret);
  }

  /**
   * The shard is another process's from now on: starts nothing any more. Attempts under way go on. `waits`: the new owner leaves them to this
   * process, and receives the end of each; else what is delivered is recorded, and the rest is tried again there.
   */
  release(waits: boolean): void {
    this.#released = { at: this.now(), waits };
    this.dispatcher.stop();
    this.#starts.stop();
    this.outages.stop();
    this.#kept.stop();
    for (const sequence of [...this.waiters.keys()]) this.#wake(sequence);
  }

  /** Attempts that are being armed, or were sent and their outcome is not on record. */
  get sending(): number {
    return this.#underWay.size;
  }

  /** Whether this process may be sending a request, or has its outcome yet to store. */
  isUnderWay(sequence: number): boolean {
    return this.#underWay.has(sequence);
  }

  /** Leaves these attempts to the process that had the shard before, until {@link resume}. Called before the first request enters its line. Returns those that are pending. */
  hold(flights: readonly Flight[]): readonly number[] {
    const { index } = this;
    const held = flights.filter(({ sequence, attempt }) => {
      const slot = index.slotOf(sequence);
      return slot !== NONE && index.stateOf(slot) !== ENDED && index.attemptsOf(slot) === attempt;
    });
    for (const { sequence } of held) index.setState(index.slotOf(sequence), SENDING);
    return held.map(({ sequence }) => sequence);
  }

  /** Ends an attempt that was left to another process, or gives it up: `row` as it recorded it. */
  resume(sequence: number, row: RequestRow | undefined): void {
    const { index } = this;
    const slot = index.slotOf(sequence);
    if (slot === NONE || index.stateOf(slot) !== SENDING || this.running.has(sequence)) return;
    if (row !== undefined && row.attempts >= index.attemptsOf(slot)) {
      index.setAttempts(slot, row.attempts);
      index.setDueAt(slot, row.dueAt);
      index.setSpared(slot, row.spared);
    }
    this.enter(slot);
  }

  /** Starts nothing any more. Resolves when no attempt is under way, at the latest after the grace, and what happened is stored. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    this.dispatcher.stop();
    this.#starts.stop();
    this.callbacks?.stop();
    this.outages.stop();
    this.#kept.stop();
    const { clock } = this.#deps;
    const all = Promise.allSettled([...this.running.values()].map(({ result }) => result));
    let stop = (): void => {};
    const grace = new Promise<void>((resolve) => {
      stop = clock.at(plus(clock.now(), graceMs * MILLISECOND), resolve);
    });
    await Promise.race([all, grace]);
    stop();
    for (const running of this.running.values()) running.abort();
    for (const waiting of this.waiters.values()) for (const wake of [...waiting]) wake();
    await this.store.quiet();
  }

  async #attempt(slot: number, admitted: Admitted, held: AcquireHandle): Promise<void> {
    const index = this.index;
    const sequence = index.sequenceOf(slot);
    const route = this.routeOf(slot);
    const attempt = index.attemptsOf(slot) + 1;
    const began = this.now();
    const start = this.#starts.enter();
    try {
      const loaded = await this.#deps.store.load(sequence, index.secretOf(slot));
      if (route === undefined || loaded === undefined) {
        held.cancel();
        this.dispatcher.attemptOver(slot, false);
        if (loaded === undefined) await this.#lost(slot);
        else index.setState(slot, PENDING);
        return;
      }
      if (!(await start.reserve(loaded.head.bodyBytes))) {
        held.cancel();
        index.setState(slot, PENDING);
        return this.dispatcher.attemptOver(slot, false);
      }
      const whole = await smallBodyOf(loaded);
      this.#underWay.add(sequence);
      const heldBy = this.#deps.shared?.instance();
      await start.inTurn(() => this.store.write({ kind: 'arm', flight: { sequence, attempt, heldBy } }));
      // Cancelled while it was armed, or another process's by now, or in a moment.
      const decides = this.#deps.shared?.decides() !== false;
      if (index.slotOf(sequence) !== slot || index.stateOf(slot) !== SENDING || this.#released !== undefined || !decides) {
        held.cancel();
        this.#underWay.delete(sequence);
        if (!decides) this.#addLater(slot, sequence);
        return this.#leftOver(slot, sequence);
      }
      index.setAttempts(slot, attempt);
      if (index.firstAttemptAtOf(slot) === 0) index.setFirstAttemptAt(slot, began);
      const id = requestId(sequence, index.secretOf(slot));
      const timeoutMs = Math.min(route.timeoutMs, loaded.head.timeoutMs ?? Number.POSITIVE_INFINITY);
      const running = startAttempt(this.#delivery, { id, caller: index.callerOf(slot), route, loaded, whole, attempt, timeoutMs, admitted, held });
      this.running.set(sequence, running);
      const result = await running.result;
      this.running.delete(sequence);
      start.end();
      await this.#attempted({ slot, sequence, route, loaded, attempt, began, result });
      this.#underWay.delete(sequence);
    } catch (cause) {
      this.running.delete(sequence);
      this.#underWay.delete(sequence);
      held.cancel();
      this.storeFailed(cause);
      this.#leftOver(slot, sequence);
      this.#addLater(slot, sequence);
    } finally {
      start.end();
    }
  }

  /** An attempt was given up before it was sent: its request enters its line again, unless it has ended by then. */
  #addLater(slot: number, sequence: number): void {
    const { index } = this;
    this.#later(() => {
      if (index.slotOf(sequence) === slot && index.stateOf(slot) === SENDING) this.dispatcher.add(slot);
    });
  }

  /** What follows from an attempt: the end, or the next one. */
  async #attempted(over: OverAttempt): Promise<void> {
    const { slot, sequence, route, loaded, attempt, began, result } = over;
    const index = this.index;
    const { outcome } = result;
    const label = outcome.kind === 'answered' ? String(outcome.status) : outcome.error;
    const now = this.now();
    this.#deps.events({ kind: 'attempted', group: route.group, route: route.name, outcome: label, tookMs: now - began });
    const spared = this.outages.note(route.backend, outcome);
    // Cancelled meanwhile: its end is stored, and this attempt's outcome is dropped.
    if (index.slotOf(sequence) !== slot || index.stateOf(slot) === ENDED) return this.dispatcher.attemptOver(slot, false);
    const verdict = verdictOf(outcome, route.success);
    const unfinished = this.#draining && outcome.kind === 'failed' && outcome.error === 'aborted';
    if (unfinished || (this.#released?.waits === false && verdict.kind !== 'done')) return this.#leftOver(slot, sequence);
    const shown = (error: string, nextAt: number): Attempt => ({
      number: attempt,
      at: began,
      status: outcome.kind === 'answered' ? outcome.status : 0,
      error,
      firstBytes: result.firstBytes,
      nextAt,
    });
    if (verdict.kind === 'done') {
      this.dispatcher.attemptOver(slot, false);
      await this.end(slot, 'done', '', shown('', 0), result.response);
    } else if (verdict.kind === 'dead') {
      this.dispatcher.attemptOver(slot, false);
      await this.end(slot, 'dead', verdict.error, shown(verdict.error, 0), result.response);
    } else {
      if (spared) index.setSpared(slot, index.sparedOf(slot) + 1);
      const counted = Math.max(1, attempt - index.sparedOf(slot));
      const ask = {
        attempts: counted,
        firstAttemptAt: index.firstAttemptAtOf(slot),
        nowMs: now,
        retryAfterMs: verdict.retryAfterMs,
        random: this.#deps.random(),
      };
      const due = spared ? now : nextAttemptAt(route.retry, loaded.head.retries, ask);
      const deadline = index.deadlineAtOf(slot);
      const expired = spared && now > index.firstAttemptAtOf(slot) + route.retry.forMs && route.retry.delaysMs === undefined;
      if (due === undefined || expired || (deadline !== 0 && due > deadline)) {
        this.dispatcher.attemptOver(slot, false);
        const error = deadline !== 0 && due !== undefined && due > deadline ? 'deadline' : verdict.error;
        await this.end(slot, 'dead', error, shown(verdict.error, 0), result.response);
        return;
      }
      await this.#retry(slot, route, attempt, due, shown(verdict.error, spared ? 0 : due), verdict.error);
    }
  }

  /** It cannot be loaded. Where others may end it, it is an end that is learned in a moment, or a server that lags behind: nothing is given up for that. */
  async #lost(slot: number): Promise<void> {
    const { index } = this;
    const { shared } = this.#deps;
    const sequence = index.sequenceOf(slot);
    if (shared === undefined) return void (await this.end(slot, 'dead', 'lost', undefined, undefined));
    try {
      const state = await shared.endOf({ sequence, secret: index.secretOf(slot) });
      if (state !== undefined && index.slotOf(sequence) === slot) return this.endedElsewhere(index.row(slot), state);
    } catch (cause) {
      this.storeFailed(cause);
    }
    this.#addLater(slot, sequence);
  }

  async #retry(slot: number, route: DeferredRoute, attempts: number, dueAt: number, attempt: Attempt, error: string): Promise<void> {
    const index = this.index;
    const sequence = index.sequenceOf(slot);
    index.setAttempts(slot, attempts);
    index.setDueAt(slot, dueAt);
    this.#deps.events({ kind: 'retried', group: route.group, route: route.name, error });
    await this.#recorded(
      () => this.store.write({ kind: 'retry', row: index.row(slot), attempt }),
      () => this.#released === undefined && index.slotOf(sequence) === slot && index.stateOf(slot) !== ENDED,
    );
    if (this.#released !== undefined) return this.#leftOver(slot, sequence);
    if (index.slotOf(sequence) !== slot || index.stateOf(slot) === ENDED) return this.dispatcher.attemptOver(slot, false);
    this.dispatcher.attemptOver(slot, true);
  }

  /** Reports the end of an attempt to the process that owns the shard now. */
  #leftOver(slot: number, sequence: number): void {
    if (this.#draining || this.#released !== undefined) this.#deps.shared?.over(sequence);
    this.dispatcher.attemptOver(slot, false);
  }

  /** An ended request whose key is remembered is forgotten at `goneAt`, in milliseconds since 1970. */
  forgetAt(slot: number, goneAt: number): void {
    const { clock } = this.#deps;
    const now = clock.now();
    this.index.leaveList(slot);
    this.#kept.set(this.index.sequenceOf(slot), plus(now, Math.max(0, goneAt - clock.epoch(now)) * MILLISECOND));
  }

  /** Ends a request, once. Returns why it could not be stored; it is tried again until it is, unless it was a cancel. */
  async end(
    slot: number,
    state: RequestEnd['state'],
    error: string,
    attempt: Attempt | undefined,
    response: RequestEnd['response'],
  ): Promise<Refusal | undefined> {
    if (this.index.stateOf(slot) === ENDED) return undefined;
    const sequence = this.index.sequenceOf(slot);
    return this.ends.during(sequence, this.#end(slot, state, error, attempt, response));
  }

  async #end(
    slot: number,
    state: RequestEnd['state'],
    error: string,
    attempt: Attempt | undefined,
    response: RequestEnd['response'],
  ): Promise<Refusal | undefined> {
    const index = this.index;
    const row = index.row(slot);
    const { sequence } = row;
    const route = this.routeOf(slot);
    const now = this.now();
    const keepMs = route === undefined ? 3_600_000 : state === 'dead' ? route.keep.deadMs : route.keep.resultsMs;
    const end: RequestEnd = { sequence, state, at: now, attempts: row.attempts, error, response, goneAt: now + keepMs };
    const before = index.stateOf(slot);
    index.setState(slot, ENDED);
    this.dispatcher.leave(slot);
    let callback: NewCallback | undefined;
    let report: Report | undefined;
    const store = async (): Promise<void> => {
      callback ??= await this.callbacks?.of(row, end, route);
      report ??= await this.#deps.shared?.report(row, end, route);
      await this.store.write(...(callback === undefined ? [] : [callback.write]), { kind: 'end', end, row, attempt, report });
    };
    if (state === 'cancelled') {
      try {
        await store();
      } catch (cause) {
        index.setState(slot, before);
        this.enter(slot);
        return this.unstored(cause);
      }
    } else {
      const recorded = await this.#recorded(store, () => this.#released === undefined || this.now() < this.#released.at + RECORDED_FOR_MS);
      if (!recorded) this.#deps.shared?.over(sequence);
    }
    this.#deps.events({ kind: 'ended', group: row.group, route: row.route, state, error, ageMs: now - row.acceptedAt });
    // The next of an ordered key goes once this end is on disk: a crash before repeats this one first.
    if (row.ordered && (state !== 'dead' || route?.onDead !== 'hold')) this.dispatcher.release(row.group, row.key, row.sequence);
    if (callback !== undefined) this.#callBack(callback);
    if (row.idHash === '' || this.#deps.shared !== undefined) index.remove(slot);
    else this.forgetAt(slot, end.goneAt);
    this.#wake(row.sequence);
    this.#deps.shared?.ended(row.secret);
    return undefined;
  }

  #wake(sequence: number): void {
    const waiting = this.waiters.get(sequence);
    this.waiters.delete(sequence);
    if (waiting !== undefined) for (const wake of waiting) wake();
  }

  #forget(sequence: number): void {
    const slot = this.index.slotOf(sequence);
    if (slot !== NONE && this.index.stateOf(slot) === ENDED) this.index.remove(slot);
  }

  /** One that reported an earlier end of the same request is no longer found by it. */
  #callBack({ row }: NewCallback): void {
    const before = this.index.slotOfHash(row.idHash);
    if (before !== NONE) this.index.forgetHash(before);
    this.callbacks?.add(this.index.add(row));
  }

  /** Stores what has happened already, however long the store fails; gives up when `wanted` returns false, or the process stops: then it returns false. */
  async #recorded(store: () => Promise<void>, wanted: () => boolean): Promise<boolean> {
    for (;;) {
      try {
        await store();
        this.works();
        return true;
      } catch (cause) {
        this.storeFailed(cause);
        if (this.#draining || !wanted()) return false;
        await new Promise<void>((resolve) => this.#later(resolve));
      }
    }
  }

  #later(run: () => void): void {
    const { clock } = this.#deps;
    clock.at(plus(clock.now(), STORE_AGAIN_MS * MILLISECOND), run);
  }

  storeFailed(cause: unknown): void {
    if (!(cause instanceof StoreUnavailable)) this.#deps.onError(cause);
    if (this.#failing) return;
    this.#failing = true;
    this.#deps.events({ kind: 'store_failed', cause });
  }

  works(): void {
    if (!this.#failing) return;
    this.#failing = false;
    this.#deps.events({ kind: 'store_works', cause: undefined });
  }

  routeOf(slot: number): DeferredRoute | undefined {
    return this.#routeNamed(this.index.groupOf(slot), this.index.routeOf(slot));
  }

  #routeNamed(group: string, name: string): DeferredRoute | undefined {
    const routes = this.#deps.routes();
    const named = routes.get(name);
    if (named !== undefined) return named;
    for (const route of routes.values()) if (route.group === group) return route;
    return undefined;
  }

  /** Returns the refusal of a request that could not be stored. */
  unstored(cause: unknown): Refusal {
    this.storeFailed(cause);
    const full = cause instanceof StoreUnavailable && cause.reason === 'full';
    const detail = full ? 'The store for deferred requests is full.' : 'The request could not be stored.';
    return { reason: 'unstored', detail, retryAt: plus(this.#deps.clock.now(), RETRY_AFTER) };
  }
}
