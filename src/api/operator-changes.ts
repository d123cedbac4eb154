import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import type { GroupView, MaybePromise, OverrideRequest, Page, PageRequest } from '../admission/admission.ts';
import { PAGE_MAX } from '../core/bounds.ts';
import type { Quota } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/group_pb.ts';
import { answer, refuse, type ServiceDeps } from './admission-service.ts';
import { type UnaryCall, unary } from './call.ts';
import { fromProto, INVALID_DURATION } from './duration.ts';
import { group, type Reader } from './group-messages.ts';
import { checkPause, toOverride } from './group-validation.ts';
import type { OperatorEvent } from './operator-event.ts';
import { quotaText } from './quota-text.ts';
import { checkGroup, checkName, checkText, isRefusal } from './validation.ts';
import { spanText } from './verdict.ts';
import { viewerOf } from './viewer.ts';

/** Fields that every change has beside its own. */
interface ChangeRequest {
  readonly group: string;
  readonly dryRun: boolean;
  readonly reason: string;
  readonly expect: string;
}

/** What every change answers. */
interface ChangeFields {
  readonly before?: pb.Group;
  readonly after?: pb.Group;
  readonly effect: string[];
  readonly undo: string;
  readonly expect: string;
  readonly audit: string;
}

/** A change that is understood, and not done yet. */
interface Plan {
  /** What the change depends on: if it differs from that of the dry run, the change is refused. */
  readonly facts: unknown;
  readonly effect: readonly string[];
  /** What takes it back; '' if nothing does. */
  readonly undo: string;
  readonly run: () => Promise<Refusal | undefined>;
}

/** What the log says of a change, beside who made it, to which group and why. */
type ChangeEvent = Omit<OperatorEvent, 'caller' | 'group' | 'reason' | 'refused'>;

const REASON_BYTES_MAX = 256;
const EXPECT_BYTES_MAX = 64;
const EXPECT_CHARS = 16;
const NO_WAITER: Refusal = { reason: 'unknown_request', detail: 'No caller waits by this name any more.' };
/** Pages of a list that a dry run looks through for the one it is about. */
const PAGES_MAX = 10;

/** Who reads the answer, and when. */
export function readerOf({ admission, auth }: ServiceDeps, caller: string): Reader {
  return { now: admission.now(), epoch: (at) => admission.epoch(at), viewer: viewerOf(caller, auth.keyOf(caller)) };
}

/** Calls that change something: each can be tried (`dry_run`), and is refused as `conflict` where the state it was tried on has changed (`expect`). */
export function changeCalls(deps: ServiceDeps): readonly UnaryCall[] {
  return [pausing(deps), resuming(deps), overriding(deps), evicting(deps), revoking(deps)];
}

function pausing(deps: ServiceDeps): UnaryCall {
  return unary(pb.GroupService.method.pause, ({ caller }, request, reply) => {
    const duration = fromProto(request.duration);
    const wrong = checkPause(request.group, request.key, duration) ?? checkChange(request);
    if (wrong !== undefined) return refuse(reply, wrong);
    const { group: name, key, reason } = request;
    const plan = (view: GroupView): Plan => ({
      facts: pauseFacts(view, key),
      effect: [
        key === undefined ? `No new caller passes.${stay(view.waiting)}` : 'No new caller of this key passes; others do.',
        ...(key === undefined && view.leases > 0 ? [`${view.leases === 1 ? 'The one lease lives' : `${view.leases} leases live`} on.`] : []),
        duration === undefined ? 'It lasts until it is resumed.' : 'New callers whose wait ends before are refused as infeasible.',
        ...(view.pausedUntil !== undefined && key === undefined ? ['It is paused already: a pause never shortens a running one.'] : []),
      ],
      undo: 'Resume.',
      run: () => deps.admission.pause(name, key, duration, { by: caller, reason }),
    });
    const event: ChangeEvent = { kind: 'group_paused', key, forMs: millis(duration) };
    return answer(deps, change(deps, { caller, request, event, plan, made: (fields) => create(pb.PauseResponseSchema, fields) }), reply);
  });
}

