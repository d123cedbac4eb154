import { Readable } from 'node:stream';
import type { AcquireHandle, AdmissionService, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import type { WatchLater } from '../proxy/body/watch-later.ts';
import { readsAnswer } from '../proxy/costs.ts';
import type { Forwarding } from '../proxy/forwarding.ts';
import { firstHeader } from '../proxy/headers.ts';
import type { ForwardFailure, ForwardHandle, IncomingRequest, ResponseSink } from '../proxy/incoming.ts';
import { PermitHandle } from '../proxy/permit-handle.ts';
import { parseRetryAfter } from '../proxy/retry-after.ts';
import type { BackendHead, RawHeaders } from '../proxy/upstream/forwarder.ts';
import { UsageParser } from '../proxy/usage.ts';
import type { AttemptOutcome, DeferredRoute } from './deferred-route.ts';
import type { StoredResponse } from './request.ts';
import type { LoadedRequest } from './store.ts';

/** First bytes of an answer that an attempt shows. */
const FIRST_BYTES_MAX = 256;
/** A body up to this size is read whole before it is sent, so that a signature can cover it and a piece more costs no stream. */
const WHOLE_BYTES_MAX = 64 << 10;
const NO_BYTES = new Uint8Array(0);
const NO_PARAMS: ReadonlyMap<string, string> = new Map();

/** Dependencies of deliveries. */
export interface DeliveryDeps {
  readonly admission: AdmissionService;
  readonly clock: Clock;
  readonly forwarding: Pick<Forwarding, 'deliver'>;
  readonly passes: WatchLater;
  readonly onError: (error: unknown) => void;
  /** A rule that settles costs found nothing in the answer. */
  readonly costMissing: (route: string, unit: string) => void;
}

/** One attempt, armed already. */
export interface AttemptAsk {
  readonly id: string;
  /** The credential that submitted it. */
  readonly caller: string;
  readonly route: DeferredRoute;
  readonly loaded: LoadedRequest;
  /** The body where it is small and could be read: the attempt then begins before {@link startAttempt} returns. */
  readonly whole: Uint8Array | undefined;
  /** 1 for the first. */
  readonly attempt: number;
  readonly timeoutMs: number;
  readonly admitted: Extract<Outcome, { kind: 'admitted' }>;
  readonly held: AcquireHandle;
}

/** How an attempt went. */
export interface AttemptResult {
  readonly outcome: AttemptOutcome;
  readonly response: StoredResponse | undefined;
  readonly firstBytes: Uint8Array;
}

/** An attempt on its way. */
export interface RunningAttempt {
  /** Resolves once, whatever becomes of it; the permit is released by then. */
  readonly result: Promise<AttemptResult>;
  /** Gives it up, as the backend's `onAbort` defines. */
  abort(): void;
}

/** Sends one stored request for the permit it was given, and releases the permit with the costs that the response reports. */
export function startAttempt(deps: DeliveryDeps, ask: AttemptAsk): RunningAttempt {
  const attempt = new OneAttempt(deps, ask);
  attempt.begin();
  return attempt;
}

/** Returns the body of a request up to 64 KiB; undefined if it is larger, or cannot be read: the attempt then reports why. */
export async function smallBodyOf(loaded: LoadedRequest): Promise<Uint8Array | undefined> {
  if (loaded.head.bodyBytes > WHOLE_BYTES_MAX) return undefined;
  return loaded.head.bodyBytes === 0 ? NO_BYTES : wholeOf(loaded.body()).catch(() => undefined);
}

class OneAttempt implements ResponseSink, RunningAttempt {
  readonly result: Promise<AttemptResult>;
  readonly #deps: DeliveryDeps;
  readonly #ask: AttemptAsk;
  readonly #pass: PermitHandle;
  #resolve!: (result: AttemptResult) => void;
  #delivery: ForwardHandle | undefined;
  #stopTimer: (() => void) | undefined;
  #head: BackendHead | undefined;
  #settler: UsageParser | undefined;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #truncated = false;
  #over = false;

  constructor(deps: DeliveryDeps, ask: AttemptAsk) {
    this.#deps = deps;
    this.#ask = ask;
    this.result = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const facts = { facts: { caller: ask.caller } };
    const permitDeps = { admission: deps.admission, clock: deps.clock, onError: deps.onError, passes: deps.passes };
    this.#pass = new PermitHandle({ deps: permitDeps, incoming: facts }, ask.held, ask.admitted, { onLost: () => this.#fail('fenced') });
  }

  /** Sends it before it returns, unless its body is to be read first: a signature covers all of it. */
  begin(): void {
    const { whole, loaded, route, timeoutMs } = this.#ask;
    const { clock } = this.#deps;
    this.#stopTimer = clock.at((clock.now() + timeoutMs * MILLISECOND) as ReturnType<Clock['now']>, () => this.#fail('timeout'));
    const failed = (cause: unknown): void => {
      this.#deps.onError(cause);
      this.#fail('store');
    };
    const small = loaded.head.bodyBytes <= WHOLE_BYTES_MAX;
    if (whole === undefined && (small || route.sign !== undefined)) {
      wholeOf(loaded.body())
        .then((body) => this.#send(body, small))
        .catch(failed);
      return;
    }
    try {
      this.#send(whole, small);
    } catch (cause) {
      failed(cause);
    }
  }

  #send(whole: Uint8Array | undefined, small: boolean): void {
    if (!this.#over) this.#delivery = this.#deps.forwarding.deliver(this.#incoming(whole, small), this.#ask.route.forward, this);
  }

  abort(): void {
    this.#fail('aborted');
  }

  onInformation(): void {}

  onHead(head: BackendHead): void {
    this.#head = head;
    const { costs } = this.#ask.route;
    if (costs.length > 0) this.#settler = UsageParser.of(costs, firstHeader(head.headers, 'content-type'), firstHeader(head.headers, 'content-encoding'));
  }

  onData(chunk: Uint8Array): boolean {
    this.#settler?.take(chunk);
    const room = Math.max(this.#ask.route.resultBytesMax, FIRST_BYTES_MAX) - this.#keptBytes;
    if (chunk.byteLength > room) this.#truncated = true;
    if (room <= 0) return true;
    const kept = Uint8Array.from(chunk.subarray(0, room));
    this.#kept.push(kept);
    this.#keptBytes += kept.byteLength;
    return true;
  }

  onEnd(): void {
    const head = this.#head;
    if (head === undefined) return this.#fail('invalid');
    const { clock } = this.#deps;
    const pushedBack = head.status === 429 || head.status === 503;
    const hint = pushedBack ? parseRetryAfter(head.headers, clock.epoch(clock.now())) : undefined;
    const retryAfterMs = hint === undefined ? undefined : Math.ceil(hint / MILLISECOND);
    this.#finish({ kind: 'answered', status: head.status, retryAfterMs }, pushedBack, hint);
  }

  onNone(why: ForwardFailure): void {
    if (why.kind === 'failed') return this.#fail(why.status === 503 ? 'connect' : why.status === 504 ? 'timeout' : 'reset');
    this.#fail(why.kind === 'refused' ? why.refusal.reason : 'invalid');
  }

  onBroken(): void {
    this.#fail('reset');
  }

  #incoming(whole: Uint8Array | undefined, small: boolean): IncomingRequest {
    const { id, route, loaded, attempt, admitted } = this.#ask;
    const { head } = loaded;
    const signed = route.sign === undefined ? [] : route.sign({ id, nowMs: this.#deps.clock.epoch(this.#deps.clock.now()), body: whole ?? NO_BYTES });
    const { lease } = admitted.permit;
    return {
      method: head.method,
      target: head.target,
      headers: [...hostOf(head), ...withKey(without(identityOf(head.headers, route), signed), id), ...signed],
      body: bodyOf(head.bodyBytes, small ? whole : undefined, loaded),
      facts: { params: NO_PARAMS, caller: this.#ask.caller, clientIp: '', peerIp: '', peerTrusted: false, scheme: 'http' },
      wait: undefined,
      sent: { id, attemptsBefore: attempt - 1, fence: lease === undefined ? undefined : { fence: lease.fence, floor: lease.fenceFloor } },
    };
  }

  #fail(error: string): void {
    if (this.#over) return;
    const delivery = this.#delivery;
    this.#finish({ kind: 'failed', error }, false, undefined);
    delivery?.leave();
  }

  #finish(outcome: AttemptOutcome, pushedBack: boolean, hint: Micros | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopTimer?.();
    const { route } = this.#ask;
    const costs = this.#settler?.costs((unit) => this.#deps.costMissing(route.name, unit));
    const released = pushedBack && route.pushback === 'group' ? this.#pass.releasePushedBack(hint) : this.#pass.release(costs);
    const body = Buffer.concat(this.#kept);
    const head = this.#head;
    const response =
      head === undefined || outcome.kind === 'failed'
        ? undefined
        : {
            status: head.status,
            headers: head.headers,
            body: body.subarray(0, route.resultBytesMax),
            truncated: this.#truncated || body.byteLength > route.resultBytesMax,
          };
    void released.finally(() => this.#resolve({ outcome, response, firstBytes: body.subarray(0, FIRST_BYTES_MAX) }));
  }
}

/** The same `Idempotency-Key` on every attempt: the client's own, else the request's id. */
function withKey(headers: RawHeaders, id: string): RawHeaders {
  return firstHeader(headers, 'idempotency-key') === undefined ? [...headers, 'Idempotency-Key', `"${id}"`] : headers;
}

/** `Host`, where the fields do not have it. */
function hostOf({ host, headers }: LoadedRequest['head']): RawHeaders {
  return host === '' || firstHeader(headers, 'host') !== undefined ? [] : ['Host', host];
}

/** Fields without those that others of the same names take the place of: a provider's own signature beside ours would make neither readable. */
function without(headers: RawHeaders, others: RawHeaders): RawHeaders {
  if (others.length === 0) return headers;
  const names = new Set(others.filter((_each, i) => i % 2 === 0));
  return headers.filter((_each, i) => !names.has((headers[i - (i % 2)] as string).toLowerCase()));
}

/** Requests a response that is not compressed if its body contains what the request cost. */
function identityOf(headers: RawHeaders, { costs }: DeferredRoute): RawHeaders {
  if (!readsAnswer(costs)) return headers;
  const others = headers.filter((_each, i) => (headers[i - (i % 2)] as string).toLowerCase() !== 'accept-encoding');
  return [...others, 'Accept-Encoding', 'identity'];
}

function bodyOf(bytes: number, whole: Uint8Array | undefined, loaded: LoadedRequest): IncomingRequest['body'] {
  if (bytes === 0) return undefined;
  return { length: bytes, stream: Readable.from(whole === undefined ? loaded.body() : [whole], { objectMode: false }), wanted: () => {} };
}

async function wholeOf(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return all.length === 1 ? (all[0] as Uint8Array) : Buffer.concat(all);
}
