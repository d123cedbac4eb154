import { create } from '@bufbuild/protobuf';
import type { AcquireHandle, AdmissionRequest, AdmissionService } from '../admission/admission.ts';
import type { Costs } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { WaitersAhead } from '../core/request.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import type { ActivityLog } from './activity-log.ts';
import type { Auth } from './auth.ts';
import { NOTHING_PENDING, type PendingCall, type Reply, type UnaryCall, unary } from './call.ts';
import type { DeferredAccess } from './deferred/access.ts';
import { fromProto } from './duration.ts';
import { bindingMessage, shownBinding } from './group-messages.ts';
import type { OperatorEvent } from './operator-event.ts';
import { acquireResponse, aheadMessage, limit, place, refusalMessage, renewResponse } from './proto-messages.ts';
import { INTERNAL_ERROR } from './refusal-status.ts';
import { help, story } from './story.ts';
import { type AcquireFields, type CallContext, isRefusal, malformed, parseAcquire, parseRelease, parseRenew } from './validation.ts';
import { type Viewer, viewerOf } from './viewer.ts';

/** Receives a throw, which the caller sees as `fault` only. */
export type ErrorHandler = (error: unknown) => void;

/** What runs here. */
export interface ServerInfo {
  readonly version: string;
  /** Of the configuration file. */
  readonly revision: number;
  /** Addresses by name of listener. */
  readonly listeners: Readonly<Record<string, string>>;
}

/** What the calls are made of. */
export interface ServiceDeps {
  readonly admission: AdmissionService;
  readonly auth: Pick<Auth, 'demanded' | 'identify' | 'check' | 'keyOf' | 'groupsOf' | 'rightsOf' | 'scope'>;
  readonly onError: ErrorHandler;
  /** Reports what operators do to the log. Returns the name of its entry. */
  readonly onOperator?: (event: OperatorEvent) => string | undefined;
  /** What operators did; absent: nothing is kept. */
  readonly activity?: ActivityLog;
  /** What runs here; absent: not known. */
  readonly server?: () => ServerInfo;
  /** Requests that are stored and delivered later; undefined: no route is deferred. */
  readonly deferred?: DeferredAccess | undefined;
  /** Trace contexts of callers are read. */
  readonly tracing?: boolean | undefined;
}

/** The unary calls of sluice.v1.AdmissionService; Watch and Session are in files of their own. */
export function admissionCalls(deps: ServiceDeps): readonly UnaryCall[] {
  const { admission } = deps;
  const { acquire, renew, release, explain } = pb.AdmissionService.method;
  return [
    unary(acquire, (facts, request, reply) => {
      const ask = acquireFieldsFrom(request, facts);
      if (isRefusal(ask)) return refuse(reply, ask);
      return startAcquire(admission, ask, reply);
    }),
    unary(renew, (facts, request, reply) => answer(deps, renewPermit(admission, facts, request), reply)),
    unary(release, (facts, request, reply) => answer(deps, releasePermit(admission, facts, request), reply)),
    unary(explain, (facts, request, reply) => {
      const ask = acquireFieldsFrom(request.ask, facts);
      if (isRefusal(ask)) return refuse(reply, ask);
      return answer(deps, explanation(deps, ask), reply);
    }),
  ];
}

/** Submits an acquire; replies with its outcome as a message. */
export function startAcquire(admission: AdmissionService, ask: AdmissionRequest, reply: Reply<pb.AcquireResponse>): AcquireHandle {
  return admission.acquire(ask, (outcome) => {
    if (outcome.kind === 'admitted') reply(acquireResponse(outcome), undefined);
    else reply(undefined, outcome.refusal);
  });
}

/** Checks an acquire as it came in a message. */
export function acquireFieldsFrom(request: pb.AcquireRequest | undefined, facts: CallContext): AdmissionRequest | Refusal {
  if (request === undefined) return malformed('`ask` is missing; set it to the request in question.');
  const { group, key, holder, requestId, urgency, ttl, lease } = request;
  const fields: AcquireFields = {
    group,
    key,
    holder,
    requestId,
    ttl: fromProto(ttl),
    lease: fromProto(lease),
    priority: urgency.case === 'priority' ? urgency.value : undefined,
    priorityClass: urgency.case === 'priorityClass' ? urgency.value : undefined,
    costs: costsOf(request.costs),
  };
  return parseAcquire(fields, facts);
}

/** Renews; both protocols' unary call and the session use it. */
export async function renewPermit(admission: AdmissionService, facts: CallContext, request: pb.RenewRequest): Promise<pb.RenewResponse | Refusal> {
  const renewal = parseRenew({ permit: request.permit, lease: fromProto(request.lease) });
  if (isRefusal(renewal)) return renewal;
  const outcome = await admission.renew(facts.caller, renewal.permit, renewal.lease);
  return outcome.kind === 'renewed' ? renewResponse(outcome.permit) : outcome.refusal;
}