function resuming(deps: ServiceDeps): UnaryCall {
  return unary(pb.GroupService.method.resume, ({ caller }, request, reply) => {
    const wrong = checkPause(request.group, request.key) ?? checkChange(request);
    if (wrong !== undefined) return refuse(reply, wrong);
    const { group: name, key } = request;
    const plan = (view: GroupView): Plan => {
      const paused = key === undefined ? view.pausedUntil !== undefined : view.pausedKeys > 0;
      return {
        facts: pauseFacts(view, key),
        effect: [
          paused
            ? `The limits decide again for ${key === undefined ? (view.waiting === 0 ? 'callers' : `the ${view.waiting} that wait`) : 'waiters of this key'}, in order.`
            : 'It is not paused: nothing changes.',
        ],
        undo: 'Pause again for the rest.',
        run: () => deps.admission.resume(name, key),
      };
    };
    const event: ChangeEvent = { kind: 'group_resumed', key };
    return answer(deps, change(deps, { caller, request, event, plan, made: (fields) => create(pb.ResumeResponseSchema, fields) }), reply);
  });
}

function overriding(deps: ServiceDeps): UnaryCall {
  return unary(pb.GroupService.method.override, ({ caller }, request, reply) => {
    const limits = new Map(Object.entries(request.limits).map(([name, quota]) => [name, quotaOf(quota)]));
    const { enforce, forgiveDebt, reason } = request;
    const override = checkChange(request) ?? toOverride({ group: request.group, limits, enforce, duration: fromProto(request.duration), forgive: forgiveDebt });
    if (isRefusal(override)) return refuse(reply, override);
    const plan = (view: GroupView): Plan => ({
      facts: [view.overriddenUntil === undefined, view.limits.map(({ name, quota }) => [name, quota])],
      effect: [
        ...replacedEffect(view, override),
        ...[...override.limits].flatMap(([name, quota]) => overrideEffect(view, name, quota)),
        ...(enforce === undefined ? [] : [enforce ? 'The limits hold callers again.' : 'The limits count, and hold no caller.']),
        ...(forgiveDebt ? ['All debt of its limits is dropped.'] : []),
        ...(override.for === undefined ? [] : [override.for === 0 ? 'The file holds again.' : `The file holds again by itself in ${spanText(override.for)}.`]),
      ],
      undo: override.for === undefined || override.for === 0 ? '' : 'End the override.',
      run: () => deps.admission.override(request.group, override, { by: caller, reason }),
    });
    const event: ChangeEvent = {
      kind: 'group_overridden',
      limits: [...limits.keys()],
      enforce,
      forMs: millis(override.for),
      forgiveDebt: forgiveDebt || undefined,
    };
    return answer(deps, change(deps, { caller, request, event, plan, made: (fields) => create(pb.OverrideResponseSchema, fields) }), reply);
  });
}

/** What a running override had changed, which another one replaces as a whole. */
function replacedEffect({ standing }: GroupView, { for: time, limits, enforce }: OverrideRequest): string[] {
  const running = standing?.override;
  if (running === undefined || time === undefined || time === 0) return [];
  const lost = running.limits.filter(({ name }) => !limits.has(name)).map(({ name, from }) => `${name} is ${quotaText(from)} again`);
  if (running.enforce !== undefined && enforce === undefined)
    lost.push(running.enforce.from ? 'the limits hold callers again' : 'the limits hold no caller again');
  return [`It replaces the override in force as a whole${lost.length === 0 ? '' : `: ${lost.join(', ')}`}.`];
}

