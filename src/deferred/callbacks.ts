import { createHash } from 'node:crypto';
import type { Clock } from '../admission/clock.ts';
import { ONE_REQUEST, PRIORITY_DEFERRED } from '../core/group.ts';
import { MILLISECOND, plus } from '../core/time.ts';
import { Agenda } from './agenda.ts';
import type { BatchedStore, Write } from './batched-store.ts';
import { callbackUrl } from './callback-target.ts';
import type { CallbackTransport } from './callback-transport.ts';
import { type CallbackPolicy, type DeferredRoute, nextAttemptAt, type Verdict } from './deferred-route.ts';
import type { AttemptResult } from './delivery.ts';
import { type Attempt, type RequestEnd, type RequestHead, type RequestRow, requestId } from './request.ts';
import { ENDED, NONE, PENDING, type RequestIndex, SENDING } from './request-index.ts';
import { randomSecret } from './secret.ts';

/** Callbacks on their way at once, of all routes. */
const IN_FLIGHT_MAX = 64;
/** One that cannot be stored or loaded is looked at again after this long. */
const AGAIN_MS = 1_000;

/** Dependencies of callbacks. */
export interface CallbacksDeps {
  readonly index: RequestIndex;
  readonly store: BatchedStore;
  readonly clock: Clock;
  readonly transport: CallbackTransport;
  /** A sequence that was never used. */
  readonly sequence: () => Promise<number>;
  readonly routeOf: (slot: number) => DeferredRoute | undefined;
  /** Ends a callback: stores it, whatever the store does meanwhile. */
  readonly end: (slot: number, state: 'done' | 'dead', error: string, attempt: Attempt) => Promise<unknown>;
  readonly random: () => number;
  readonly onError: (error: unknown) => void;
}

/** A callback as it is stored together with the end that it reports. */
export interface NewCallback {
  readonly row: RequestRow;
  readonly write: Extract<Write, { kind: 'submit' }>;
}

/**
 * Reports ends to the URLs that requests named. A callback is a row of its own, stored in the same commit as the end (crash point C6 of
 * docs/decisions/0022 loses none), with retries of its own; it is in no queue and costs its group nothing.
 */
export class Callbacks {
  readonly #deps: CallbacksDeps;
  readonly #due: Agenda;
  readonly #ready: number[] = [];
  readonly #aborts = new Set<AbortController>();
  #stopped = false;

