import type { AcquireHandle, AdmissionRequest, AdmissionService, Outcome } from '../../admission/admission.ts';
import type { Refusal } from '../../core/refusal.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../../core/time.ts';
import type { EngineReply, EngineRequest, EngineStream } from '../../http/engine.ts';
import { RETRY_NOW_SECONDS } from '../../http/retry-after.ts';
import { ANSWERED, runHeldCall } from '../call.ts';
import { type AcquireFields, type CallContext, isRefusal, parseAcquire } from '../validation.ts';
import type { PositionNotifier } from '../watch.ts';
import { encodeTicket } from './acquire-fields.ts';
import { type Header, NO_STORE, permitJson, placeJson, problemFor, type Refused, type ResponseDeps, sendJson, sendPermit, sendRefusal } from './response.ts';

/** Calls `then` once after `micros`, unless taken back. */
export type After = (micros: Micros, then: () => void) => () => void;

/** What asking over plain HTTP needs. */
export interface RestAcquireOptions extends ResponseDeps {
  readonly admission: AdmissionService;
  readonly after: After;
  readonly positions: PositionNotifier;
  /** Returns a name that cannot be guessed, for a request that goes on elsewhere and has none. */
  readonly newId: () => string;
}

const EVENT_STREAM: readonly Header[] = [['Content-Type', 'text/event-stream'], NO_STORE, ['X-Accel-Buffering', 'no']];
const WANTS_EVENTS = /(?:^|,)\s*text\/event-stream\s*(?:;|,|$)/i;
const PREFERS_WAIT = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)/i;
const PREFERS_ASYNC = /(?:^|[,;])\s*respond-async\s*(?:[,;]|$)/i;

/** Seconds of `Prefer: wait=N` (RFC 7240 4.3); undefined: not preferred. */
export function preferredWait(prefer: string | undefined): number | undefined {
  const [, seconds] = PREFERS_WAIT.exec(prefer ?? '') ?? [];
  return seconds === undefined ? undefined : Number(seconds);
}

/** Whether `Prefer` has `respond-async` (RFC 7240 4.1). */
export function prefersAsync(prefer: string | undefined): boolean {
  return prefer !== undefined && PREFERS_ASYNC.test(prefer);
}

/**
 * Submits an acquire and answers with its outcome: at once, as events, or with 202 when the caller prefers to come back.
 * `until`: the request of a ticket goes on, whose wait timeout ends then, in milliseconds since 1970.
 */
export function acquire(
  options: RestAcquireOptions,
  facts: CallContext,
  fields: AcquireFields,
  request: EngineRequest,
  reply: EngineReply,
  until?: number,
): void {
  const accept = request.header('accept') ?? '';
  const wait = preferredWait(request.header('prefer'));
  // A caller that leaves to come back needs a name for its place.
  const named = wait !== undefined && (fields.requestId ?? '') === '' ? { ...fields, requestId: options.newId() } : fields;
  const asked = parseAcquire(named, facts);
  const whom: Refused = { group: fields.group, key: fields.key ?? '', accept };
  if (isRefusal(asked)) return void sendRefusal(reply, options, asked, whom);
  const ask = until === undefined ? asked : resumed(options, asked, until);
  if (WANTS_EVENTS.test(accept)) return acquireAsEvents(options, ask, whom, reply);
  let held: AcquireHandle | undefined;
  let stop = ANSWERED;
  const leave = runHeldCall<AdmissionRequest, Outcome>(
    (_facts, asked, done) => {
      held = options.admission.acquire(asked, (outcome) => done(outcome, undefined));
      return held;
    },
    facts,
    ask,
    (outcome, refusal) => {
      stop();
      return send(options, outcome, refusal, whom, reply);
    },
  );
  if (leave === ANSWERED) return;
  if (wait !== undefined) stop = options.after(wait * SECOND, () => comeBack(options, { ask, fields: named, until }, wait, held, leave, reply));
  reply.onGone(() => {
    stop();
    leave();
  });
}

