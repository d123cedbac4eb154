import { type Instant, MILLISECOND, type Micros } from '../core/time.ts';
import { Admittance, type AdmittanceEnd } from './admittance.ts';
import { type AnswerRun, AnswerWay } from './answer-way.ts';
import type { BackendLine } from './backend-line.ts';
import type { Health, Turn } from './backends.ts';
import type { Attempt, BackendHead, BackendSink, RawHeaders, Sending } from './forwarder.ts';
import type { DeliveryParts } from './forwarding.ts';
import { answerAdditions, answerHeaders, requestHeaders } from './headers.ts';
import type { HoldingBody } from './holding-body.ts';
import type { CallerSink, Delivery, IncomingRequest, NoAnswer } from './incoming.ts';
import type { Pass } from './pass.ts';
import { failure, healthOf, mayFollow } from './replay.ts';
import type { CostRule, Route } from './route.ts';

/** What one delivery is made of. */
export interface RunParts {
  readonly parts: DeliveryParts;
  readonly incoming: IncomingRequest;
  readonly route: Route;
  /** It has entered it. */
  readonly line: BackendLine;
  readonly body: HoldingBody | undefined;
  readonly sink: CallerSink;
  /** Nothing of it is left; the line it is in is to be left. */
  readonly over: (line: BackendLine) => void;
}

const NO_URLS: ReadonlySet<number> = new Set();
const NO_COSTS: readonly CostRule[] = [];

/**
 * One request from the listener to its answer. Whatever happens it ends once: the sink is told, or its caller has left; the
 * body is dropped, the URL given back, the pass ended.
 */
export class Run implements Delivery, BackendSink, AdmittanceEnd, AnswerRun {
  readonly #all: RunParts;
  readonly #admittance: Admittance;
  #line: BackendLine;
  #pass: Pass | undefined;
  #turn: Turn | undefined;
  #sending: Sending | undefined;
  #answer: AnswerWay | undefined;
  #tried: Set<number> | undefined;
  #url = 0;
  #attempts = 0;
  #sentAt = 0 as Instant;
  #left = false;
  #over = false;
  #lost: Error | undefined;

  constructor(all: RunParts) {
    this.#all = all;
    this.#line = all.line;
    const { parts, incoming, route, body } = all;
    const { admission, clock, onFault, events } = parts;
    this.#admittance = new Admittance({ admission, clock, onFault, events, incoming, route, body, slots: all.line.spec.concurrency !== undefined }, this);
  }

  /** Begins; the sink may be told before this returns. */
  begin(): void {
    this.#admittance.begin();
  }

