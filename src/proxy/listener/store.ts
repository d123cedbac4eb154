import type { AdmissionRequest } from '../../admission/admission.ts';
import { storedFields } from '../../api/deferred/stored-fields.ts';
import { type Header, NO_STORE } from '../../api/rest/response.ts';
import { ONE_REQUEST } from '../../core/group.ts';
import type { Refusal } from '../../core/refusal.ts';
import { type Instant, plus } from '../../core/time.ts';
import type { DeferredRequests, Submission, SubmitOutcome } from '../../deferred/deferred.ts';
import type { DeferredIntake, ProxyRoute } from '../../deferred/proxy-route.ts';
import { beginVerification, type Verification } from '../../deferred/verification.ts';
import { buildAdmissionRequest } from '../admission-ask.ts';
import type { BodyProblem, BodyWatch } from '../body/buffered-body.ts';
import { readsBody } from '../costs.ts';
import type { TakenOver } from '../deferral.ts';
import type { Forwarding, TakenRequest } from '../forwarding.ts';
import { firstHeader } from '../headers.ts';
import type { ForwardHandle, IncomingRequest, ResponseSink } from '../incoming.ts';
import { HAND_OVER_MAX } from '../request-admission.ts';
import { readValue } from '../request-values.ts';
import type { RouteAdmission } from '../route.ts';
import type { RawHeaders } from '../upstream/forwarder.ts';
import { type ProxyResponse, ungroupedProblem } from './error-response.ts';

/** A body of no more is read whole before it is stored: it goes to the store with its row. */
const WHOLE_BYTES_MAX = 64 << 10;
const EMPTY = new Uint8Array(0);

/** Where requests are stored from. */
export interface StoringDeps {
  readonly requests: Pick<DeferredRequests, 'submit'>;
  readonly forwarding: Pick<Forwarding, 'take' | 'deliver'>;
  readonly now: () => Instant;
  /** Checks an admission request against its credential: group, key, class. */
  readonly scope: (ask: AdmissionRequest) => AdmissionRequest | Refusal;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly costMissing: (route: string, unit: string) => void;
  readonly onError: (error: unknown) => void;
}

/** Where the answer to a caller goes. */
export interface StoringSink extends Pick<ResponseSink, 'onNone'> {
  answer(answer: ProxyResponse): void;
}

/** A route that stores. */
export type StoringRoute = ProxyRoute & { readonly deferred: DeferredIntake };

/** Whether requests of a route may be stored. */
export function mayStore(route: ProxyRoute): route is StoringRoute {
  return route.deferred !== undefined;
}

/** Whether a request is stored without waiting for its turn: its route stores all, or its caller says `respond-async` without `wait`. */
export function storesAtOnce({ deferred }: StoringRoute, { respondAsync, wait }: IncomingRequest): boolean {
  return deferred.when === 'always' || (respondAsync === true && wait === undefined);
}

/** Forwards a request whose caller waits for `wait` and would then rather come back: what is not admitted by then is stored, in its place in line. */
export function storeLater(deps: StoringDeps, incoming: IncomingRequest, route: StoringRoute, sink: ResponseSink & StoringSink): ForwardHandle {
  const { heldMax } = route.deferred;
  const longest = heldMax > 2 * HAND_OVER_MAX ? heldMax - HAND_OVER_MAX : Math.floor(heldMax / 2);
  let stored: ForwardHandle | undefined;
  const take = (taken: TakenOver): void => {
    stored = storeTaken(deps, incoming, route, sink, taken);
  };
  const live = deps.forwarding.deliver({ ...incoming, deferral: { heldFor: Math.min(incoming.wait ?? 0, longest), take } }, route.route, sink);
  return { leave: () => (stored ?? live).leave() };
}

/** Takes a request in, checks who sent it, and stores it; answers through `sink` once it is on disk, or with the refusal. */
export function storeRequest(deps: StoringDeps, incoming: IncomingRequest, route: StoringRoute, sink: StoringSink, asked: boolean): ForwardHandle {
  const storing = new Storing(deps, incoming, route, sink, asked);
  storing.begin();
  return storing;
}

