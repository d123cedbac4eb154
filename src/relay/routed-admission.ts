import {
  type AcquireHandle,
  type AdmissionRequest,
  type AdmissionService,
  type Explanation,
  type GroupSettings,
  type GroupView,
  type LocalAdmissionService,
  NO_HANDLE,
  type Outcome,
  type OverrideRequest,
  type Page,
  type PermitView,
  type ReleaseOutcome,
  type ReleaseRequest,
  type RenewOutcome,
  type ReplicaView,
  unknownGroup,
} from '../admission/admission.ts';
import { parsePermitId } from '../admission/permit-id.ts';
import type { Slices } from '../admission/slices.ts';
import {
  shiftAll,
  shiftExplanation,
  shiftGroup,
  shiftLeaseView,
  shiftPage,
  shiftPermitView,
  shiftRefusal,
  shiftRenewal,
  shiftWaiter,
} from '../admission/time-shift.ts';
import type { LimitView } from '../core/gate/views.ts';
import type { WindowReport } from '../core/limits/reported-window.ts';
import type { LeaseView } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { WaiterView } from '../core/request.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import { type ClusterView, listGroups } from './cluster-view.ts';
import type { DegradedMode } from './degraded-mode.ts';
import type { GroupDirectory } from './group-directory.ts';
import type { OwnerClient, OwnerClientDeps, PendingCalls } from './owner-client.ts';
import type { PendingRequests } from './pending-requests.ts';
import type { CallArgs, Method } from './transport/codec.ts';

/** What an edge is made of. */
export interface RoutedAdmissionDeps extends OwnerClientDeps {
  readonly admission: LocalAdmissionService;
  readonly directory: GroupDirectory;
  readonly slices: Slices;
  readonly asks: PendingRequests;
  readonly calls: PendingCalls;
  readonly owners: OwnerClient;
  readonly seen: LimitCache;
  readonly outage: DegradedMode | undefined;
  readonly standing: ClusterView;
  readonly peers: () => readonly string[];
  /** Gives all shards away; before admission is closed. Never rejects. */
  readonly leave: () => Promise<void>;
  /** Resolves when peers know all that was said to them, or after a while. */
  readonly told: () => Promise<void>;
}

/** A peer that does not answer about a session in time has nothing of it. */
const SESSION_WAIT: Micros = SECOND;

type Listed<T> = Page<T & { readonly id: string }>;

/** Admission of a replica among replicas: what a caller of this process asks is decided by the owner of its group. */
export class RoutedAdmission implements AdmissionService {
  readonly #parts: RoutedAdmissionDeps;
  #draining = false;
  /** One change of the directory at a time, in the order of the local admission's. */
  #replaced: Promise<void> = Promise.resolve();

  constructor(parts: RoutedAdmissionDeps) {
    this.#parts = parts;
  }

  acquire(ask: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const spot = this.#parts.directory.of(ask.group);
    if (spot !== undefined && !this.#draining) return this.#parts.asks.begin(ask, spot, done);
    done({ kind: 'refused', refusal: spot === undefined ? unknownGroup(ask.group) : { reason: 'draining', retryAt: this.now() } });
    return NO_HANDLE;
  }

  renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const { admission, outage } = this.#parts;
    const kept = outage?.renew(caller, permit, lease);
    if (kept !== undefined) return kept;
    const here = () => admission.renew(caller, permit, lease);
    return this.#ofPermit(permit, 'renew', { caller, permit, lease }, here, shiftRenewal);
  }

