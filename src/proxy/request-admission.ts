import type { AcquireHandle, AdmissionRequest, Explanation, Outcome } from '../admission/admission.ts';
import type { Permit } from '../core/permit.ts';
import { type Refusal, withdrawn } from '../core/refusal.ts';
import { arrivalOf } from '../core/request.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import { buildAdmissionRequest, isReady } from './admission-ask.ts';
import type { BodyProblem, BodyWatch, BufferedBody } from './body/buffered-body.ts';
import { readsBody } from './costs.ts';
import { GivenPlace, isStorable, type Place } from './deferral.ts';
import type { ForwardingDeps } from './forwarding.ts';
import type { ForwardFailure, IncomingRequest } from './incoming.ts';
import { PermitHandle } from './permit-handle.ts';
import type { RequestTrace } from './request-trace.ts';
import type { Route } from './route.ts';
import type { Backend } from './upstream/backend.ts';

/** Dependencies of one forwarded request; `sink` receives its end. */
export interface ForwardedRequestDeps<Sink> {
  readonly deps: ForwardingDeps;
  readonly incoming: IncomingRequest;
  readonly route: Route;
  /** It has entered it. */
  readonly line: Backend;
  /** undefined: it has none. */
  readonly body: BufferedBody | undefined;
  readonly sink: Sink;
  /** Its spans; undefined: tracing is off. */
  readonly trace?: RequestTrace | undefined;
  /** Nothing of it is left; the line it is in is to be left. */
  readonly over: (line: Backend) => void;
}

/** Callbacks of an admission; one of the first two, once for each `begin` and `again`. */
export interface RequestAdmissionCallbacks {
  /** undefined: the route has no group, nothing was asked. */
  onAdmitted(pass: PermitHandle | undefined): void;
  onNone(why: ForwardFailure): void;
  /** The sender left: no response is sent. */
  onGone(): void;
  /** The lease was lost while the pass was in use. */
  onLost(cause: Error): void;
  /** Not admitted in time, and its caller would rather have it stored; the body is whole. Only where the request has a deferral; in place of the first two. */
  onDeferred(place: Place | undefined, ask: AdmissionRequest | Refusal): void;
}

/** A body of no more mostly comes in one packet with its head; bytes cost less to send on than a stream. */
const SOON_BYTES = 16 << 10;

/** A place in line lasts so much longer than its caller is held, while its request is stored. */
export const HAND_OVER_MAX: Micros = 5 * SECOND;

/** Dependencies of an admission. */
export type RequestAdmissionDeps = Pick<ForwardedRequestDeps<unknown>, 'deps' | 'incoming' | 'route' | 'line' | 'body'>;

/** The way of one request to a permit: its body as far as it is wanted first, then admission; and again after a pushback. */
export class RequestAdmission implements BodyWatch {
  readonly #of: RequestAdmissionDeps;
  readonly #end: RequestAdmissionCallbacks;
  readonly #since: Instant;
  #held: AcquireHandle | undefined;
  #submittedAt: Instant | undefined;
  /** Its first permit: its place among all. */
  #first: Permit | undefined;
  #submitted = false;
  /** So much of its body must be there for it to be asked before the rest; once. */
  #streamsFrom: number;
  #over = false;
  /** The time in which it is held as a live request is over. */
  #late = false;
  #stopHolding: (() => void) | undefined;
  /** Its place, when it was given away. */
  #given: GivenPlace | undefined;
  /** Times asked before. */
  attempts = 0;

  constructor(of: RequestAdmissionDeps, end: RequestAdmissionCallbacks) {
    this.#of = of;
    this.#end = end;
    this.#since = of.deps.clock.now();
    this.#streamsFrom = streamsFrom(of);
  }

  /** Wait timeout left: the request's own, from when it came in whole. */
  get left(): Micros {
    return this.#leftAt(this.#of.deps.clock.now());
  }