/** Stores a live request that was not admitted in time, and answers `202`. It is stored whether its caller is still there or not: it stood in line for it. */
function storeTaken(deps: StoringDeps, incoming: IncomingRequest, route: StoringRoute, sink: StoringSink, taken: TakenOver): ForwardHandle {
  let left = false;
  const { place, attempts, body } = taken;
  const store = async (): Promise<SubmitOutcome> => {
    const opened = body?.open() ?? EMPTY;
    const fields = {
      headers: deps.forwarding.take({ ...incoming, body: undefined }, route.route)?.headers,
      body: opened as Uint8Array | AsyncIterable<Uint8Array>,
    };
    const submission = submissionOf(incoming, route, fields, scoped(deps, taken.ask), deps.nowMs());
    if (!('reason' in submission)) return deps.requests.submit(submission, { place, attempts });
    place?.held.cancel();
    return { kind: 'refused', refusal: submission };
  };
  const reply = (answer: ProxyResponse | Refusal): void => {
    if (left) return;
    if ('reason' in answer) sink.onNone({ kind: 'refused', refusal: answer, attempts });
    else sink.answer(answer);
  };
  void store()
    .then((outcome) => reply(answerOf(route, outcome, true)))
    .catch((cause: unknown) => {
      place?.held.cancel();
      deps.onError(cause);
      reply({ reason: 'fault' });
    })
    .finally(() => body?.drop());
  return {
    leave: () => {
      left = true;
    },
  };
}

/** Returns the admission request, checked against the credential that it shows: as for a live one. */
function scoped({ scope }: StoringDeps, ask: AdmissionRequest | Refusal): AdmissionRequest | Refusal {
  return 'reason' in ask ? ask : scope(ask);
}

/** A request as it is stored; or what is wrong with it. `headers` undefined: one of its fields cannot be sent. */
function submissionOf(
  incoming: IncomingRequest,
  { route, deferred }: StoringRoute,
  { headers, body }: { readonly headers: RawHeaders | undefined; readonly body: Submission['body'] },
  ask: AdmissionRequest | Refusal,
  nowMs: number,
): Submission | Refusal {
  if (headers === undefined) return UNSENDABLE;
  if ('reason' in ask) return ask;
  const fields = storedFields(incoming, nowMs);
  if ('reason' in fields) return fields;
  return {
    ...fields,
    route: route.name,
    group: ask.group,
    key: ask.key,
    priorityClass: ask.priorityClass,
    costs: ask.costs ?? ONE_REQUEST,
    host: firstHeader(incoming.headers, 'host') ?? '',
    method: incoming.method,
    target: incoming.target,
    headers,
    body,
    caller: incoming.facts.caller,
    dedupeId: deferred.dedupe === undefined ? '' : readValue(deferred.dedupe, incoming),
  };
}

function answerOf({ deferred }: StoringRoute, outcome: SubmitOutcome, asked: boolean): ProxyResponse | Refusal {
  if (outcome.kind === 'accepted') return acceptedAnswer(deferred.answer, outcome, asked);
  return outcome.payloadDiffers === true ? ungroupedProblem(422, 'conflict', outcome.refusal.detail ?? '') : outcome.refusal;
}

const UNSENDABLE: Refusal = { reason: 'malformed', detail: 'A header of this request holds a control character or a name that is none.' };

class Storing implements ForwardHandle, BodyWatch {
  readonly #deps: StoringDeps;
  readonly #incoming: IncomingRequest;
  readonly #route: StoringRoute;
  readonly #sink: StoringSink;
  /** The caller asked for it: `Prefer: respond-async`. */
  readonly #asked: boolean;
  #taken: TakenRequest | undefined;
  #verification: Verification | undefined;
  #submitted = false;
  #over = false;

  constructor(deps: StoringDeps, incoming: IncomingRequest, route: StoringRoute, sink: StoringSink, asked: boolean) {
    this.#deps = deps;
    this.#incoming = incoming;
    this.#route = route;
    this.#sink = sink;
    this.#asked = asked;
  }