  leave(): void {
    if (this.#over || this.#left) return;
    this.#left = true;
    this.#admittance.leave();
    if (this.#sending === undefined) {
      this.#pass?.unused();
      this.#finish();
    } else if (this.#line.spec.onAbort === 'cancel') this.#sending.abort(new Error('The caller left.'));
    else this.#answer?.leave();
  }

  onAdmitted(pass: Pass | undefined): void {
    this.#guarded(() => this.#admitted(pass));
  }

  onNone(why: NoAnswer): void {
    if (this.#over) return;
    this.#finish();
    if (!this.#left) this.#all.sink.onNone(why);
  }

  onGone(): void {
    this.#finish();
  }

  onLost(cause: Error): void {
    this.#lost = cause;
    if (this.#sending !== undefined) return this.#sending.abort(cause);
    // In line for a URL.
    this.#pass?.unused();
    this.onNone({ kind: 'refused', refusal: { reason: 'fenced' }, attempts: this.#attempts });
  }

  replays(pause: Micros): boolean {
    const { parts, route, incoming, body } = this.#all;
    const waits = Math.min(pause, route.admission?.pushbackMax ?? 0);
    const replayed = this.#pass !== undefined && mayFollow(incoming, body, this.#attempts, route.attemptsMax) && waits < this.#admittance.left;
    parts.events({ kind: 'pushback', route: route.name, backend: this.#line.spec.name, retryAfter: pause, replayed });
    return replayed;
  }

  abort(cause: Error): void {
    this.#sending?.abort(cause);
  }

  onInformation(head: BackendHead): void {
    const headers = this.#left ? undefined : answerHeaders(head.headers);
    if (headers !== undefined) this.#all.sink.onInformation({ ...head, headers });
  }

  onHead(head: BackendHead): void {
    const { parts, route, body } = this.#all;
    this.#answer = new AnswerWay({
      head,
      costs: route.admission?.costs ?? NO_COSTS,
      clock: parts.clock,
      added: answerAdditions(this.#queuedMs, this.#attempts, this.#pass?.permit.shadow?.limit),
      sink: this.#left ? undefined : this.#all.sink,
      run: this,
    });
    this.#answer.begin();
    if (this.#answer.told) body?.spent();
  }

  onData(chunk: Uint8Array, resume: () => void): boolean {
    return this.#answer?.data(chunk, resume) ?? true;
  }

  onEnd(trailers: RawHeaders): void {
    this.#answer?.end(trailers);
  }

  get #queuedMs(): number | undefined {
    return this.#all.route.admission === undefined ? undefined : this.#queued / MILLISECOND;
  }

  #queued: Micros = 0;

  #admitted(pass: Pass | undefined): void {
    this.#pass = pass;
    if (this.#over) return pass?.unused();
    this.#choose();
  }

  #choose(): void {
    const { parts } = this.#all;
    const line = this.#line.moved();
    if (line !== this.#line) {
      this.#line = line;
      this.#tried = undefined;
    }
    let ready = false;
    const turn = line.choice.take(parts.clock.now(), this.#tried ?? NO_URLS, (url) => {
      ready = true;
      this.#url = url;
      if (this.#turn !== undefined) this.#guarded(() => this.#send());
    });
    this.#turn = turn;
    if (ready) this.#send();
  }

  #send(): void {
    const { parts, incoming, body } = this.#all;
    const { method, target, facts } = incoming;
    const lease = this.#pass?.permit.lease;
    const attempt = this.#attempts + 1;
    const fence = lease === undefined ? undefined : { fence: lease.fence, floor: lease.fenceFloor };
    const headers = requestHeaders(incoming.headers, { facts, attempt, fence, random: parts.random });
    if (headers === undefined) {
      this.#pass?.unused();
      return this.onNone({ kind: 'malformed', detail: 'A header of this request holds a control character or a name that is none.' });
    }
    this.#attempts = attempt;
    this.#answer = undefined;
    this.#sentAt = parts.clock.now();
    this.#queued = this.#admittance.queuedUntil(this.#sentAt) ?? 0;
    let ended: Attempt | undefined;
    let begun = false;
    const sending = this.#line.forwarder.forward({ method, target, headers, body }, this.#url, this, (attempt) => {
      ended = attempt;
      if (begun) this.#guarded(() => this.#ended(attempt));
    });
    begun = true;
    if (ended !== undefined) return this.#ended(ended);
    this.#sending = sending;
  }

  #ended(attempt: Attempt): void {
    this.#sending = undefined;
    const { parts, route } = this.#all;
    const { spec } = this.#line;
    const outcome = attempt.kind === 'failed' ? attempt.why : attempt.kind;
    const now = parts.clock.now();
    const took = now - this.#sentAt;
    parts.events({ kind: 'attempt', route: route.name, backend: spec.name, url: spec.urls[this.#url] ?? '', outcome, took });
    this.#giveBack(now, healthOf(attempt));
    const answer = this.#answer;
    if (answer?.replays) return void this.#again(this.#pass?.dropped(answer.hint));
    if (attempt.kind === 'answered') return this.#answered();
    if (attempt.kind === 'failed' && !attempt.sent) return this.#unsent(attempt);
    this.#broke(attempt);
  }

  /** The answer is complete, and told. */
  #answered(): void {
    const { events } = this.#all.parts;
    const { route } = this.#all;
    if (this.#answer?.pushedBack) void this.#pass?.dropped(this.#answer.hint);
    else void this.#pass?.used(this.#answer?.costs((unit) => events({ kind: 'cost_missing', route: route.name, unit, stage: 'settle' })));
    this.#finish();
  }

  /** No byte reached a backend: another URL, with the same pass. */
  #unsent(attempt: Extract<Attempt, { kind: 'failed' }>): void {
    const { body } = this.#all;
    const tried = this.#triedHere();
    const more = attempt.why === 'connect' && tried.size < this.#line.spec.urls.length && (body === undefined || body.replayable);
    if (more && !this.#left) return this.#choose();
    this.#pass?.unused();
    this.onNone(this.#whyOf(attempt));
  }

  /** It may have reached the backend. */
  #broke(attempt: Exclude<Attempt, { kind: 'answered' }>): void {
    const { incoming, route, body, sink } = this.#all;
    if (this.#answer?.told) {
      void this.#pass?.used(undefined);
      if (!this.#left) sink.onBroken(attempt.cause);
      return this.#finish();
    }
    const repeats = attempt.kind === 'failed' && attempt.why === 'reset' && !this.#left && mayFollow(incoming, body, this.#attempts, route.attemptsMax);
    if (repeats) {
      this.#triedHere();
      return void this.#again(this.#pass?.used(undefined));
    }
    if (attempt.kind === 'failed' && (attempt.why === 'first_byte' || attempt.why === 'idle')) void this.#pass?.dropped(undefined);
    else void this.#pass?.used(undefined);
    this.onNone(this.#whyOf(attempt));
  }

  /** Once more: with a new permit, since the last one was spent, at the place it had before. */
  async #again(ended: Promise<void> | undefined): Promise<void> {
    this.#pass = undefined;
    if (this.#left) return this.#finish();
    if (ended === undefined) return this.#choose();
    await ended;
    if (!this.#over) this.#admittance.again(this.#attempts);
  }

  #whyOf(attempt: Exclude<Attempt, { kind: 'answered' }>): NoAnswer {
    const fault = this.#all.body?.fault;
    if (attempt.kind === 'failed' && attempt.why === 'sender' && fault !== undefined && fault.kind !== 'gone')
      return fault.kind === 'refused' ? { ...fault, attempts: this.#attempts } : fault;
    return failure(attempt, this.#attempts, this.#lost);
  }

  /** All that were tried, this one among them. */
  #triedHere(): ReadonlySet<number> {
    this.#tried ??= new Set();
    return this.#tried.add(this.#url);
  }

  #giveBack(now: Instant, health: Health): void {
    const turn = this.#turn;
    this.#turn = undefined;
    turn?.end(now, health);
  }

  /** A throw is a bug: told once, and the end of this request only. */
  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#all.parts.onFault(error);
      if (!this.#answer?.told) return this.onNone({ kind: 'refused', refusal: { reason: 'fault' }, attempts: this.#attempts });
      if (!this.#over && !this.#left) this.#all.sink.onBroken(error as Error);
      this.#finish();
    }
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    // Where it was not ended before: something threw on the way.
    if (this.#attempts === 0) this.#pass?.unused();
    else void this.#pass?.used(undefined);
    if (this.#turn !== undefined) this.#giveBack(this.#all.parts.clock.now(), 'unknown');
    this.#all.body?.drop();
    this.#all.over(this.#line);
  }
}
