import { type Clock, sleep } from '../admission/clock.ts';
import { MILLISECOND, plus } from '../core/time.ts';
import { Agenda } from './agenda.ts';
import { callbackUrl } from './callback-target.ts';
import type { CallbackTransport } from './callback-transport.ts';
import { callbackVerdict, payloadOf } from './callbacks.ts';
import type { AttemptOutcome } from './deferred-route.ts';
import { type CallbackPolicy, type DeferredRoute, nextAttemptAt } from './deferred-route.ts';
import type { InFlight } from './in-flight.ts';
import { requestId } from './request.ts';
import type { CallbackProgress, PendingCallback, ReportedEnd, SharedStore } from './shared-store.ts';

/** One that cannot be read or recorded is looked at again after this long. */
const AGAIN_MS = 1_000;

/** Dependencies of the callbacks of a shard. */
export interface EndCallbacksDeps {
  readonly store: Pick<SharedStore, 'reported' | 'reportProgress'>;
  readonly clock: Clock;
  readonly transport: CallbackTransport;
  /** Callbacks under way at once, over all shards of the process. */
  readonly inFlight: InFlight;
  readonly routeOf: (row: PendingCallback['row']) => DeferredRoute | undefined;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly onError: (error: unknown) => void;
}

/**
 * Reports the ends of a shard's requests to the URLs that they named. Nothing is stored for a callback but the end itself, which says that
 * one is owed, and then how far it has come (docs/decisions/0018): the owner that finds an end without a final record sends its
 * callback, so a crash repeats one at most, under the same id.
 */
export class EndCallbacks {
  readonly #deps: EndCallbacksDeps;
  /** Those that are owed, by the sequence of their request. */
  readonly #pending = new Map<number, PendingCallback>();
  readonly #due: Agenda;
  readonly #ready: number[] = [];
  readonly #aborts = new Set<AbortController>();
  #stopped = false;
  readonly #start = (): void => this.#next();

  constructor(deps: EndCallbacksDeps) {
    this.#deps = deps;
    this.#due = new Agenda(deps.clock, (sequence) => {
      this.#ready.push(sequence);
      this.#next();
    });
  }

  /** A callback is owed: it is sent when it is due. */
  add(callback: PendingCallback): void {
    if (this.#stopped) return;
    const { row, progress } = callback;
    this.#pending.set(row.sequence, callback);
    const { clock } = this.#deps;
    const now = clock.now();
    const waitMs = progress.dueAt - clock.epoch(now);
    if (waitMs > 0) return this.#due.set(row.sequence, plus(now, waitMs * MILLISECOND));
    this.#ready.push(row.sequence);
    this.#next();
  }

  /** Sends nothing any more; what is on its way is given up, and the next owner sends it again. */
  stop(): void {
    this.#stopped = true;
    this.#due.stop();
    this.#pending.clear();
    for (const abort of this.#aborts) abort.abort();
  }

  #next(): void {
    const { inFlight, onError } = this.#deps;
    while (!this.#stopped && this.#ready.length > 0) {
      if (!inFlight.take(this.#start)) return;
      const callback = this.#pending.get(this.#ready.shift() as number);
      if (callback === undefined) {
        inFlight.release();
        continue;
      }
      const abort = new AbortController();
      this.#aborts.add(abort);
      this.#attempt(callback, abort)
        .catch((cause: unknown) => {
          onError(cause);
          this.#again(callback);
        })
        .finally(() => {
          this.#aborts.delete(abort);
          inFlight.release();
        });
    }
  }

  async #attempt(callback: PendingCallback, abort: AbortController): Promise<void> {
    const { store, clock, routeOf } = this.#deps;
    const { row, progress, until } = callback;
    const policy = routeOf(row)?.callback;
    // Its route is gone, or has no callback any more: it waits until the configuration is corrected.
    if (policy === undefined) return this.#again(callback);
    const found = await store.reported(callback).catch(() => 'unknown' as const);
    if (found === 'unknown') return this.#again(callback);
    if (found === undefined) return this.#forget(callback);
    const began = clock.epoch(clock.now());
    const outcome = began > until ? ({ kind: 'failed', error: 'expired' } as const) : await this.#send(callback, found, policy, abort);
    if (this.#stopped || this.#pending.get(row.sequence) !== callback) return;
    const attempts = progress.attempts + 1;
    const firstAttemptAt = progress.firstAttemptAt || began;
    const verdict = callbackVerdict(outcome);
    const nowMs = clock.epoch(clock.now());
    const ask = { attempts, firstAttemptAt, nowMs, retryAfterMs: undefined, random: this.#deps.random() };
    const nextAt = verdict.kind === 'retry' && nowMs < until ? nextAttemptAt(policy.retry, undefined, ask) : undefined;
    const state = nextAt !== undefined ? 'pending' : verdict.kind === 'done' ? 'done' : 'dead';
    await this.#record(callback, { ...progress, state, attempts, firstAttemptAt, dueAt: nextAt ?? 0 });
  }

  async #send(callback: PendingCallback, { row, end, report }: ReportedEnd, policy: CallbackPolicy, abort: AbortController): Promise<AttemptOutcome> {
    const { clock, transport } = this.#deps;
    const url = callbackUrl(report.url, policy);
    if (!(url instanceof URL)) return { kind: 'failed', error: 'not_allowed' };
    const body = Buffer.from(payloadOf(row, end));
    const nowMs = clock.epoch(clock.now());
    const signed = policy.sign({ id: callbackId(callback), nowMs, body });
    const stop = clock.at(plus(clock.now(), policy.timeoutMs * MILLISECOND), () => abort.abort());
    const headers = ['Content-Type', 'application/json', 'User-Agent', 'sluice', ...signed];
    const { outcome } = await transport({ url, headers, body, addresses: policy.addresses, signal: abort.signal });
    stop();
    return outcome;
  }

  /** What cannot be recorded is recorded later, without being sent again by this owner. */
  async #record(callback: PendingCallback, progress: CallbackProgress): Promise<void> {
    const { store, clock } = this.#deps;
    const next = { ...callback, progress };
    if (progress.state === 'pending') {
      // Where it cannot be recorded, memory goes on: after a takeover it is only sent again sooner.
      await store.reportProgress(next).catch(() => undefined);
      if (this.#pending.get(callback.row.sequence) === callback) this.add(next);
      return;
    }
    for (; !this.#stopped; await sleep(clock, AGAIN_MS * MILLISECOND)) {
      try {
        await store.reportProgress(next);
        return this.#forget(callback);
      } catch {
        // Tried again: no other process may send it meanwhile.
      }
    }
  }

  #forget(callback: PendingCallback): void {
    if (this.#pending.get(callback.row.sequence) === callback) this.#pending.delete(callback.row.sequence);
  }

  #again(callback: PendingCallback): void {
    const { clock } = this.#deps;
    if (this.#stopped || this.#pending.get(callback.row.sequence) !== callback) return;
    this.#due.set(callback.row.sequence, plus(clock.now(), AGAIN_MS * MILLISECOND));
  }
}

/** The same for every attempt at the callback of one end, by whichever owner. */
function callbackId({ row, progress }: PendingCallback): string {
  return `${requestId(row.sequence, row.secret)}-${progress.endedAt.toString(36)}`;
}