  release(request: ReleaseRequest): Promise<ReleaseOutcome> {
    const { admission, outage } = this.#parts;
    const kept = outage?.release(request);
    if (kept !== undefined) return kept;
    const here = () => admission.release(request);
    const { disposition: how, ...rest } = request;
    return this.#ofPermit(request.permit, 'release', { ...rest, how }, here, shiftRelease);
  }

  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const args = { caller, group, requestId };
    const here = () => this.#parts.admission.releaseRequest(caller, group, requestId);
    return this.#parts.owners.call({ group, here, method: 'releaseRequest', args, shift: shiftRelease, refused });
  }

  endSession(caller: string, session: string, resume: Micros): void {
    const { admission, calls, peers, asks, outage } = this.#parts;
    admission.endSession(caller, session, resume);
    outage?.endSession(caller, session, resume);
    for (const peer of peers()) void calls.make(peer, 'endSession', { caller, session, resume }, SESSION_WAIT);
    // Requests that no owner has are without a position: none could be reported.
    const mine = (ask: AdmissionRequest) => ask.session === session && ask.caller === caller;
    asks.roll.refuseAll({ reason: 'cancelled', detail: 'The session ended.' }, ({ ask, state }) => state !== 'there' && mine(ask));
  }

  async resumeSession(caller: string, session: string): Promise<readonly PermitView[]> {
    const { admission, calls, peers } = this.#parts;
    const there = peers().map(async (peer) => {
      const reply = await calls.make(peer, 'resumeSession', { caller, session }, SESSION_WAIT);
      return reply.how === 'value' ? shiftAll(reply.value as readonly PermitView[], reply.by, shiftPermitView) : [];
    });
    return (await Promise.all([admission.resumeSession(caller, session), ...there])).flat();
  }

  explain(ask: AdmissionRequest): Promise<Explanation | Refusal> {
    return this.#callOwner(ask.group, 'explain', { ask }, () => this.#parts.admission.explain(ask), shiftExplanation);
  }

  async groups(): Promise<readonly GroupView[]> {
    return this.#parts.standing.placed(await listGroups(this.#parts));
  }

  async group(group: string): Promise<GroupView | Refusal> {
    const view = await this.#callOwner(group, 'group', { group }, () => this.#parts.admission.group(group), shiftGroup);
    return 'reason' in view ? view : (this.#parts.standing.placed([view])[0] ?? view);
  }

  replicas(): readonly ReplicaView[] {
    return this.#parts.standing.replicas();
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const { admission, seen } = this.#parts;
    return admission.isLocal(group) ? admission.limitsFor(group, key) : seen.of(group, key);
  }

  waiters(group: string, page: { size: number; token: string }): Promise<Listed<WaiterView> | Refusal> {
    const shift = (found: Listed<WaiterView>, by: Micros) => shiftPage(found, by, shiftWaiter);
    return this.#callOwner(group, 'waiters', { group, page }, () => this.#parts.admission.waiters(group, page), shift);
  }

  leases(group: string, page: { size: number; token: string }): Promise<Listed<LeaseView> | Refusal> {
    const shift = (found: Listed<LeaseView>, by: Micros) => shiftPage(found, by, shiftLeaseView);
    return this.#callOwner(group, 'leases', { group, page }, () => this.#parts.admission.leases(group, page), shift);
  }

  pause(group: string, key: string | undefined, pauseFor: Micros | undefined): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'pause', { group, key, pauseFor }, () => this.#parts.admission.pause(group, key, pauseFor));
  }

  resume(group: string, key: string | undefined): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'resume', { group, key }, () => this.#parts.admission.resume(group, key));
  }

  override(group: string, wish: OverrideRequest): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'override', { group, wish }, () => this.#parts.admission.override(group, wish));
  }

  report(group: string, limit: string, said: WindowReport): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'report', { group, limit, said }, () => this.#parts.admission.report(group, limit, said));
  }

  evictWaiter(group: string, id: string, key?: string): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'evictWaiter', { group, id, key }, () => this.#parts.admission.evictWaiter(group, id, key));
  }

  revokeLease(group: string, permit: string, key?: string): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'revokeLease', { group, permit, key }, () => this.#parts.admission.revokeLease(group, permit, key));
  }

  async reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const { admission, directory, asks, slices } = this.#parts;
    const mistakes = await admission.reconfigure(groups);
    if (mistakes.length > 0) return mistakes;
    this.#replaced = this.#replaced.then(() => slices.run(directory.replacing(groups)));
    await this.#replaced;
    asks.onSettingsChanged();
    return [];
  }

  /** Newcomers are refused; shards go to others, and those held are asked for there, until they are answered or `grace` ends. */
  async drain(grace: Micros): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { asks, admission, leave, now, timers, peers } = this.#parts;
    const end = plus(now(), grace);
    const emptied = new Promise<void>((resolve) => {
      const cancel = timers.after(grace, () => resolve());
      asks.roll.onEmpty = () => {
        cancel();
        resolve();
      };
      if (asks.roll.open === 0) asks.roll.onEmpty();
    });
    // Alone, it decides to the end.
    if (peers().length === 0) await emptied;
    await Promise.all([leave(), emptied]);
    asks.roll.refuseAll({ reason: 'draining', retryAt: now() });
    await this.#parts.told();
    await admission.drain(Math.max(0, end - now()));
  }

  now(): Instant {
    return this.#parts.admission.now();
  }

  epoch(at: Instant): number {
    return this.#parts.admission.epoch(at);
  }

  /** Of whatever has a permit's name. */
  #ofPermit<T extends RenewOutcome | ReleaseOutcome>(
    permit: string,
    method: Method,
    args: CallArgs,
    here: () => Promise<T>,
    shift: (value: T, by: Micros) => T,
  ): Promise<T | ReturnType<typeof refused>> {
    const group = parsePermitId(permit)?.group;
    if (group === undefined) return Promise.resolve(refused({ reason: 'unknown_permit' }));
    return this.#parts.owners.call<T | ReturnType<typeof refused>>({ group, here, method, args, shift: (value, by) => shift(value as T, by), refused });
  }

  /** What people look at. */
  #callOwner<T extends object>(
    group: string,
    method: Method,
    args: CallArgs,
    here: () => T | Refusal | Promise<T | Refusal>,
    shift: (value: T, by: Micros) => T,
  ): Promise<T | Refusal> {
    const either = (value: T | Refusal, by: Micros) => ('reason' in value ? shiftRefusal(value, by) : shift(value, by));
    return this.#parts.owners.call({ group, here, method, args, shift: either, refused: (refusal) => refusal });
  }

  /** What operators do. */
  #mutateOwner(group: string, method: Method, args: CallArgs, here: () => Promise<Refusal | undefined>): Promise<Refusal | undefined> {
    const shift = (value: Refusal | undefined, by: Micros) => value && shiftRefusal(value, by);
    return this.#parts.owners.call({ group, here, method, args, shift, refused: (refusal) => refusal });
  }
}

function refused(refusal: Refusal): { readonly kind: 'refused'; readonly refusal: Refusal } {
  return { kind: 'refused', refusal };
}

function shiftRelease(outcome: ReleaseOutcome, by: Micros): ReleaseOutcome {
  return outcome.kind === 'released' ? outcome : refused(shiftRefusal(outcome.refusal, by));
}

/** Groups and keys whose limits are remembered at most. */
const SEEN_LIMITS_MAX = 10_000;

/** Limits as last seen with an answer of another replica, for RateLimit fields. */
export class LimitCache {
  readonly #seen = new Map<string, readonly LimitView[]>();

  of(group: string, key: string): readonly LimitView[] {
    return this.#seen.get(`${group}\u0000${key}`) ?? [];
  }

  set(group: string, key: string, limits: readonly LimitView[]): void {
    const name = `${group}\u0000${key}`;
    this.#seen.delete(name);
    this.#seen.set(name, limits);
    if (this.#seen.size > SEEN_LIMITS_MAX) this.#seen.delete(this.#seen.keys().next().value as string);
  }
}
