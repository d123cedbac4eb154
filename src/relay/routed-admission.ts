import {
  type AcquireHandle,
  type AdmissionRequest,
  type AdmissionService,
  type Explanation,
  type GroupSettings,
  type GroupView,
  type LocalAdmissionService,
  NO_HANDLE,
  type OperatorReason,
  type Outcome,
  type OverrideRequest,
  type Page,
  type PageRequest,
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

/** Dependencies of {@link RoutedAdmission}. */
export interface RoutedAdmissionDeps extends OwnerClientDeps {
  readonly admission: LocalAdmissionService;
  readonly directory: GroupDirectory;
  readonly slices: Slices;
  readonly peerRequests: PendingRequests;
  readonly calls: PendingCalls;
  readonly owners: OwnerClient;
  readonly limitCache: LimitCache;
  readonly degraded: DegradedMode | undefined;
  readonly clusterView: ClusterView;
  readonly peers: () => readonly string[];
  /** Gives all shards away, before admission is closed. Never rejects. */
  readonly leave: () => Promise<void>;
  /** Resolves when peers have received everything that was sent to them, or after a timeout. */
  readonly flush: () => Promise<void>;
}

/** A peer that does not reply about a session within this time counts as one that has nothing of it. */
const SESSION_WAIT: Micros = SECOND;

type Listed<T> = Page<T & { readonly id: string }>;

/** Admission for the callers of this process: every call is answered by the owner of its group, here or at a peer. */
export class RoutedAdmission implements AdmissionService {
  readonly #deps: RoutedAdmissionDeps;
  #draining = false;
  /** Resolves when the last change of the directory is done. Changes run one at a time, in the order of the local admission's. */
  #replaced: Promise<void> = Promise.resolve();

  constructor(deps: RoutedAdmissionDeps) {
    this.#deps = deps;
  }

  acquire(request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const route = this.#deps.directory.of(request.group);
    if (route !== undefined && !this.#draining) return this.#deps.peerRequests.begin(request, route, done);
    done({ kind: 'refused', refusal: route === undefined ? unknownGroup(request.group) : { reason: 'draining', retryAt: this.now() } });
    return NO_HANDLE;
  }

  renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const { admission, degraded } = this.#deps;
    const degradedOutcome = degraded?.renew(caller, permit, lease);
    if (degradedOutcome !== undefined) return degradedOutcome;
    const here = () => admission.renew(caller, permit, lease);
    return this.#callPermitOwner(permit, 'renew', { caller, permit, lease }, here, shiftRenewal);
  }

  release(request: ReleaseRequest): Promise<ReleaseOutcome> {
    const { admission, degraded } = this.#deps;
    const degradedOutcome = degraded?.release(request);
    if (degradedOutcome !== undefined) return degradedOutcome;
    const here = () => admission.release(request);
    const { disposition: how, ...rest } = request;
    return this.#callPermitOwner(request.permit, 'release', { ...rest, how }, here, shiftRelease);
  }

  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const args = { caller, group, requestId };
    const here = () => this.#deps.admission.releaseRequest(caller, group, requestId);
    return this.#deps.owners.call({ group, here, method: 'releaseRequest', args, shift: shiftRelease, refused });
  }

  endSession(caller: string, session: string, resume: Micros): void {
    const { admission, calls, peers, peerRequests: requests, degraded } = this.#deps;
    admission.endSession(caller, session, resume);
    degraded?.endSession(caller, session, resume);
    for (const peer of peers()) void calls.make(peer, 'endSession', { caller, session, resume }, SESSION_WAIT);
    // Requests that no owner has are without a position: none could be reported.
    const mine = (request: AdmissionRequest) => request.session === session && request.caller === caller;
    requests.table.refuseAll({ reason: 'cancelled', detail: 'The session ended.' }, ({ request, state }) => state !== 'there' && mine(request));
  }

  async resumeSession(caller: string, session: string): Promise<readonly PermitView[]> {
    const { admission, calls, peers } = this.#deps;
    const there = peers().map(async (peer) => {
      const reply = await calls.make(peer, 'resumeSession', { caller, session }, SESSION_WAIT);
      return reply.how === 'value' ? shiftAll(reply.value as readonly PermitView[], reply.by, shiftPermitView) : [];
    });
    return (await Promise.all([admission.resumeSession(caller, session), ...there])).flat();
  }

  explain(request: AdmissionRequest): Promise<Explanation | Refusal> {
    return this.#callOwner(request.group, 'explain', { ask: request }, () => this.#deps.admission.explain(request), shiftExplanation);
  }

  async groups(): Promise<readonly GroupView[]> {
    return this.#deps.clusterView.withPlacement(await listGroups(this.#deps));
  }

  async group(group: string): Promise<GroupView | Refusal> {
    const view = await this.#callOwner(group, 'group', { group }, () => this.#deps.admission.group(group), shiftGroup);
    return 'reason' in view ? view : (this.#deps.clusterView.withPlacement([view])[0] ?? view);
  }

  replicas(): readonly ReplicaView[] {
    return this.#deps.clusterView.replicas();
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const { admission, limitCache } = this.#deps;
    return admission.isLocal(group) ? admission.limitsFor(group, key) : limitCache.of(group, key);
  }

  waiters(group: string, page: PageRequest): Promise<Listed<WaiterView> | Refusal> {
    const shift = (found: Listed<WaiterView>, by: Micros) => shiftPage(found, by, shiftWaiter);
    return this.#callOwner(group, 'waiters', { group, page }, () => this.#deps.admission.waiters(group, page), shift);
  }

  leases(group: string, page: PageRequest): Promise<Listed<LeaseView> | Refusal> {
    const shift = (found: Listed<LeaseView>, by: Micros) => shiftPage(found, by, shiftLeaseView);
    return this.#callOwner(group, 'leases', { group, page }, () => this.#deps.admission.leases(group, page), shift);
  }

  pause(group: string, key: string | undefined, pauseFor: Micros | undefined, why?: OperatorReason): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'pause', { group, key, pauseFor, why }, () => this.#deps.admission.pause(group, key, pauseFor, why));
  }

  resume(group: string, key: string | undefined): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'resume', { group, key }, () => this.#deps.admission.resume(group, key));
  }

  override(group: string, override: OverrideRequest, why?: OperatorReason): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'override', { group, wish: override, why }, () => this.#deps.admission.override(group, override, why));
  }

  report(group: string, limit: string, window: WindowReport): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'report', { group, limit, said: window }, () => this.#deps.admission.report(group, limit, window));
  }

  evictWaiter(group: string, id: string, key?: string): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'evictWaiter', { group, id, key }, () => this.#deps.admission.evictWaiter(group, id, key));
  }

  revokeLease(group: string, permit: string, key?: string): Promise<Refusal | undefined> {
    return this.#mutateOwner(group, 'revokeLease', { group, permit, key }, () => this.#deps.admission.revokeLease(group, permit, key));
  }

  async reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const { admission, directory, peerRequests: requests, slices } = this.#deps;
    const problems = await admission.reconfigure(groups);
    if (problems.length > 0) return problems;
    this.#replaced = this.#replaced.then(() => slices.run(directory.replacing(groups)));
    await this.#replaced;
    requests.onSettingsChanged();
    return [];
  }

  /** Refuses new requests and gives all shards away. Pending requests are sent to the new owners until they are answered or `grace` ends. */
  async drain(grace: Micros): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { peerRequests: requests, admission, leave, now, timers, peers } = this.#deps;
    const end = plus(now(), grace);
    const emptied = new Promise<void>((resolve) => {
      const cancel = timers.after(grace, () => resolve());
      requests.table.onEmpty = () => {
        cancel();
        resolve();
      };
      if (requests.table.open === 0) requests.table.onEmpty();
    });
    // Without peers, this replica decides until all are answered.
    if (peers().length === 0) await emptied;
    await Promise.all([leave(), emptied]);
    requests.table.refuseAll({ reason: 'draining', retryAt: now() });
    await this.#deps.flush();
    await admission.drain(Math.max(0, end - now()));
  }

  now(): Instant {
    return this.#deps.admission.now();
  }

  epoch(at: Instant): number {
    return this.#deps.admission.epoch(at);
  }

  /** Calls the owner of the group that the permit's name contains. */
  #callPermitOwner<T extends RenewOutcome | ReleaseOutcome>(
    permit: string,
    method: Method,
    args: CallArgs,
    here: () => Promise<T>,
    shift: (value: T, by: Micros) => T,
  ): Promise<T | ReturnType<typeof refused>> {
    const group = parsePermitId(permit)?.group;
    if (group === undefined) return Promise.resolve(refused({ reason: 'unknown_permit' }));
    return this.#deps.owners.call<T | ReturnType<typeof refused>>({ group, here, method, args, shift: (value, by) => shift(value as T, by), refused });
  }

  /** Calls the owner for a view. */
  #callOwner<T extends object>(
    group: string,
    method: Method,
    args: CallArgs,
    here: () => T | Refusal | Promise<T | Refusal>,
    shift: (value: T, by: Micros) => T,
  ): Promise<T | Refusal> {
    const either = (value: T | Refusal, by: Micros) => ('reason' in value ? shiftRefusal(value, by) : shift(value, by));
    return this.#deps.owners.call({ group, here, method, args, shift: either, refused: (refusal) => refusal });
  }

  /** Calls the owner for an operator's action. */
  #mutateOwner(group: string, method: Method, args: CallArgs, here: () => Promise<Refusal | undefined>): Promise<Refusal | undefined> {
    const shift = (value: Refusal | undefined, by: Micros) => value && shiftRefusal(value, by);
    return this.#deps.owners.call({ group, here, method, args, shift, refused: (refusal) => refusal });
  }
}

function refused(refusal: Refusal): { readonly kind: 'refused'; readonly refusal: Refusal } {
  return { kind: 'refused', refusal };
}

function shiftRelease(outcome: ReleaseOutcome, by: Micros): ReleaseOutcome {
  return outcome.kind === 'released' ? outcome : refused(shiftRefusal(outcome.refusal, by));
}

/** Groups and keys whose limits are cached at most. */
const SEEN_LIMITS_MAX = 10_000;

/** Caches the limits that came with outcomes of other replicas, for RateLimit fields. */
export class LimitCache {
  readonly #limits = new Map<string, readonly LimitView[]>();

  of(group: string, key: string): readonly LimitView[] {
    return this.#limits.get(`${group}\u0000${key}`) ?? [];
  }

  set(group: string, key: string, limits: readonly LimitView[]): void {
    const name = `${group}\u0000${key}`;
    this.#limits.delete(name);
    this.#limits.set(name, limits);
    if (this.#limits.size > SEEN_LIMITS_MAX) this.#limits.delete(this.#limits.keys().next().value as string);
  }
}
