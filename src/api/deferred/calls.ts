import { create } from '@bufbuild/protobuf';
import type { Refusal } from '../../core/refusal.ts';
import * as pb from '../../gen/sluice/v1/deferred_pb.ts';
import { answer, costsOf, type ServiceDeps } from '../admission-service.ts';
import { type Unary, type UnaryCall, unary } from '../call.ts';
import { fromProto, INVALID_DURATION } from '../duration.ts';
import { isRefusal, malformed } from '../validation.ts';
import type { DeferredAccess } from './access.ts';
import { millisOf, requestMessage, stateOf, timestampOf } from './proto-messages.ts';
import { DeferredApi, type FilterFields } from './service.ts';
import type { SubmitFields } from './submit-fields.ts';

/** Longest message of Submit over gRPC, Connect and gRPC-Web; base64 in Connect's JSON takes a third more than the body. */
export const SUBMIT_MESSAGE_BYTES_MAX = 2 << 20;
/** Longest body in such a message; over plain HTTP it may be larger. */
export const SUBMIT_BODY_BYTES_MAX = 1 << 20;

/** The calls of sluice.v1.DeferredService. */
export function deferredCalls(deps: ServiceDeps, access: DeferredAccess): readonly UnaryCall[] {
  const api = new DeferredApi(deps, access);
  const { submit, getRequest, cancelRequest } = pb.DeferredService.method;
  const { admission } = deps;
  return [
    unary(submit, (facts, request, reply) => answer(deps, submitted(api, facts, request), reply)),
    unary(getRequest, (facts, request, reply) => {
      const left = new AbortController();
      answer(
        deps,
        api.get(facts, request.id, fromProto(request.wait) ?? 0, left.signal).then((view) => {
          if (isRefusal(view)) return view;
          return create(pb.GetRequestResponseSchema, { request: requestMessage(view, admission.epoch(admission.now())) });
        }),
        reply,
      );
      return { cancel: () => left.abort(), delivered() {} };
    }),
    unary(cancelRequest, (facts, request, reply) =>
      answer(
        deps,
        api.cancel(facts, request.id).then((done) => (isRefusal(done) ? done : create(pb.CancelRequestResponseSchema, done))),
        reply,
      ),
    ),
    ...operating(deps, api),
  ];
}

/** Calls that need `read` or `manage`; without credentials they are for the admin listener. */
export function isForOperators({ method }: UnaryCall): boolean {
  const { listRequests, redrive } = pb.DeferredService.method;
  return method === listRequests || method === redrive;
}

function operating(deps: ServiceDeps, api: DeferredApi): readonly UnaryCall[] {
  const { listRequests, redrive } = pb.DeferredService.method;
  const { admission } = deps;
  return [
    unary(listRequests, (facts, request, reply) =>
      answer(
        deps,
        api.list(facts, stateOf(request.state), filterOf(request), request).then((page) => {
          if (isRefusal(page)) return page;
          const nowMs = admission.epoch(admission.now());
          return create(pb.ListRequestsResponseSchema, { requests: page.requests.map((view) => requestMessage(view, nowMs)), nextPageToken: page.next });
        }),
        reply,
      ),
    ),
    unary(redrive, (facts, request, reply) => answer(deps, redriven(api, facts, request), reply)),
  ];
}

type Facts = Parameters<Unary<unknown, unknown>>[0];

async function submitted(api: DeferredApi, facts: Facts, request: pb.SubmitRequest): Promise<pb.SubmitResponse | Refusal> {
  const done = await api.submit(facts, fieldsOf(request), SUBMIT_BODY_BYTES_MAX);
  if (isRefusal(done)) return done;
  const { id, existing, keyExpiresAt } = done.outcome;
  const response = create(pb.SubmitResponseSchema, { id, existing });
  const expires = timestampOf(keyExpiresAt);
  if (expires !== undefined) response.expiresAt = expires;
  return response;
}

async function redriven(api: DeferredApi, facts: Facts, request: pb.RedriveRequest): Promise<pb.RedriveResponse | Refusal> {
  const { id, max, pageToken } = request;
  if (id === '') {
    const done = await api.redriveAll(facts, filterOf(request), max, pageToken);
    return isRefusal(done) ? done : create(pb.RedriveResponseSchema, { redriven: done.redriven, nextPageToken: done.next });
  }
  const { group, key, failure, since, until } = request;
  const filtered = group !== '' || key !== '' || failure !== '' || since !== undefined || until !== undefined || max !== 0 || pageToken !== '';
  if (filtered) return malformed('Name either `id`, or a filter and `max`, not both.');
  return (await api.redrive(facts, id)) ?? create(pb.RedriveResponseSchema, { redriven: 1 });
}

function filterOf({ group, key, failure, since, until }: pb.ListRequestsRequest | pb.RedriveRequest): FilterFields {
  return { group, key, failure, since: millisOf(since), until: millisOf(until) };
}

function fieldsOf(request: pb.SubmitRequest): SubmitFields {
  const { route, group, key, priorityClass, host, method, path, body, idempotencyKey, dedupeId, callback, retries } = request;
  return {
    ...{ route, group, key, priorityClass, host, method, path, body, idempotencyKey, dedupeId, callback },
    headers: request.headers.map(({ name, value }) => [name, value] as const),
    notBeforeMs: millisOf(request.notBefore),
    deadline: fromProto(request.deadline),
    timeout: fromProto(request.timeout),
    retries:
      retries.case === 'attemptsMax'
        ? { attemptsMax: retries.value }
        : retries.case === 'retryDelays'
          ? { delays: retries.value.delays.map((delay) => fromProto(delay) ?? INVALID_DURATION) }
          : undefined,
    costs: costsOf(request.costs),
  };
}