function evicting(deps: ServiceDeps): UnaryCall {
  return unary(pb.GroupService.method.evictWaiter, ({ caller }, request, reply) => {
    const wrong = checkGroup(request.group) ?? checkName('waiter', request.waiter) ?? checkChange(request);
    if (wrong !== undefined) return refuse(reply, wrong);
    const { group: name, waiter } = request;
    const own = deps.auth.keyOf(caller);
    const planned: Plan = {
      facts: waiter,
      effect: ['It is refused as cancelled; a caller that asks again stands at the end.'],
      undo: '',
      run: () => deps.admission.evictWaiter(name, waiter, own),
    };
    const plan = async (): Promise<Plan | Refusal> => {
      const found = request.dryRun ? await listed((page) => deps.admission.waiters(name, page), waiter, own, NO_WAITER) : undefined;
      return found !== undefined && 'reason' in found ? found : planned;
    };
    const event: ChangeEvent = { kind: 'waiter_evicted', waiter };
    return answer(deps, change(deps, { caller, request, event, plan, made: (fields) => create(pb.EvictWaiterResponseSchema, fields) }), reply);
  });
}

function freedEffect({ waiting, standing }: GroupView): string {
  if (standing?.state === 'paused') return 'What it holds is free at once; nobody goes while the group is paused.';
  return waiting > 0 ? 'What it holds is free at once, for the next that waits.' : 'What it holds is free at once.';
}

function revoking(deps: ServiceDeps): UnaryCall {
  return unary(pb.GroupService.method.revokeLease, ({ caller }, request, reply) => {
    const wrong = checkGroup(request.group) ?? checkName('permit', request.permit) ?? checkChange(request);
    if (wrong !== undefined) return refuse(reply, wrong);
    const { group: name, permit } = request;
    const own = deps.auth.keyOf(caller);
    const planFor = (view: GroupView, holder: string): Plan => ({
      facts: permit,
      effect: [
        freedEffect(view),
        `${holder || 'Its holder'}: the next renewal or release is refused as fenced.`,
        'Sluice cannot stop work that the holder is still doing: for that time two may run. A backend that checks fences refuses the old one.',
      ],
      undo: '',
      run: () => deps.admission.revokeLease(name, permit, own),
    });
    const plan = async (view: GroupView): Promise<Plan | Refusal> => {
      if (!request.dryRun) return planFor(view, '');
      const lease = await listed((page) => deps.admission.leases(name, page), permit, own, { reason: 'unknown_permit' });
      if (lease !== undefined && 'reason' in lease) return lease;
      return planFor(view, lease !== undefined && mayRead(deps, caller, name) ? lease.holder : '');
    };
    const event: ChangeEvent = { kind: 'lease_revoked', permit };
    return answer(deps, change(deps, { caller, request, event, plan, made: (fields) => create(pb.RevokeLeaseResponseSchema, fields) }), reply);
  });
}

/** A change as it came in, and how to plan and answer it. */
interface ChangeCall<O> {
  readonly caller: string;
  readonly request: ChangeRequest;
  readonly event: ChangeEvent;
  readonly plan: (view: GroupView) => MaybePromise<Plan | Refusal>;
  readonly made: (fields: ChangeFields) => O;
}

/**
 * Tries a change, or does it, reports it, and says what it was before and is now. Where the group is decided in this process, the state is read,
 * compared with `expect` and changed in one turn of the event loop; through another replica a change may come between.
 */
async function change<O extends object>(deps: ServiceDeps, { caller, request, event, plan, made }: ChangeCall<O>): Promise<O | Refusal> {
  const { dryRun, group: name, reason } = request;
  const report = (refusal: Refusal | undefined): string =>
    deps.onOperator?.({ ...event, caller, group: name, reason: reason || undefined, refused: refusal?.reason }) ?? '';
  const asked = deps.admission.group(name);
  const view = asked instanceof Promise ? await asked : asked;
  const pending = isRefusal(view) ? view : plan(view);
  const planned = pending instanceof Promise ? await pending : pending;
  if (isRefusal(view) || 'reason' in planned) {
    if (!dryRun) report(planned as Refusal);
    return planned as Refusal;
  }
  const effect = [...planned.effect];
  const { undo, facts } = planned;
  const before = mayRead(deps, caller, name) ? { before: group(view, readerOf(deps, caller)) } : {};
  const expect = createHash('sha256').update(JSON.stringify(facts)).digest('base64url').slice(0, EXPECT_CHARS);
  if (dryRun) return made({ ...before, effect, undo, expect, audit: '' });
  if (request.expect !== '' && request.expect !== expect)
    return { reason: 'conflict', detail: `The state has changed since the dry run. Now: ${effect.join(' ')}` };
  const refusal = await planned.run();
  const audit = report(refusal);
  return refusal ?? made({ ...before, ...(await afterwards(deps, caller, name)), effect, undo, expect: '', audit });
}

