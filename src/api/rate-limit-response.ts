import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { DurationSchema } from '@bufbuild/protobuf/wkt';
import type { LimitView } from '../core/gate/views.ts';
import type { Refusal } from '../core/refusal.ts';
import { DAY, HOUR, type Instant, MINUTE, type Micros, NEVER, SECOND } from '../core/time.ts';
import {
  RateLimitResponse_Code as Code,
  type RateLimitResponse,
  type RateLimitResponse_DescriptorStatusSchema,
  type RateLimitResponse_RateLimitSchema,
  RateLimitResponseSchema,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { toProto } from './duration.ts';
import { PROBLEM_TYPE } from './problem.ts';
import { policyName, rateLimitFields } from './rate-limit-fields.ts';
import type { DescriptorPlan, PlannedAsk, RateLimitPlan, RateLimitRules } from './rate-limit-rules.ts';
import { type Header, problemFor, type ResponseDeps } from './rest/response.ts';

/** Status of the problem in `raw_body`: the one that Envoy answers unless its filter is set otherwise. */
const TOO_MANY_REQUESTS = 429;
const UINT32_MAX = 0xffff_ffff;

/** Units of time that Envoy knows, the longest first; a month and a year are of no fixed length. */
const UNITS: readonly (readonly [length: Micros, unit: Unit])[] = [
  [7 * DAY, Unit.WEEK],
  [DAY, Unit.DAY],
  [HOUR, Unit.HOUR],
  [MINUTE, Unit.MINUTE],
  [SECOND, Unit.SECOND],
];

/** What no rule fits, where such a request is refused. The caller of Envoy may read it. */
const UNMATCHED: Refusal = { reason: 'forbidden', detail: 'None of the limits that are configured fits this request, which is therefore refused.' };

type Status = MessageInitShape<typeof RateLimitResponse_DescriptorStatusSchema>;

/** What a status contains of a limit. */
interface LimitPart {
  readonly limitRemaining: number;
  readonly durationUntilReset?: MessageInitShape<typeof DurationSchema>;
  readonly currentLimit?: MessageInitShape<typeof RateLimitResponse_RateLimitSchema>;
}

/** Answers that a request passes. */
export function passed(deps: ResponseDeps, rules: RateLimitRules, { descriptors, asks }: RateLimitPlan): RateLimitResponse {
  const headers = rules.fields === 'always' ? fieldsOf(deps, asks) : [];
  return create(RateLimitResponseSchema, {
    overallCode: Code.OK,
    statuses: descriptors.map((each) => statusOf(deps, each, undefined)),
    responseHeadersToAdd: headers.map(([key, value]) => ({ key: key.toLowerCase(), value })),
  });
}

/** Answers that a request does not pass, since `ask` was refused. */
export function overLimit(deps: ResponseDeps, rules: RateLimitRules, plan: RateLimitPlan, ask: PlannedAsk, refusal: Refusal): RateLimitResponse {
  const { headers, problem, instead } = problemFor(deps, refusal, { group: ask.group, key: ask.key, accept: '' }, TOO_MANY_REQUESTS);
  const body = instead ?? { contentType: PROBLEM_TYPE, body: `${JSON.stringify(problem)}\n` };
  const shown = headers.filter(([name]) => rules.fields !== 'never' || !name.startsWith('RateLimit'));
  const statuses = plan.descriptors.map((each) => statusOf(deps, each, typeof each === 'object' && each.ask === ask ? refusal : undefined));
  return refused(statuses, shown, body);
}

/** Answers that a request does not pass, since no rule fits one of its descriptors. */
export function unmatched(deps: ResponseDeps, { descriptors }: RateLimitPlan): RateLimitResponse {
  const { headers, problem } = problemFor(deps, UNMATCHED, undefined, TOO_MANY_REQUESTS);
  const statuses = descriptors.map((each): Status => ({ code: each === 'unmatched' ? Code.OVER_LIMIT : Code.OK }));
  return refused(statuses, headers, { contentType: PROBLEM_TYPE, body: `${JSON.stringify(problem)}\n` });
}

function refused(statuses: Status[], headers: readonly Header[], { contentType, body }: { contentType: string; body: string }): RateLimitResponse {
  return create(RateLimitResponseSchema, {
    overallCode: Code.OVER_LIMIT,
    statuses,
    responseHeadersToAdd: [...headers, ['Content-Type', contentType] as const].map(([key, value]) => ({ key: key.toLowerCase(), value })),
    rawBody: Buffer.from(body),
  });
}

/** The RateLimit fields of all groups that were asked; with several of them each limit is named as `group/name`. */
function fieldsOf({ admission }: ResponseDeps, asks: readonly PlannedAsk[]): readonly Header[] {
  const views = asks.flatMap(({ group, key }) => admission.limitsFor(group, key));
  const [only] = asks;
  return rateLimitFields(views, asks.length === 1 && only !== undefined ? only.group : '', admission.now());
}

function statusOf({ admission }: ResponseDeps, plan: DescriptorPlan, refusal: Refusal | undefined): Status {
  const code = refusal === undefined ? Code.OK : Code.OVER_LIMIT;
  if (typeof plan === 'string') return { code };
  const { group, key } = plan;
  const views = admission.limitsFor(group, key);
  const binding = refusal && views.find((view) => policyName(view, group) === refusal.limit);
  const view = binding ?? views.reduce<LimitView | undefined>((least, each) => (least === undefined || left(each) < left(least) ? each : least), undefined);
  return view === undefined ? { code } : { code, ...limitOf(view, group, admission.now()) };
}

/** The part of a limit that is not used: 0 to 1. */
function left({ capacity, used }: LimitView): number {
  return Math.max(0, capacity - used) / Math.max(1, capacity);
}

function limitOf(view: LimitView, group: string, now: Instant): LimitPart {
  const { per, permits, capacity, used, resetAt } = view;
  const time = per === undefined ? undefined : UNITS.find(([length]) => per % length === 0);
  const reset = resetAt === NEVER ? {} : { durationUntilReset: toProto(Math.max(0, resetAt - now)) };
  const remaining = { limitRemaining: whole(capacity - used), ...reset };
  // Envoy counts in whole seconds at least.
  if (time === undefined || per === undefined) return remaining;
  const [length, unit] = time;
  const currentLimit = { name: policyName(view, group), requestsPerUnit: whole(permits ?? capacity), unit };
  return { ...remaining, currentLimit: per === length ? currentLimit : { ...currentLimit, unitMultiplier: per / length } };
}

function whole(count: number): number {
  return Math.min(UINT32_MAX, Math.max(0, Math.floor(count)));
}