const OUTCOMES: Readonly<Record<number, string>> = {
  [pb.Outcome.UNSPECIFIED]: 'used',
  [pb.Outcome.USED]: 'used',
  [pb.Outcome.UNUSED]: 'unused',
  [pb.Outcome.DROPPED]: 'dropped',
};

/** Releases; both protocols' unary call and the session use it. */
export async function releasePermit(admission: AdmissionService, facts: CallContext, request: pb.ReleaseRequest): Promise<pb.ReleaseResponse | Refusal> {
  const { permit, group, requestId } = request;
  const outcome = OUTCOMES[request.outcome] ?? 'unknown';
  const release = parseRelease({ permit, group, requestId, outcome, costs: costsOf(request.costs), retryAfter: fromProto(request.retryAfter) });
  if (isRefusal(release)) return release;
  const { caller } = facts;
  const ended =
    release.of === 'permit'
      ? await admission.release({ caller, permit: release.permit, disposition: release.disposition, costs: release.costs, retryAfter: release.retryAfter })
      : await admission.releaseRequest(caller, release.group, release.requestId);
  return ended.kind === 'released' ? create(pb.ReleaseResponseSchema, { ended: ended.ended }) : ended.refusal;
}

/** Returns the viewer of an Explain: a caller that may not read the group sees no names but those of its own key. */
function explainViewer({ caller, group, key }: AdmissionRequest, auth: ServiceDeps['auth']): Viewer {
  const own = auth.check(caller, { ability: 'read', group }) === undefined ? auth.keyOf(caller) : key;
  return viewerOf(caller, own);
}

async function explanation({ admission, auth }: ServiceDeps, ask: AdmissionRequest): Promise<pb.ExplainResponse | Refusal> {
  const explained = await admission.explain(ask);
  if (isRefusal(explained)) return asError(explained) ? explained : create(pb.ExplainResponseSchema, { refusal: refusalMessage(explained, admission.now()) });
  const now = admission.now();
  const message = create(pb.ExplainResponseSchema, {
    admitted: explained.admitted,
    place: place(explained.place, now),
    limits: explained.limits.map((each) => limit(each, now)),
  });
  const reader = { now, epoch: (at: Parameters<typeof admission.epoch>[0]) => admission.epoch(at), viewer: explainViewer(ask, auth) };
  const { binding, refusal } = explained;
  if (binding !== undefined) message.binding = bindingMessage(binding, reader);
  if (refusal !== undefined) message.refusal = refusalMessage(refusal, now);
  const ahead = explained.ahead && shownAhead(explained.ahead, reader.viewer);
  if (ahead !== undefined) message.ahead = aheadMessage(ahead, now);
  const told = { ...explained, now, ahead, key: ask.key, costs: ask.costs, binding: binding && shownBinding(binding, reader.viewer) };
  message.text = story(told);
  message.help = [...help(told)];
  return message;
}

function shownAhead(ahead: WaitersAhead, viewer: Viewer): WaitersAhead {
  const { next } = ahead;
  return { ...ahead, next: { ...next, key: viewer.key(next.key), holder: viewer.ofKey(next.key, next.holder) } };
}

/** Refusals that mean that nothing could be explained at all. */
function asError(refusal: Refusal): boolean {
  return refusal.reason !== 'oversized' && refusal.reason !== 'shed' && refusal.reason !== 'infeasible' && refusal.reason !== 'expired';
}

/** Costs by unit as numbers; undefined: none named. Beyond 2^53 they lose digits, but no bound lets them pass. */
export function costsOf(costs: Readonly<Record<string, bigint>>): Costs | undefined {
  let found: Record<string, number> | undefined;
  for (const unit in costs) {
    found ??= {};
    found[unit] = Number(costs[unit]);
  }
  return found;
}

/** Replies when the promise settles; a rejection is reported and becomes `fault`. */
export function answer<O extends object>(deps: Pick<ServiceDeps, 'onError'>, pending: Promise<O | Refusal>, reply: Reply<O>): PendingCall {
  pending.then(
    (result) => (isRefusal(result) ? reply(undefined, result) : reply(result as O, undefined)),
    (error: unknown) => {
      deps.onError(error);
      reply(undefined, INTERNAL_ERROR);
    },
  );
  return NOTHING_PENDING;
}

/** Answers with a refusal that was there at once. */
export function refuse<O>(reply: Reply<O>, refusal: Refusal): PendingCall {
  reply(undefined, refusal);
  return NOTHING_PENDING;
}
