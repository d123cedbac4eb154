import { create } from '@bufbuild/protobuf';
import type { AcquireHandle, PermitView } from '../admission/admission.ts';
import { RESUME_MAX } from '../core/bounds.ts';
import type { Refusal } from '../core/refusal.ts';

import type { Micros } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import { acquireFieldsFrom, releasePermit, renewPermit, type ServiceDeps, startAcquire } from './admission-service.ts';
import { runHeldCall, type Unary } from './call.ts';
import { fromProto } from './duration.ts';
import { place, refusalMessage, toResumedPermit } from './proto-messages.ts';
import { INTERNAL_ERROR } from './refusal-status.ts';
import { type CallContext, checkDuration, checkText, isRefusal, malformed } from './validation.ts';

/** What a session needs. */
export interface SessionDeps extends ServiceDeps {
  /** Returns a name that cannot be guessed, for a session without one. */
  readonly newId: () => string;
  /** Facts of the stream, taken anew for each acquire: its deadline comes closer. */
  readonly facts: () => CallContext;
  /** False: the caller is gone. */
  readonly send: (message: pb.SessionResponse) => boolean;
}

type Answer = pb.SessionResponse['answer'];

/** Acquires that wait on one session at most. */
const WAITING_MAX = 10_000;
const NOTHING_WAITS: Refusal = { reason: 'unknown_request', detail: 'No request with this id waits on the session; release its permit if it was admitted.' };

/** Many acquires on one stream; the protocol provides the stream. */
export class Session {
  readonly #deps: SessionDeps;
  readonly #waiting = new Map<string, () => void>();
  #name: string | undefined;
  #resume: Micros = 0;
  #over = false;
  /** What came while other replicas were asked for the session's permits. */
  #starting: pb.SessionRequest[] | undefined;

  constructor(deps: SessionDeps) {
    this.#deps = deps;
  }

  /** Takes one message; each is answered under its id. */
  receive(message: pb.SessionRequest): void {
    if (this.#over) return;
    if (this.#starting !== undefined) {
      // Behind `started`, in order; a stream with more under way than it may have waiting is no caller's.
      if (this.#starting.push(message) > WAITING_MAX) this.#starting.pop();
      return;
    }
    const { id, call } = message;
    const refusal = this.#deps.auth.check(this.#deps.facts().caller, { ability: 'acquire' });
    if (refusal !== undefined) return this.#refuse(id, refusal);
    if (call.case === 'start') return this.#start(id, call.value);
    this.#name ??= this.#deps.newId();
    const wrong = id === '' ? malformed('`id` is missing; choose one for each request.') : checkText('id', id, 128);
    if (wrong !== undefined) return this.#refuse(id, wrong);
    switch (call.case) {
      case 'acquire':
        return this.#acquire(id, call.value);
      case 'cancel':
        return this.#cancel(id);
      case 'renew':
        return this.#promise(id, renewPermit(this.#deps.admission, this.#deps.facts(), call.value), (value) => ({ case: 'renewed', value }));
      case 'release':
        return this.#promise(id, releasePermit(this.#deps.admission, this.#deps.facts(), call.value), (value) => ({ case: 'released', value }));
      default:
        return this.#refuse(id, malformed('The message asks for nothing; set one of `start`, `acquire`, `cancel`, `renew`, `release`.'));
    }
  }

  /** The stream has ended, however it did. Places are given up and leases released: now, or after `resume`. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    // With a resume time admission keeps the places, which belong to the session and not to its stream.
    if (this.#resume === 0) for (const leave of this.#waiting.values()) leave();
    this.#waiting.clear();
    if (this.#name !== undefined) this.#deps.admission.endSession(this.#deps.facts().caller, this.#name, this.#resume);
  }

  #start(id: string, start: pb.SessionStart): void {
    if (this.#name !== undefined) return this.#refuse(id, malformed('`start` must be the first message of a session.'));
    const resume = fromProto(start.resume) ?? 0;
    const wrong = checkText('id', id, 128) ?? checkText('session', start.session, 128) ?? checkDuration('resume', resume, 0, RESUME_MAX);
    if (wrong !== undefined) return this.#refuse(id, wrong);
    const { admission, facts, newId } = this.#deps;
    this.#name = start.session === '' ? newId() : start.session;
    this.#resume = resume;
    const kept = admission.resumeSession(facts().caller, this.#name);
    if (!(kept instanceof Promise)) return this.#started(id, this.#name, kept);
    this.#starting = [];
    const name = this.#name;
    kept.then(
      (permits) => this.#goOn(() => this.#started(id, name, permits)),
      (error: unknown) => {
        this.#deps.onError(error);
        this.#goOn(() => this.#refuse(id, INTERNAL_ERROR));
      },
    );
  }

  #started(id: string, session: string, permits: readonly PermitView[]): void {
    const now = this.#deps.admission.now();
    this.#send(id, { case: 'started', value: create(pb.SessionStartedSchema, { session, permits: permits.map((permit) => toResumedPermit(permit, now)) }) });
  }

  #goOn(first: () => void): void {
    const behind = this.#starting ?? [];
    this.#starting = undefined;
    if (this.#over) return;
    first();
    for (const message of behind) this.receive(message);
  }

  #acquire(id: string, request: pb.AcquireRequest): void {
    const { admission, facts } = this.#deps;
    if (this.#waiting.has(id)) return this.#refuse(id, { reason: 'conflict', detail: 'A request with this id waits already; choose another id.' });
    if (this.#waiting.size >= WAITING_MAX) return this.#refuse(id, { reason: 'shed', limit: 'session.asks' });
    const ask = acquireFieldsFrom(request, { ...facts(), session: this.#name });
    if (isRefusal(ask)) return this.#refuse(id, ask);
    let held: AcquireHandle | undefined;
    let answered = false;
    const call: Unary<typeof ask, pb.AcquireResponse> = (_facts, asked, reply) => {
      held = startAcquire(admission, asked, reply);
      return held;
    };
    const leave = runHeldCall(call, facts(), ask, (permit, refusal) => {
      answered = true;
      this.#waiting.delete(id);
      if (refusal !== undefined) {
        this.#refuse(id, refusal);
        return true;
      }
      // After the stream's end the permit is the session's: a caller that resumes the session finds it, else it is released with the rest.
      if (this.#over) return this.#resume > 0;
      return permit !== undefined && this.#send(id, { case: 'admitted', value: permit });
    });
    if (answered) return;
    this.#waiting.set(id, leave);
    const at = held?.position();
    if (at !== undefined) this.#send(id, { case: 'queued', value: place(at, admission.now()) });
  }

  #cancel(id: string): void {
    const leave = this.#waiting.get(id);
    if (leave === undefined) return this.#refuse(id, NOTHING_WAITS);
    this.#waiting.delete(id);
    leave();
    this.#refuse(id, { reason: 'cancelled' });
  }

  #promise<T extends object>(id: string, pending: Promise<T | Refusal>, wrap: (value: T) => Answer): void {
    pending.then(
      (result) => {
        if (isRefusal(result)) this.#refuse(id, result);
        else this.#send(id, wrap(result as T));
      },
      (error: unknown) => {
        this.#deps.onError(error);
        this.#refuse(id, INTERNAL_ERROR);
      },
    );
  }

  #refuse(id: string, refusal: Refusal): void {
    this.#send(id, { case: 'refused', value: refusalMessage(refusal, this.#deps.admission.now()) });
  }

  #send(id: string, answer: Answer): boolean {
    return !this.#over && this.#deps.send(create(pb.SessionResponseSchema, { id, answer }));
  }
}
