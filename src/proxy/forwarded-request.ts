import type { AdmissionRequest } from '../admission/admission.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, MILLISECOND, type Micros } from '../core/time.ts';
import { readsAnswer } from './costs.ts';
import type { Place } from './deferral.ts';
import { addResponseHeaders, requestHeaders, responseHeaders } from './headers.ts';
import type { ForwardFailure, ForwardHandle, ResponseSink } from './incoming.ts';
import type { PermitHandle } from './permit-handle.ts';
import { type ForwardedRequestDeps, RequestAdmission, type RequestAdmissionCallbacks } from './request-admission.ts';
import { type ResponseOwner, ResponseRelay } from './response.ts';
import { canRetry, dialsEnough, healthOf, lineRefusal, toFailure } from './retry-policy.ts';
import type { CostRule } from './route.ts';
import type { Backend } from './upstream/backend.ts';
import type { Attempt, BackendHead, BackendSink, RawHeaders, Sending } from './upstream/forwarder.ts';
import type { Health, UrlReservation, UrlWaiter } from './upstream/load-balancer.ts';
import { UrlWait } from './upstream/url-wait.ts';

const NO_URLS: ReadonlySet<number> = new Set();
const NO_URL = -1;
const NO_COSTS: readonly CostRule[] = [];

/**
 * One request from the listener to its answer. Whatever happens it ends once: the sink is called, or its caller has left; the
 * body is dropped, the URL given back, the pass ended.
 */
export class ForwardedRequest implements ForwardHandle, BackendSink, RequestAdmissionCallbacks, ResponseOwner, UrlWaiter {
  readonly #all: ForwardedRequestDeps<ResponseSink>;
  readonly #requestAdmission: RequestAdmission;
  #line: Backend;
  #pass: PermitHandle | undefined;
  #turn: UrlReservation | undefined;
  #sending: Sending | undefined;
  /** `forward` has returned. */
  #begun = false;
  /** An attempt that was over before. */
  #early: Attempt | undefined;
  #answer: ResponseRelay | undefined;
  /** URLs of failed attempts: others come first. */
  #tried: Set<number> | undefined;
  /** URLs that could not be connected to with this permit: each is dialled once. */
  #refused: Set<number> | undefined;
  /** Why the last dial failed. */
  #unreached: Extract<Attempt, { kind: 'failed' }> | undefined;
  #url = 0;
  /** It is in line for a URL, or was. */
  #wait: UrlWait | undefined;
  #attempts = 0;
  /** Attempts of which no byte reached a backend. */
  #unsentAttempts = 0;
  #sentAt = 0 as Instant;
  #queued: Micros = 0;
  #left = false;
  #over = false;
  #lost: Error | undefined;

  constructor(all: ForwardedRequestDeps<ResponseSink>) {
    this.#all = all;
    this.#line = all.line;
    this.#requestAdmission = new RequestAdmission(all, this);
  }

  /** Begins; the sink may be called before this returns. */
  begin(): void {
    this.#requestAdmission.begin();
  }

