import type { AcquireHandle, Outcome } from '../admission/admission.ts';
import { UNITS_MAX } from '../core/bounds.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Instant } from '../core/time.ts';
import { type RateLimitRequest, type RateLimitResponse, RateLimitService } from '../gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { refuse, type ServiceDeps } from './admission-service.ts';
import { NOTHING_PENDING, type PendingCall, type Reply, type UnaryCall, unary } from './call.ts';
import { overLimit, passed, unmatched } from './rate-limit-response.ts';
import { type PlannedAsk, planRequest, type RateLimitPlan, type RateLimitRules } from './rate-limit-rules.ts';
import { REFUSAL_STATUS } from './refusal-status.ts';
import type { ResponseDeps } from './rest/response.ts';
import { type CallContext, isRefusal, malformed, parseAcquire } from './validation.ts';

/** How a request of Envoy was answered. `shadow`: it passes only because its group is not enforced. `error`: with a gRPC status. */
export type RateLimitOutcome = 'ok' | 'shadow' | 'over_limit' | 'error';

/** The rate limit service as the composition root hands it to the gRPC front end. */
export interface RateLimitAccess extends Pick<ResponseDeps, 'refusalOf' | 'random'> {
  /** The rules now in force. */
  readonly rules: () => RateLimitRules;
  /** Counts an answer, and descriptors that no rule fits. */
  readonly onAnswer: (outcome: RateLimitOutcome, unmatched: number) => void;
}

type RateLimitDeps = Pick<ServiceDeps, 'admission' | 'auth'> & RateLimitAccess;

/** Descriptors of one request; each is looked up, and may be an acquire. */
const DESCRIPTORS_MAX = 64;

/** Why the service is not there. */
export const NOT_CONFIGURED = 'This server answers no rate limit service: its configuration has no `envoy`. Write `envoy.descriptors` and start it again.';

/** envoy.service.ratelimit.v3.RateLimitService, held until the limits let a request pass (docs/decisions/0032-envoy-rate-limit-service.md). */
export function rateLimitCall(deps: RateLimitDeps): UnaryCall {
  return unary(RateLimitService.method.shouldRateLimit, (facts, request, reply) => {
    const wrong = deps.auth.check(facts.caller, { ability: 'acquire' }) ?? checkRequest(request);
    if (wrong !== undefined) {
      deps.onAnswer('error', 0);
      return refuse(reply, wrong);
    }
    const rules = deps.rules();
    const plan = planRequest(rules, request);
    const unknown = plan.descriptors.filter((each) => each === 'unmatched').length;
    if (unknown > 0 && rules.unmatched === 'refuse') {
      deps.onAnswer('over_limit', unknown);
      reply(unmatched(deps, plan), undefined);
      return NOTHING_PENDING;
    }
    const round = new Round(deps, { rules, plan, facts, unknown }, reply);
    round.start();
    return round;
  });
}

function checkRequest({ domain, descriptors }: RateLimitRequest): Refusal | undefined {
  if (domain === '') return malformed('`domain` is missing; set `domain` of the rate limit filter.');
  if (descriptors.length === 0) return malformed('`descriptors` is empty; name at least one.');
  if (descriptors.length > DESCRIPTORS_MAX) return malformed(`${descriptors.length} descriptors are too many; at most ${DESCRIPTORS_MAX} are taken.`);
  if (descriptors.some(({ entries }) => entries.length === 0)) return malformed('A descriptor has no `entries`; name at least one.');
  return undefined;
}

/** What a round is about. */
interface RoundContext {
  readonly rules: RateLimitRules;
  readonly plan: RateLimitPlan;
  readonly facts: CallContext;
  /** Descriptors that no rule fits. */
  readonly unknown: number;
}

/**
 * Acquires from the groups of one request, one after the other. What was granted is held, undelivered, until the last has agreed:
 * where one refuses, or the caller leaves, all of it is given back.
 */
class Round implements PendingCall {
  readonly #deps: RateLimitDeps;
  readonly #context: RoundContext;
  readonly #reply: Reply<RateLimitResponse>;
  readonly #startedAt: Instant;
  #granted: AcquireHandle[] = [];
  #waiting: AcquireHandle | undefined;
  #next = 0;
  #shadow = false;

  constructor(deps: RateLimitDeps, context: RoundContext, reply: Reply<RateLimitResponse>) {
    this.#deps = deps;
    this.#context = context;
    this.#reply = reply;
    this.#startedAt = deps.admission.now();
  }

  /** Acquires until one waits, one refuses, or all have agreed. */
  start(): void {
    const { plan, rules, unknown } = this.#context;
    for (let planned = plan.asks[this.#next]; planned !== undefined; planned = plan.asks[this.#next]) {
      this.#next += 1;
      if (!this.#acquire(planned)) return;
    }
    this.#deps.onAnswer(this.#shadow ? 'shadow' : 'ok', unknown);
    this.#reply(passed(this.#deps, rules, plan), undefined);
  }

  cancel(): void {
    this.#waiting?.cancel();
    this.#waiting = undefined;
    this.#giveBack();
  }

  delivered(): void {
    for (const held of this.#granted) held.delivered();
    this.#granted = [];
  }

  /** False: it waits, or the request was answered. */
  #acquire(planned: PlannedAsk): boolean {
    const { caller, remaining } = this.#context.facts;
    const { admission } = this.#deps;
    const left = remaining === undefined ? undefined : Math.max(0, remaining - (admission.now() - this.#startedAt));
    const ask = beyond(planned) ?? parseAcquire(planned, { caller, remaining: left });
    if (isRefusal(ask)) return this.#refuse(planned, ask);
    const state: { decided?: Outcome; waits?: AcquireHandle } = {};
    const held = admission.acquire(ask, (outcome) => {
      if (state.waits === undefined) state.decided = outcome;
      else if (this.#take(planned, state.waits, outcome)) this.start();
    });
    if (state.decided !== undefined) return this.#take(planned, held, state.decided);
    state.waits = held;
    this.#waiting = held;
    return false;
  }

  /** True: it was granted, and the next may be asked. */
  #take(planned: PlannedAsk, held: AcquireHandle, outcome: Outcome): boolean {
    this.#waiting = undefined;
    if (outcome.kind === 'refused') return this.#refuse(planned, outcome.refusal);
    this.#granted.push(held);
    if (outcome.permit.shadow !== undefined) this.#shadow = true;
    return true;
  }

  #refuse(planned: PlannedAsk, refusal: Refusal): false {
    this.#giveBack();
    const { rules, plan, unknown } = this.#context;
    const isLimit = REFUSAL_STATUS[refusal.reason].ofGroup || refusal.reason === 'oversized';
    this.#deps.onAnswer(isLimit ? 'over_limit' : 'error', unknown);
    // Anything else is no decision: the filter's `failure_mode_deny` decides what becomes of the request.
    if (isLimit) this.#reply(overLimit(this.#deps, rules, plan, planned, refusal), undefined);
    else this.#reply(undefined, refusal);
    return false;
  }

  #giveBack(): void {
    for (const held of this.#granted) held.cancel();
    this.#granted = [];
  }
}

/** Hits that no limit can ever pass, which are no error: what a caller causes must not look like a failure of this service. */
function beyond({ costs }: PlannedAsk): Refusal | undefined {
  return Object.values(costs).some((cost) => cost > UNITS_MAX) ? { reason: 'oversized' } : undefined;
}