  #leftAt(now: Instant): Micros {
    const { incoming, route } = this.#of;
    const { deferral } = incoming;
    const wait = deferral === undefined ? (incoming.wait ?? route.admission?.wait ?? 0) : deferral.heldFor + HAND_OVER_MAX;
    return Math.max(0, plus(this.#submittedAt ?? this.#since, wait) - now);
  }

  /** Microseconds since it was first submitted to admission; undefined: it was not. */
  queuedUntil(now: Instant): Micros | undefined {
    return this.#submittedAt === undefined ? undefined : now - this.#submittedAt;
  }

  begin(): void {
    const { body, route, incoming, deps } = this.#of;
    const { deferral } = incoming;
    if (deferral !== undefined) this.#stopHolding = deps.clock.at(plus(this.#since, deferral.heldFor), () => this.#defer());
    const { bodyBytesMax, receiveMax } = route.hold;
    if (body === undefined) return this.#submit();
    const announced = incoming.body?.length;
    if (announced !== undefined && announced > bodyBytesMax) {
      const detail = `A request body may be at most ${bodyBytesMax} bytes here.`;
      return this.#end.onNone({ kind: 'refused', refusal: { reason: 'too_large', detail }, attempts: 0 });
    }
    const whole = route.admission?.charge === 'body' ? plus(this.#since, receiveMax) : undefined;
    const atOnce = route.admission === undefined || isReady(route.admission, body);
    // What is not awaited may be passed on without being held: the answer may be there before the first byte.
    if (route.admission === undefined && announced !== undefined && announced <= SOON_BYTES) this.#askSoon();
    else if (atOnce) this.#submit();
    if (!this.#over) body.receive(this, whole);
  }

  onMore(): void {
    const { body, route, incoming } = this.#of;
    if (this.#late && body?.whole) return this.#defer();
    if (this.#submitted || this.#late || body === undefined) return;
    if (route.admission === undefined ? body.whole : isReady(route.admission, body)) this.#submit();
    else if (body.received >= this.#streamsFrom) void this.#askEarly(body, incoming.body?.length ?? 0);
  }

  onWhole(): void {
    this.onMore();
  }

  /** A body that will not be whole needs no place any more. After the request was admitted its attempt reports it. */
  onError(fault: BodyProblem): void {
    if (this.#submitted && this.#held === undefined) return;
    this.leave();
    if (fault.kind === 'gone') this.#end.onGone();
    else this.#end.onNone(fault.kind === 'refused' ? { ...fault, attempts: 0 } : fault);
  }

  /** Submits when the body is whole, or has not come with its head. */
  #askSoon(): void {
    setImmediate(() => {
      if (!this.#submitted && !this.#over) this.#submit();
    });
  }

  /** Submits before the body is whole, with a wait timeout of 0; where it does not pass, the body is held and submitted as others are. */
  async #askEarly(body: BufferedBody, announced: number): Promise<void> {
    this.#streamsFrom = Number.POSITIVE_INFINITY;
    const { deps, incoming, route, line } = this.#of;
    const took = deps.clock.now() - this.#since;
    const { received } = body;
    try {
      const ask = route.admission && buildAdmissionRequest(route.admission, incoming, body, { wait: 0, since: undefined }, ignore);
      if (ask === undefined || 'reason' in ask) return;
      const slots = line.spec.concurrency !== undefined;
      const how = canStream({ announced, received, took }, slots, await deps.admission.explain(ask));
      if (how === 'no' || this.#submitted || this.#over || body.problem !== undefined) return;
      if (how === 'hurry') body.setDeadline(FAST_UPLOAD_MAX);
      this.#submit(true);
    } catch (error) {
      deps.onError(error);
    }
  }

  /** Submits again, at its old place: the backend pushed back, or an attempt that was charged has failed. */
  again(attempts: number): void {
    this.attempts = attempts;
    if (!this.#late) return this.#submit();
    this.#submitted = false;
    this.#defer();
  }

  /** Its time as a live request is over: unless it was admitted it goes, with its place, to be stored, once its body is whole. */
  #defer(): void {
    this.#late = true;
    const { body, incoming, route } = this.#of;
    if (this.#over || route.admission === undefined || (this.#submitted && this.#held === undefined) || (body !== undefined && !body.whole)) return;
    this.#over = true;
    this.#stopHolding?.();
    this.#given = this.#held && new GivenPlace(this.#held);
    this.#held = undefined;
    this.#end.onDeferred(this.#given, buildAdmissionRequest(route.admission, incoming, body, { wait: 0, since: undefined }, ignore));
  }

  /** The caller is gone: a place is free at once. What was admitted is its holder's to end. */
  leave(): void {
    this.#over = true;
    this.#stopHolding?.();
    this.#held?.cancel();
    this.#held = undefined;
  }

  /** A throw is a bug: reported once, and the end of this request only. `early`: now or not yet. */
  #submit(early = false): void {
    this.#submitted = true;
    try {
      this.#requestPermit(early);
    } catch (error) {
      this.#of.deps.onError(error);
      this.#none({ kind: 'refused', refusal: { reason: 'fault' }, attempts: this.attempts });
    }
  }

  #requestPermit(early: boolean): void {
    const { deps, incoming, route, body } = this.#of;
    const { admission } = route;
    if (admission === undefined) return this.#end.onAdmitted(undefined);
    const now = deps.clock.now();
    this.#submittedAt ??= now;
    const place = { wait: early ? 0 : this.#leftAt(now), since: this.#first && arrivalOf(this.#first) };
    const ask = buildAdmissionRequest(
      admission,
      incoming,
      body,
      place,
      admission.costs.length === 0 || this.attempts > 0 ? ignore : (unit) => this.#missing(unit),
    );
    if ('reason' in ask) return this.#none({ kind: 'refused', refusal: ask, attempts: this.attempts });
    let held: AcquireHandle | undefined;
    let immediate: Outcome | undefined;
    held = deps.admission.acquire(ask, (outcome) => {
      if (held === undefined) immediate = outcome;
      else this.#onOutcome(held, outcome, early);
    });
    if (immediate !== undefined) this.#onOutcome(held, immediate, early);
    else if (!this.#over) this.#held = held;
  }

  #missing(unit: string): void {
    const { deps, route } = this.#of;
    deps.events({ kind: 'cost_missing', route: route.name, unit, stage: 'ask' });
  }

  #onOutcome(held: AcquireHandle, outcome: Outcome, early: boolean): void {
    if (this.#given !== undefined) return this.#given.decide(outcome);
    if (outcome.kind === 'refused') {
      if (early) return this.#retryWhenBuffered();
      const { refusal } = outcome;
      if (this.#of.incoming.deferral !== undefined && isStorable(refusal.reason)) {
        this.#held = undefined;
        this.#submitted = false;
        return this.#defer();
      }
      // The caller never named the group, and the configuration has it for this route: it was taken out while the body came in.
      const mended = refusal.reason === 'unknown_group' ? withdrawn(this.#of.deps.clock.now()) : refusal;
      return this.#none({ kind: 'refused', refusal: mended, attempts: this.attempts });
    }
    this.#held = undefined;
    this.#first ??= outcome.permit;
    this.#end.onAdmitted(new PermitHandle(this.#of, held, outcome, this.#end));
  }

  /** Another was quicker: its turn comes when its body is there. */
  #retryWhenBuffered(): void {
    this.#held = undefined;
    if (this.#over) return;
    this.#submitted = false;
    this.#submittedAt = undefined;
    if (!this.#of.body?.whole) return;
    if (this.#late) this.#defer();
    else this.#submit();
  }

  #none(why: ForwardFailure): void {
    this.#over = true;
    this.#stopHolding?.();
    this.#held = undefined;
    this.#end.onNone(why);
  }
}

/** Only a body of known length that memory does not hold streams; small ones are whole in a moment, and can be sent again. */
function streamsFrom({ route: { admission, hold }, incoming }: RequestAdmissionDeps): number {
  const announced = incoming.body?.length;
  if (admission?.charge !== 'body' || readsBody(admission.costs) || announced === undefined || announced <= hold.memoryBytesMax)
    return Number.POSITIVE_INFINITY;
  return minBufferedBytes(hold.memoryBytesMax);
}

function ignore(): void {}

/** A sender is prompt whose rest, at its speed so far, is here within this long. */
const PROMPT: Micros = SECOND;
/** A prompt sender that holds a slot, and is not whole within this long of its own time, is cut. */
const FAST_UPLOAD_MAX: Micros = 10 * SECOND;

/** How far a body is. */
interface Progress {
  /** Its Content-Length. */
  readonly announced: number;
  readonly received: number;
  /** Since its head came. */
  readonly took: Micros;
}

/** How much must be there before a body may stream. */
function minBufferedBytes(memoryBytesMax: number): number {
  return Math.ceil(memoryBytesMax / 2);
}

/**
 * Whether a body, charged when it is there, has to be there whole: not where its request would pass this moment (`explained`)
 * and its sender holds nothing by being slow, for a rate is spent in an instant. Where it would hold a slot (a limit of
 * concurrency, a backend's `concurrency`: `slots`), only where it has shown to be prompt: `hurry`, the rest must come soon.
 */
export function canStream({ announced, received, took }: Progress, slots: boolean, explained: Explanation | Refusal): 'yes' | 'hurry' | 'no' {
  if ('reason' in explained || !explained.admitted) return 'no';
  if (!slots && explained.limits.every(({ kind }) => kind !== 'concurrency')) return 'yes';
  return (announced - received) * took <= PROMPT * received ? 'hurry' : 'no';
}