  leave(): void {
    if (this.#over || this.#left) return;
    this.#left = true;
    this.#requestAdmission.leave();
    if (this.#sending === undefined) {
      this.#pass?.rollback();
      this.#finish();
    } else if (this.#line.spec.onAbort === 'cancel') this.#sending.abort(new Error('The caller left.'));
    else this.#answer?.leave();
  }

  onAdmitted(pass: PermitHandle | undefined): void {
    try {
      this.#pass = pass;
      if (this.#over) pass?.rollback();
      else this.#choose();
    } catch (error) {
      this.#threw(error);
    }
  }

  onNone(why: ForwardFailure): void {
    if (this.#over) return;
    this.#all.trace?.failed(why);
    this.#finish();
    if (!this.#left) this.#all.sink.onNone(why);
  }

  onGone(): void {
    this.#finish();
  }

  onDeferred(place: Place | undefined, ask: AdmissionRequest | Refusal): void {
    if (this.#over) return;
    this.#over = true;
    this.#all.trace?.end();
    this.#all.over(this.#line);
    this.#all.incoming.deferral?.take({ body: this.#all.body, ask, place, attempts: this.#attempts });
  }

  onLost(cause: Error): void {
    this.#lost = cause;
    if (this.#sending !== undefined) return this.#sending.abort(cause);
    // In line for a URL.
    this.#pass?.rollback();
    this.onNone({ kind: 'refused', refusal: { reason: 'fenced' }, attempts: this.#attempts });
  }

  retry(pause: Micros): boolean {
    const { deps, route } = this.#all;
    const waits = Math.min(pause, route.admission?.pushbackMax ?? 0);
    const replayed = this.#pass !== undefined && this.#mayFollow && waits < this.#requestAdmission.left;
    deps.events({ kind: 'pushback', route: route.name, backend: this.#line.spec.name, retryAfter: pause, replayed });
    return replayed;
  }

  abort(cause: Error): void {
    this.#sending?.abort(cause);
  }

  onInformation(head: BackendHead): void {
    this.#turn?.responding();
    const headers = this.#left ? undefined : responseHeaders(head.headers);
    if (headers !== undefined) this.#all.sink.onInformation({ ...head, headers });
  }

  onHead(head: BackendHead): void {
    const { deps, route, body, trace } = this.#all;
    this.#turn?.responding();
    trace?.responded(head.status);
    this.#answer = new ResponseRelay({
      head,
      costs: route.admission?.costs ?? NO_COSTS,
      quotaHeaders: this.#line.spec.quotaHeaders,
      clock: deps.clock,
      sink: this.#left ? undefined : this.#all.sink,
      run: this,
    });
    this.#answer.begin();
    if (this.#answer.sent) body?.spent();
  }

  addHeaders(headers: string[]): void {
    const queuedMs = this.#all.route.admission === undefined ? undefined : this.#queued / MILLISECOND;
    addResponseHeaders(headers, queuedMs, this.#attempts, this.#pass);
  }

  onData(chunk: Uint8Array, resume: () => void): boolean {
    return this.#answer?.data(chunk, resume) ?? true;
  }

  onEnd(trailers: RawHeaders): void {
    this.#answer?.end(trailers);
  }

  #choose(): void {
    const line = this.#line.moved();
    if (line !== this.#line) this.#tried = this.#refused = undefined;
    this.#line = line;
    this.#url = NO_URL;
    this.#turn = line.choice.take(this.#all.deps.clock.now(), this.#tried ?? NO_URLS, this, this.#refused);
    if (this.#url !== NO_URL) this.#send();
    else if (this.#turn === undefined) this.onNoUrl();
    else {
      this.#wait ??= new UrlWait();
      this.#wait.begin(this.#all, line, this.#requestAdmission.left, (reason) => this.#notServed(reason));
    }
  }

  /** It was in line for a URL, and is no longer. */
  #notServed(reason: 'shed' | 'expired'): void {
    if (this.#over) return;
    this.#giveBack(this.#all.deps.clock.now(), 'unknown');
    this.#pass?.rollback();
    this.onNone(lineRefusal(reason, this.#attempts));
  }

  onUrl(url: number): void {
    this.#url = url;
    this.#wait?.end();
    // Else it is known before it is waited for.
    if (this.#turn === undefined) return;
    try {
      this.#send();
    } catch (error) {
      this.#threw(error);
    }
  }

  onNoUrl(): void {
    this.#turn = undefined;
    this.#wait?.end();
    this.#pass?.rollback();
    const cause = new Error('There is no URL left to send this request to.');
    this.#failed(this.#unreached ?? { kind: 'failed', sent: false, why: 'connect', cause });
  }

  #send(): void {
    const { deps, incoming, body, route, trace } = this.#all;
    const { method, target, facts } = incoming;
    const { drops } = route;
    const lease = this.#pass?.permit.lease;
    const attempt = this.#attempts + 1;
    const fence = lease === undefined ? incoming.sent?.fence : { fence: lease.fence, floor: lease.fenceFloor };
    const number = attempt + (incoming.sent?.attemptsBefore ?? 0);
    const identity = readsAnswer(route.admission?.costs ?? NO_COSTS);
    const { traceparent } = deps;
    const span = trace?.forward(this.#line.spec.name, this.#line.spec.urls[this.#url] ?? '', number);
    const headers = requestHeaders(incoming.headers, { facts, attempt: number, fence, identity, drops, traceparent, span, requestId: incoming.sent?.id });
    if (headers === undefined) {
      this.#pass?.rollback();
      return this.onNone({ kind: 'malformed', detail: 'A header of this request holds a control character or a name that is none.' });
    }
    this.#attempts = attempt;
    this.#answer = undefined;
    this.#sentAt = deps.clock.now();
    this.#queued = this.#requestAdmission.queuedUntil(this.#sentAt) ?? 0;
    this.#sending = this.#early = undefined;
    this.#begun = false;
    const sending = this.#line.forwarder.forward({ method, target, headers, body }, this.#url, this);
    this.#begun = true;
    if (this.#early !== undefined) this.#ended(this.#early);
    else this.#sending = sending;
  }

  onAttempt(attempt: Attempt): void {
    if (!this.#begun) {
      this.#early = attempt;
      return;
    }
    try {
      this.#ended(attempt);
    } catch (error) {
      this.#threw(error);
    }
  }

  #ended(attempt: Attempt): void {
    this.#sending = undefined;
    const { deps, route } = this.#all;
    const { spec } = this.#line;
    const outcome = attempt.kind === 'failed' ? attempt.why : attempt.kind;
    const now = deps.clock.now();
    const took = now - this.#sentAt;
    deps.events({ kind: 'attempt', route: route.name, backend: spec.name, url: spec.urls[this.#url] ?? '', outcome, took });
    this.#all.trace?.attempted(outcome);
    this.#giveBack(now, healthOf(attempt));
    const answer = this.#answer;
    if (answer?.replays) return void this.#again(this.#pass?.releasePushedBack(answer.hint));
    if (attempt.kind === 'answered') return this.#answered();
    if (attempt.kind === 'failed' && !attempt.sent) return this.#unsent(attempt);
    this.#broke(attempt);
  }

  /** The response is complete, and sent. */
  #answered(): void {
    const { deps, route } = this.#all;
    const answer = this.#answer;
    const quiet = answer?.exhausted;
    if (quiet !== undefined) deps.events({ kind: 'pushback', route: route.name, backend: this.#line.spec.name, retryAfter: quiet, replayed: false });
    if (answer?.pushedBack) void this.#pass?.releasePushedBack(answer.hint);
    else
      void this.#pass?.release(
        answer?.costs((unit) => deps.events({ kind: 'cost_missing', route: route.name, unit, stage: 'settle' })),
        quiet,
      );
    this.#finish();
  }

  /** No byte reached a backend: another URL, with the same permit. Each is dialled once. */
  #unsent(attempt: Extract<Attempt, { kind: 'failed' }>): void {
    const { body, route } = this.#all;
    this.#unsentAttempts++;
    this.#unreached = attempt;
    this.#triedHere();
    this.#refused ??= new Set();
    this.#refused.add(this.#url);
    const late = dialsEnough(this.#refused.size, route.admission === undefined ? undefined : this.#requestAdmission.left);
    if (attempt.why === 'connect' && !late && (body === undefined || body.replayable) && !this.#left) return this.#choose();
    this.#pass?.rollback();
    this.#failed(attempt);
  }

  /** It may have reached the backend. */
  #broke(attempt: Exclude<Attempt, { kind: 'answered' }>): void {
    const { sink } = this.#all;
    if (this.#answer?.sent) {
      void this.#pass?.release(undefined);
      if (!this.#left) sink.onBroken(attempt.cause);
      return this.#finish();
    }
    const repeats = attempt.kind === 'failed' && attempt.why === 'reset' && !this.#left && this.#mayFollow;
    if (repeats) {
      this.#triedHere();
      return void this.#again(this.#pass?.release(undefined));
    }
    if (attempt.kind === 'failed' && (attempt.why === 'first_byte' || attempt.why === 'idle')) void this.#pass?.releasePushedBack(undefined);
    else void this.#pass?.release(undefined);
    this.#failed(attempt);
  }

  /** Once more: with a new permit, since the last one was spent, at the place it had before. */
  async #again(ended: Promise<void> | undefined): Promise<void> {
    this.#pass = this.#refused = undefined;
    if (this.#left) return this.#finish();
    if (ended === undefined) return this.#choose();
    await ended;
    if (!this.#over) this.#requestAdmission.again(this.#attempts);
  }

  get #mayFollow(): boolean {
    const { incoming, route, body } = this.#all;
    return canRetry(incoming, body, this.#attempts - this.#unsentAttempts, route.attemptsMax);
  }

  #failed(attempt: Exclude<Attempt, { kind: 'answered' }>): void {
    this.onNone(toFailure(attempt, { attempts: this.#attempts, lost: this.#lost, fault: this.#all.body?.problem }));
  }

  #triedHere(): void {
    this.#tried ??= new Set();
    this.#tried.add(this.#url);
  }

  #giveBack(now: Instant, health: Health): void {
    const turn = this.#turn;
    this.#turn = undefined;
    this.#wait?.end();
    turn?.end(now, health);
  }

  /** A throw is a bug: reported once, and the end of this request only. */
  #threw(error: unknown): void {
    this.#all.deps.onError(error);
    if (!this.#answer?.sent) return this.onNone({ kind: 'refused', refusal: { reason: 'fault' }, attempts: this.#attempts });
    if (!this.#over && !this.#left) this.#all.sink.onBroken(error as Error);
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#all.trace?.end(this.#left ? 'aborted' : undefined);
    // Where it was not ended before: something threw on the way.
    if (this.#attempts === 0) this.#pass?.rollback();
    else void this.#pass?.release(undefined);
    if (this.#turn !== undefined) this.#giveBack(this.#all.deps.clock.now(), 'unknown');
    this.#all.body?.drop();
    this.#all.over(this.#line);
  }
}
