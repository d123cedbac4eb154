import {
  type AcquireHandle,
  type AdmissionRequest,
  type AdmissionService,
  type GroupSettings,
  NO_HANDLE,
  type Outcome,
  type PermitView,
  type ReleaseOutcome,
  type ReleaseRequest,
  type RenewOutcome,
} from '../admission/admission.ts';
import { parsePermitId, permitId } from '../admission/permit-id.ts';
import { partitionGroups } from '../admission/tree-spec.ts';
import type { GroupSpec, LimitSpec, Quota } from '../core/group.ts';
import type { Permit } from '../core/permit.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupRoute } from './group-directory.ts';
import type { DegradedAdmission } from './pending-requests.ts';

/** How a group is decided while no other replica can be reached: on a part of its limits, or without any. */
export type DegradedOptions = 'share' | 'open';

/** Dependencies of {@link DegradedMode}. */
export interface DegradedModeDeps {
  readonly now: () => Instant;
  /** Returns the groups as they are configured now. */
  readonly settings: () => readonly GroupSettings[];
  /** Opens a separate admission for these groups, over memory only, that decides from now on. */
  readonly admission: (settings: readonly GroupSettings[]) => Promise<AdmissionService>;
  /** Called when a caller was admitted outside the promises. */
  readonly admitted: (group: string, how: DegradedOptions) => void;
}

/** Leases granted on a share that are remembered at most, so that they can be released after degraded mode has ended. */
const REMEMBERED_MAX = 100_000;

interface DegradedPermit {
  readonly caller: string;
  readonly view: PermitView | undefined;
}

/**
 * Admission while no other replica can be reached, for groups with `unreachable: share | open`. Its permits are outside the promise of
 * never too many, and flagged. When other replicas can be reached again, they do not know of these permits.
 */
export class DegradedMode implements DegradedAdmission {
  readonly #deps: DegradedModeDeps;
  /** Its permits, with the credential that requested them. `view` is undefined if only the costs may still be settled. */
  readonly #permits = new Map<string, DegradedPermit>();
  #admission: AdmissionService | undefined;
  #serial = 0;
  #round = 0;

  constructor(deps: DegradedModeDeps) {
    this.#deps = deps;
  }