function send(deps: ResponseDeps, outcome: Outcome | undefined, refusal: Refusal | undefined, whom: Refused, reply: EngineReply): boolean {
  if (outcome?.kind === 'admitted') return sendPermit(reply, deps, outcome);
  return sendRefusal(reply, deps, outcome?.refusal ?? refusal ?? { reason: 'fault' }, whom);
}

/** Returns the request with what is left of its wait timeout. Never more than it had, whatever this replica's clock shows. */
function resumed({ admission }: RestAcquireOptions, ask: AdmissionRequest, until: number): AdmissionRequest {
  const left = Math.max(0, (until - admission.epoch(admission.now())) * MILLISECOND);
  const whole = ask.wait ?? left;
  return { ...ask, wait: Math.min(left, whole), resumes: whole };
}

/** A request that is to go on elsewhere; `until` as in its first response, undefined where this is the first. */
interface Leaving {
  readonly ask: AdmissionRequest;
  readonly fields: AcquireFields;
  readonly until: number | undefined;
}

/** The place is kept for 10 s, and passed over until its caller is back. */
function comeBack(options: RestAcquireOptions, leaving: Leaving, wait: number, held: AcquireHandle | undefined, leave: () => void, reply: EngineReply): void {
  const { admission } = options;
  const { ask, fields } = leaving;
  const place = held?.position();
  const endsAt = held?.endsAt?.() ?? plus(admission.now(), ask.wait ?? 0);
  const until = leaving.until ?? Math.ceil(admission.epoch(endsAt));
  leave();
  const location = `/v1/groups/${fields.group}/acquire/${encodeTicket({ fields, until })}`;
  const headers: readonly Header[] = [
    ['Location', location],
    ['Preference-Applied', `wait=${wait}`],
    ['Retry-After', String(RETRY_NOW_SECONDS)],
  ];
  sendJson(reply, 202, place === undefined ? '{}' : placeJson(place, options.admission.now()), headers);
}

/** The place as it moves, at last the permit or the refusal. Refused on arrival, it is a response like any other. */
function acquireAsEvents(options: RestAcquireOptions, ask: AdmissionRequest, whom: Refused, reply: EngineReply): void {
  let stream: EngineStream | undefined;
  let held: AcquireHandle | undefined;
  let stop = ANSWERED;
  const begin = (): EngineStream => {
    stream ??= reply.stream(200, EVENT_STREAM);
    return stream;
  };
  const leave = runHeldCall<AdmissionRequest, Outcome>(
    (_facts, asked, done) => {
      held = options.admission.acquire(asked, (outcome) => done(outcome, undefined));
      return held;
    },
    { caller: ask.caller, remaining: undefined },
    ask,
    (outcome) => {
      stop();
      if (outcome?.kind === 'admitted') return last(begin(), event('admitted', permitJson(outcome)));
      const refusal = outcome?.refusal ?? { reason: 'fault' as const };
      if (stream === undefined) return sendRefusal(reply, options, refusal, whom);
      return last(stream, event('refused', JSON.stringify(problemFor(options, refusal, whom).problem)));
    },
  );
  if (leave === ANSWERED) return;
  const events = begin();
  const gone = (): void => {
    stop();
    leave();
  };
  stop = options.positions.watch({
    // A caller that does not read gets its place when it reads again.
    position: () => (events.ready ? held?.position() : undefined),
    moved: (place, now) => write(events, event('place', placeJson(place, now)), gone),
    idle: () => {
      if (events.ready) write(events, ': still here\n\n', gone);
    },
  });
  reply.onGone(gone);
}

function event(name: string, json: string): string {
  return `event: ${name}\ndata: ${json}\n\n`;
}

function write(stream: EngineStream, text: string, gone: () => void): void {
  if (!stream.write(text)) gone();
}

function last(stream: EngineStream, text: string): boolean {
  const written = stream.write(text);
  stream.end();
  return written;
}