  begin(): void {
    const { route, deferred } = this.#route;
    const { body, headers } = this.#incoming;
    const { bodyBytesMax, receiveMax } = route.hold;
    if (body?.length !== undefined && body.length > bodyBytesMax)
      return this.#refuse({ reason: 'too_large', detail: `A request body may be at most ${bodyBytesMax} bytes here.` });
    const verification = deferred.verify === undefined ? undefined : beginVerification(deferred.verify, headers, this.#deps.nowMs());
    if (typeof verification === 'string') return this.#answer(forged(verification));
    this.#verification = verification;
    const taken = this.#deps.forwarding.take(this.#incoming, route);
    if (taken === undefined) return this.#refuse(UNSENDABLE);
    this.#taken = taken;
    if (taken.body === undefined) return void this.#whole();
    taken.body.receive(this, plus(this.#deps.now(), receiveMax));
    if (!this.#over && !this.#submitted && !this.#waitsForWhole) void this.#submit(taken.body.open() as AsyncIterable<Uint8Array>);
  }

  onWhole(): void {
    void this.#whole();
  }

  onError(fault: BodyProblem): void {
    if (this.#over) return;
    if (fault.kind === 'gone') return this.leave();
    if (fault.kind === 'refused') this.#refuse(fault.refusal);
    else {
      this.#end();
      this.#sink.onNone(fault);
    }
  }

  /** The caller is gone: what has come whole is stored all the same, since its sender may take it for stored; the rest is dropped. */
  leave(): void {
    if (!this.#over && !(this.#submitted && this.#taken?.body?.whole !== false)) this.#end();
    this.#over = true;
  }

  /** Whether nothing may be stored before all of the body is there: it is to be verified, or read; or it is small. */
  get #waitsForWhole(): boolean {
    const { admission } = this.#route.route;
    const length = this.#incoming.body?.length;
    return this.#verification !== undefined || (length !== undefined && length <= WHOLE_BYTES_MAX) || (admission !== undefined && readsBody(admission.costs));
  }

  async #whole(): Promise<void> {
    if (this.#over || this.#submitted) return;
    this.#submitted = true;
    try {
      const body = this.#taken?.body;
      if (this.#verification !== undefined) {
        for await (const piece of piecesOf(body?.open())) this.#verification.update(piece);
        if (!this.#verification.passes()) return this.#answer(forged('No signature of this request is that of its sender.'));
      }
      const opened = body?.open() ?? EMPTY;
      await this.#submit(opened instanceof Uint8Array ? opened : (opened as AsyncIterable<Uint8Array>));
    } catch (cause) {
      this.#threw(cause);
    }
  }

  async #submit(body: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    this.#submitted = true;
    try {
      const { admission, name } = this.#route.route;
      if (admission === undefined) throw new Error(`route ${name} stores requests and has no group`);
      const submission = submissionOf(
        this.#incoming,
        this.#route,
        { headers: this.#taken?.headers, body },
        scoped(this.#deps, this.#ask(admission)),
        this.#deps.nowMs(),
      );
      if ('reason' in submission) return this.#refuse(submission);
      const outcome = await this.#deps.requests.submit(submission);
      this.#stored(outcome);
    } catch (cause) {
      this.#threw(cause);
    }
  }

  #ask(admission: RouteAdmission): AdmissionRequest | Refusal {
    const { route } = this.#route;
    return buildAdmissionRequest(admission, this.#incoming, this.#taken?.body, { wait: 0, since: undefined }, (unit) =>
      this.#deps.costMissing(route.name, unit),
    );
  }

  #stored(outcome: SubmitOutcome): void {
    const answer = answerOf(this.#route, outcome, this.#asked);
    if ('reason' in answer) this.#refuse(answer);
    else this.#answer(answer);
  }

  #threw(cause: unknown): void {
    if (this.#over) return this.#end();
    this.#deps.onError(cause);
    this.#refuse({ reason: 'fault' });
  }

  #refuse(refusal: Refusal): void {
    const over = this.#over;
    this.#end();
    if (!over) this.#sink.onNone({ kind: 'refused', refusal, attempts: 0 });
  }

  #answer(answer: ProxyResponse): void {
    const over = this.#over;
    this.#end();
    if (!over) this.#sink.answer(answer);
  }

  #end(): void {
    this.#over = true;
    this.#taken?.body?.drop();
  }
}

/** What a caller gets once its request is stored. */
export function acceptedAnswer(
  { status, shape }: DeferredIntake['answer'],
  { id, existing, keyExpiresAt }: Extract<SubmitOutcome, { kind: 'accepted' }>,
  asked: boolean,
): ProxyResponse {
  const headers: Header[] = [NO_STORE, ['Sluice-Request-Id', id]];
  if (asked) headers.push(['Preference-Applied', 'respond-async']);
  if (shape === 'empty') return { status, headers, body: '' };
  if (shape === 'lunar') {
    headers.push(['Content-Type', 'application/json'], ['Location', `/retrieve?sequence_id=${id}`], ['X-Lunar-Enqueued', 'true']);
    return { status, headers, body: `${JSON.stringify({ msg: 'The request is stored and will be sent; get its response at Location.' })}\n` };
  }
  const location = `/.sluice/requests/${id}`;
  headers.push(['Content-Type', 'application/json'], ['Location', location]);
  const expiresAt = keyExpiresAt === undefined ? undefined : new Date(keyExpiresAt).toISOString();
  return { status, headers, body: `${JSON.stringify({ id, existing, expiresAt, location })}\n` };
}

/** An answer to a request whose sender did not sign it: 401, and nothing is stored. */
function forged(detail: string): ProxyResponse {
  return ungroupedProblem(401, 'unauthenticated', detail);
}

async function* piecesOf(body: Uint8Array | AsyncIterable<Uint8Array> | undefined): AsyncIterable<Uint8Array> {
  if (body instanceof Uint8Array) yield body;
  else if (body !== undefined) yield* body;
}