  /** Begins to decide, as one of `replicas`. Resolves when its admission is open; rejects when that cannot be opened. */
  async begin(replicas: number): Promise<void> {
    const round = ++this.#round;
    const settings = [...partitionGroups(this.#deps.settings()).trees.values()]
      .filter((tree) => tree.settings.some(({ unreachable }) => unreachable === 'share'))
      .flatMap((tree) => tree.settings);
    const admission = await this.#deps.admission(divideLimits(settings, replicas));
    if (round === this.#round) this.#admission = admission;
    else void admission.drain(0);
  }

  /** Ends degraded mode. The caller has moved all waiters away before. */
  end(): void {
    this.#round++;
    void this.#admission?.drain(0);
    this.#admission = undefined;
  }

  acquire(request: AdmissionRequest, route: GroupRoute, done: (outcome: Outcome) => void): AcquireHandle {
    if (route.settings.unreachable === 'open') return this.#admitOpen(request, done);
    if (this.#admission === undefined) {
      done({ kind: 'refused', refusal: { reason: 'undecided', retryAt: plus(this.#deps.now(), SECOND) } });
      return NO_HANDLE;
    }
    return this.#admission.acquire(request, (outcome) => done(this.#onOutcome(request, outcome)));
  }

  /** Returns undefined if the permit is not one of degraded mode. After degraded mode, such a lease is renewed in memory only. */
  renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> | undefined {
    const known = this.#permits.get(permit);
    if (known === undefined) return undefined;
    if (this.#admission !== undefined) return this.#admission.renew(caller, permit, lease);
    const { view } = known;
    if (view === undefined || known.caller !== caller) return Promise.resolve({ kind: 'refused', refusal: { reason: 'unknown_permit' } });
    const duration = lease ?? view.duration;
    return Promise.resolve({ kind: 'renewed', permit: { ...view, duration, expiresAt: plus(this.#deps.now(), duration) } });
  }

  /** Returns undefined if the permit is not one of degraded mode. */
  release(request: ReleaseRequest): Promise<ReleaseOutcome> | undefined {
    const { caller, permit } = request;
    const known = this.#permits.get(permit);
    if (known !== undefined && known.caller !== caller) return Promise.resolve({ kind: 'refused', refusal: { reason: 'unknown_permit' } });
    if (this.#permits.delete(permit)) return this.#admission?.release(request) ?? Promise.resolve({ kind: 'released', ended: true });
    const name = parsePermitId(permit);
    if (this.#admission === undefined || name === undefined || name.tag !== undefined) return undefined;
    // The permit is not remembered; its disposition still matters to the limits that adapt here.
    return this.#mode(name.group) === 'share' ? this.#admission.release(request) : Promise.resolve({ kind: 'released', ended: false });
  }

  endSession(caller: string, session: string, resume: Micros): void {
    this.#admission?.endSession(caller, session, resume);
  }

  /** Counts the caller and admits it. */
  #admitOpen(request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const { group, key, costs } = request;
    const grantedAt = this.#deps.now();
    const serial = ++this.#serial;
    const permit: Permit = {
      ...{ group, key, serial, costs, grantedAt },
      ...{ tag: { high: 0, low: 0 }, waited: 0, order: 0, lease: undefined, settleable: false, shadow: undefined },
    };
    this.#deps.admitted(group, 'open');
    done({ kind: 'admitted', permit, id: permitId(group, serial, undefined), degraded: 'open' });
    return NO_HANDLE;
  }

  #onOutcome(request: AdmissionRequest, outcome: Outcome): Outcome {
    if (outcome.kind === 'refused') {
      // Costs above a part of the limit may fit the whole limit.
      if (outcome.refusal.reason !== 'oversized') return outcome;
      return { kind: 'refused', refusal: { ...outcome.refusal, reason: 'undecided', retryAt: plus(this.#deps.now(), SECOND) } };
    }
    this.#deps.admitted(request.group, 'share');
    const { id, permit } = outcome;
    const { caller } = request;
    if (permit.lease !== undefined) this.#remember(id, { caller, view: { id, group: request.group, ...permit.lease } });
    else if (permit.settleable) this.#remember(id, { caller, view: undefined });
    return { ...outcome, degraded: 'share' };
  }

  #mode(group: string): GroupSettings['unreachable'] | undefined {
    return this.#deps.settings().find(({ spec }) => spec.name === group)?.unreachable;
  }

  #remember(id: string, known: DegradedPermit): void {
    this.#permits.set(id, known);
    if (this.#permits.size > REMEMBERED_MAX) this.#permits.delete(this.#permits.keys().next().value as string);
  }
}

/**
 * Returns the groups with every limit at 1/`replicas`, so that all isolated replicas together admit about what the limit allows
 * (docs/design/coordination.md 2.9). Rounded down, and never to 0:
 *
 *     window, fixed      floor(permits / n) in the same length; where that is 0, 1 in n / permits times the length, rounded up
 *                        (a calendar's window cannot be longer: 1 in it)
 *     rate               the same, and a burst of floor(burst / n), at least 1
 *     spacing            n times as long, slack included
 *     concurrency        floor(max / n), at least 1
 */
function divideLimits(settings: readonly GroupSettings[], replicas: number): readonly GroupSettings[] {
  return settings.map((each) => ({ ...each, spec: sharedSpec(each.spec, Math.max(1, replicas)) }));
}

function sharedSpec(spec: GroupSpec, replicas: number): GroupSpec {
  return { ...spec, limits: spec.limits.map((limit) => sharedLimit(limit, replicas)) };
}

function sharedLimit(limit: LimitSpec, replicas: number): LimitSpec {
  const keys = new Map([...limit.keys].map(([key, quota]) => [key, divideQuota(quota, replicas)]));
  return { ...limit, quota: divideQuota(limit.quota, replicas), keys };
}

/** Returns 1/`replicas` of one limit. */
export function divideQuota(quota: Quota, replicas: number): Quota {
  const part = (count: number) => Math.max(1, Math.floor(count / replicas));
  const longer = (permits: number, per: number) => (permits >= replicas ? per : Math.ceil((per * replicas) / permits));
  switch (quota.kind) {
    case 'rate':
      return { ...quota, permits: part(quota.permits), per: longer(quota.permits, quota.per), burst: part(quota.burst) };
    case 'window':
      return { ...quota, permits: part(quota.permits), per: longer(quota.permits, quota.per) };
    case 'fixed': {
      const spill = Math.floor(quota.spill / replicas);
      const per = quota.per === 'month' || quota.align === 'calendar' ? quota.per : longer(quota.permits, quota.per);
      return { ...quota, permits: part(quota.permits), per, spill };
    }
    case 'spacing':
      return { ...quota, spacing: quota.spacing * replicas, slack: quota.slack * replicas };
    case 'concurrency':
      return { ...quota, max: part(quota.max) };
  }
}