  constructor(deps: CallbacksDeps) {
    this.#deps = deps;
    this.#due = new Agenda(deps.clock, (sequence) => {
      this.#ready.push(sequence);
      this.#next();
    });
  }

  /** Takes up those that the store had. */
  begin(): void {
    const { index } = this.#deps;
    for (const slot of [...index.callbacks()]) this.add(slot);
  }

  /** A callback that is stored is sent when it is due. */
  add(slot: number): void {
    const { index, clock } = this.#deps;
    index.setState(slot, PENDING);
    const now = clock.now();
    const waitMs = index.dueAtOf(slot) - clock.epoch(now);
    if (waitMs > 0) return this.#due.set(index.sequenceOf(slot), plus(now, waitMs * MILLISECOND));
    this.#ready.push(index.sequenceOf(slot));
    this.#next();
  }

  /** What is to be stored with an end; undefined: the request named no URL, or its route reports to none any more. */
  async of(row: RequestRow, end: RequestEnd, route: DeferredRoute | undefined): Promise<NewCallback | undefined> {
    const { store, clock } = this.#deps;
    if (route?.callback === undefined || row.callbackOf !== 0) return undefined;
    const loaded = await store.store.load(row.sequence);
    const url = loaded === undefined || loaded.head.callback === '' ? undefined : callbackUrl(loaded.head.callback, route.callback);
    if (!(url instanceof URL) || loaded === undefined) return undefined;
    const sequence = await this.#deps.sequence();
    const body = Buffer.from(payloadOf(row, end));
    const callback: RequestRow = {
      ...row,
      ...{ sequence, secret: randomSecret(), priority: PRIORITY_DEFERRED, costs: ONE_REQUEST, callbackOf: row.sequence },
      ...{ acceptedAt: clock.epoch(clock.now()), dueAt: 0, deadlineAt: 0, firstAttemptAt: 0, attempts: 0, spared: 0, ordered: false },
      ...{ idHash: callbackHash(row.sequence), requestHash: '0'.repeat(16) },
    };
    const head: RequestHead = {
      host: url.host,
      method: 'POST',
      target: `${url.pathname}${url.search}`,
      headers: ['Content-Type', 'application/json', 'User-Agent', 'sluice'],
      ...{ bodyBytes: body.byteLength, timeoutMs: undefined, retries: undefined, callback: loaded.head.callback },
    };
    return { row: callback, write: { kind: 'submit', row: callback, head, body } };
  }

  /** The callback of a request: NONE if it has none that is known. */
  slotOf(sequence: number): number {
    return this.#deps.index.slotOfHash(callbackHash(sequence));
  }

  /** Sends nothing any more; what is on its way is given up, and sent again after a start. */
  stop(): void {
    this.#stopped = true;
    this.#due.stop();
    for (const abort of this.#aborts) abort.abort();
  }

  #next(): void {
    while (!this.#stopped && this.#aborts.size < IN_FLIGHT_MAX) {
      const sequence = this.#ready.shift();
      if (sequence === undefined) return;
      const slot = this.#deps.index.slotOf(sequence);
      if (slot === NONE || this.#deps.index.stateOf(slot) !== PENDING) continue;
      const abort = new AbortController();
      this.#aborts.add(abort);
      this.#attempt(slot, sequence, abort)
        .catch((cause: unknown) => {
          this.#deps.onError(cause);
          this.#again(slot, sequence);
        })
        .finally(() => {
          this.#aborts.delete(abort);
          this.#next();
        });
    }
  }

  async #attempt(slot: number, sequence: number, abort: AbortController): Promise<void> {
    const { index, clock, store, routeOf, transport } = this.#deps;
    const policy = routeOf(slot)?.callback;
    // Its route is gone, or has no callback any more: it waits until the configuration is corrected.
    if (policy === undefined) return this.#again(slot, sequence);
    index.setState(slot, SENDING);
    const loaded = await store.store.load(sequence);
    const url = loaded === undefined ? undefined : callbackUrl(loaded.head.callback, policy);
    const began = clock.epoch(clock.now());
    if (index.firstAttemptAtOf(slot) === 0) index.setFirstAttemptAt(slot, began);
    const attempts = index.attemptsOf(slot) + 1;
    let result: Pick<AttemptResult, 'outcome' | 'firstBytes'> = { outcome: { kind: 'failed', error: 'not_allowed' }, firstBytes: new Uint8Array(0) };
    if (url instanceof URL && loaded !== undefined) {
      const pieces: Uint8Array[] = [];
      for await (const piece of loaded.body()) pieces.push(piece);
      const body = Buffer.concat(pieces);
      const signed = policy.sign({ id: requestId(sequence, index.secretOf(slot)), nowMs: began, body });
      const stop = clock.at(plus(clock.now(), policy.timeoutMs * MILLISECOND), () => abort.abort());
      result = await transport({ url, headers: [...loaded.head.headers, ...signed], body, addresses: policy.addresses, signal: abort.signal });
      stop();
    }
    if (this.#stopped || index.slotOf(sequence) !== slot || index.stateOf(slot) !== SENDING) return;
    index.setAttempts(slot, attempts);
    await this.#attempted(slot, policy, { attempts, began, result });
  }

  async #attempted(
    slot: number,
    policy: CallbackPolicy,
    { attempts, began, result }: { readonly attempts: number; readonly began: number; readonly result: Pick<AttemptResult, 'outcome' | 'firstBytes'> },
  ): Promise<void> {
    const { index, clock, random, end, store } = this.#deps;
    const { outcome, firstBytes } = result;
    const verdict = callbackVerdict(outcome);
    const nowMs = clock.epoch(clock.now());
    const ask = { attempts, firstAttemptAt: index.firstAttemptAtOf(slot), nowMs, retryAfterMs: undefined, random: random() };
    const nextAt = verdict.kind === 'retry' ? nextAttemptAt(policy.retry, undefined, ask) : undefined;
    const error = verdict.kind === 'done' ? '' : verdict.error;
    const shown: Attempt = { number: attempts, at: began, status: outcome.kind === 'answered' ? outcome.status : 0, error, firstBytes, nextAt: nextAt ?? 0 };
    if (nextAt === undefined) {
      await end(slot, verdict.kind === 'done' ? 'done' : 'dead', error, shown);
      return;
    }
    index.setDueAt(slot, nextAt);
    // Where the store fails its memory goes on: after a crash it is only sent again sooner.
    await store.write({ kind: 'retry', row: index.row(slot), attempt: shown }).catch(this.#deps.onError);
    if (index.stateOf(slot) === SENDING) this.add(slot);
  }

  #again(slot: number, sequence: number): void {
    const { index, clock } = this.#deps;
    if (this.#stopped || index.slotOf(sequence) !== slot || index.stateOf(slot) === ENDED) return;
    index.setState(slot, PENDING);
    this.#due.set(sequence, plus(clock.now(), AGAIN_MS * MILLISECOND));
  }
}

/** Anything but 2xx is sent again, a redirect too; 410 means that the receiver is gone. */
export function callbackVerdict(outcome: AttemptResult['outcome']): Verdict {
  if (outcome.kind === 'failed') return { kind: 'retry', error: outcome.error, retryAfterMs: undefined };
  const error = `status_${outcome.status}`;
  if (outcome.status >= 200 && outcome.status < 300) return { kind: 'done' };
  return outcome.status === 410 ? { kind: 'dead', error } : { kind: 'retry', error, retryAfterMs: undefined };
}

/** Finds the callback of a request, as a key finds a request. */
function callbackHash(sequence: number): string {
  return createHash('sha256').update(`callback\u0000${sequence}`).digest('hex').slice(0, 16);
}

/** The event, as Standard Webhooks has payloads: what ended, how, and the answer that is kept of it. */
export function payloadOf(row: RequestRow, { state, at, attempts, error, response }: RequestEnd): string {
  const headers: [string, string][] = [];
  for (let i = 0; response !== undefined && i < response.headers.length; i += 2)
    headers.push([response.headers[i] as string, response.headers[i + 1] as string]);
  const answer = response && { status: response.status, headers, body: Buffer.from(response.body).toString('base64'), truncated: response.truncated };
  const data = { id: requestId(row.sequence, row.secret), state, group: row.group, key: row.key, route: row.route, attempts, error, response: answer };
  return JSON.stringify({ type: `request.${state}`, timestamp: new Date(at).toISOString(), data });
}