/** Whether the caller may see the group that it changes: a credential that only manages may not. */
function mayRead({ auth }: ServiceDeps, caller: string, name: string): boolean {
  return auth.check(caller, { ability: 'read', group: name }) === undefined;
}

/** The group as it is after a change; empty where it cannot be read: the change is done all the same. */
async function afterwards(deps: ServiceDeps, caller: string, name: string): Promise<Pick<ChangeFields, 'after'>> {
  if (!mayRead(deps, caller, name)) return {};
  try {
    const view = await deps.admission.group(name);
    return isRefusal(view) ? {} : { after: group(view, readerOf(deps, caller)) };
  } catch (error) {
    deps.onError(error);
    return {};
  }
}

function checkChange({ reason, expect }: ChangeRequest): Refusal | undefined {
  return checkText('reason', reason, REASON_BYTES_MAX) ?? checkText('expect', expect, EXPECT_BYTES_MAX);
}

/** A pause that ends by itself moves no confirmation. */
function pauseFacts({ pausedUntil, standing }: GroupView, key: string | undefined): unknown {
  return key === undefined ? pausedUntil !== undefined : (standing?.keyPauses.some((each) => each.key === key) ?? false);
}

function stay(waiting: number): string {
  if (waiting === 0) return '';
  return waiting === 1 ? ' The one that waits waits on.' : ` ${waiting} that wait wait on.`;
}

function overrideEffect(view: GroupView, name: string, quota: Quota): readonly string[] {
  const limit = view.limits.find((each) => each.name === name);
  const from = limit?.quota === undefined ? 'not known' : quotaText(limit.quota);
  const over = quota.kind === 'concurrency' && limit !== undefined ? limit.used + limit.debt - quota.max : 0;
  const held =
    over > 0
      ? [`${limit?.used} in use over ${quota.kind === 'concurrency' ? quota.max : 0}: no holder is stopped, and none passes until ${over} came back.`]
      : [];
  return [`${name}: ${from} becomes ${quotaText(quota)}.`, ...held];
}

/**
 * Looks for the waiter or lease that a dry run is about, of the caller's own key where it has one. Returns what a change would be refused with where it
 * is not there; undefined where the list is longer than is looked through.
 */
async function listed<T extends { readonly id: string; readonly key: string }>(
  pageAt: (page: PageRequest) => MaybePromise<Page<T> | Refusal>,
  id: string,
  own: string | undefined,
  missing: Refusal,
): Promise<T | Refusal | undefined> {
  for (let token = '', pages = 0; pages < PAGES_MAX; pages++) {
    const found = await pageAt({ size: PAGE_MAX, token });
    if (isRefusal(found)) return found;
    const item = found.items.find((each) => each.id === id && (own === undefined || own === each.key));
    if (item !== undefined) return item;
    if (found.next === '') return missing;
    token = found.next;
  }
  return undefined;
}

/** A quota as the core has it; undefined: the message names no kind. */
function quotaOf(quota: pb.Quota): Quota | undefined {
  const { kind } = quota;
  switch (kind.case) {
    case 'rate':
      return { kind: 'rate', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? INVALID_DURATION, burst: Number(kind.value.burst) || 1 };
    case 'spacing':
      return { kind: 'spacing', spacing: fromProto(kind.value.spacing) ?? INVALID_DURATION, slack: fromProto(kind.value.slack) ?? 0 };
    case 'window':
      return { kind: 'window', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? INVALID_DURATION };
    case 'concurrency':
      return { kind: 'concurrency', max: Number(kind.value.max) };
    default:
      return undefined;
  }
}

function millis(micros: Micros | undefined): number | undefined {
  return micros === undefined ? undefined : micros / MILLISECOND;
}
