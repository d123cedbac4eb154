import type { LimitView } from '../core/gate/views.ts';
import type { Costs } from '../core/group.ts';
import type { WindowReport } from '../core/limits/reported-window.ts';
import type { LeaseView } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { WaiterView } from '../core/request.ts';
import { type Instant, MILLISECOND, type Micros, NEVER, plus, SECOND } from '../core/time.ts';
import {
  type AcquireHandle,
  type AdmissionRequest,
  type AdmissionService,
  type Explanation,
  type GroupSettings,
  type GroupView,
  MOVED,
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
  unknownGroup,
} from './admission.ts';
import { sleep } from './clock.ts';
import type { AdmissionDeps, ShardContext } from './deps.ts';
import { drain } from './drain.ts';
import { evict, override, pause, report, resume, revoke } from './operator-actions.ts';
import { PendingAcquire } from './pending-acquire.ts';
import { releasePermit, renewPermit } from './permit-actions.ts';
import { type PermitName, parsePermitId } from './permit-id.ts';
import { explain, groupView, leasePage, limitViews, waiterPage } from './queries.ts';
import { reconfigure } from './reconfigure.ts';
import { RequestIdTable } from './request-ids.ts';
import { Sessions } from './sessions.ts';
import { ShardTrees } from './shard-trees.ts';
import { atOnce, Slices, type Work } from './slices.ts';
import type { StoredLine, StoredRequestAsk, StoredSink } from './stored-line.ts';
import { shiftExplanation, shiftGroup, shiftLeaseView, shiftLimit, shiftPage, shiftRefusal, shiftRenewal, shiftWaiter } from './time-shift.ts';
import { type GroupLocation, TreeRegistry } from './tree-registry.ts';
import { type Forest, partitionGroups, planting } from './tree-spec.ts';
import { type Units, unitsIn } from './units.ts';

/** Of the event loop, so that a turn with one is below 2 ms. */
const VIEWS_SLICE = MILLISECOND;

function viewOf({ tree, entry }: GroupLocation): GroupView {
  return shiftGroup(groupView(tree.now(), tree, entry), tree.clockOffset);
}

function* viewing(homes: Iterable<GroupLocation>): Work<readonly GroupView[]> {
  const views: GroupView[] = [];
  for (const home of homes) {
    views.push(viewOf(home));
    yield;
  }
  return views;
}

/** Admission of this process: finds the tree of a group, and lets its gate decide. */
export class LocalAdmission implements AdmissionService, StoredLine {
  readonly #deps: AdmissionDeps;
  readonly #gates: TreeRegistry;
  readonly #shardTrees: ShardTrees | undefined;
  readonly #requests: RequestIdTable;
  readonly #sessions: Sessions;
  readonly #slices: Slices;
  /** For what people wait for: it rests for one turn of the event loop between two slices. */
  readonly #looks: Slices;
  /** The groups in force. */
  #forest: Forest | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  #draining = false;

  constructor(deps: AdmissionDeps) {
    const { clock, bounds, onEvent, defer, shardOf } = deps;
    this.#deps = deps;
    this.#slices = new Slices(deps);
    this.#looks = new Slices({ clock, defer });
    this.#shardTrees = shardOf && new ShardTrees({ clock, onEvent: onEvent, defer, shardOf });
    this.#gates = new TreeRegistry(deps, this.#shardTrees);
    this.#shardTrees?.serve(this.#gates);
    this.#requests = new RequestIdTable({ clock, max: bounds.requests });
    this.#gates.onAdopted = (tree) => this.#requests.recover(tree);
    this.#sessions = new Sessions({ clock, max: bounds.sessions });
  }

  /** Opens all trees; before it resolves every group is unknown. Rejects when a ledger cannot be read. Trees that come with their shards are opened by `gain`. */
  async start(): Promise<void> {
    const forest = partitionGroups(this.#deps.settings);
    if (forest.mistakes.length > 0) throw new RangeError(forest.mistakes.join(' '));
    this.#forest = forest;
    if (this.#shardTrees === undefined) await this.#gates.open(forest.trees.values());
    else this.#shardTrees.plant(forest, atOnce(this.#shardTrees.sharding(forest)));
  }

  /** See {@link ShardTrees.openShard}. A change of configuration under way does not delay it. */
  async openShard(shard: number, ground: ShardContext, barrier: Promise<void>): Promise<void> {
    await this.#shardTrees?.openShard(shard, ground, barrier);
  }

  /** See {@link ShardTrees.lose}. */
  loseShard(shard: number, term: bigint): void {
    this.#shardTrees?.lose(shard, term);
  }

  /** See {@link ShardTrees.seal}. */
  async seal(shard: number, halted: () => void): Promise<void> {
    await this.#shardTrees?.seal(shard, halted);
  }

  /** The tree of this group is decided by this process, now. */
  isLocal(group: string): boolean {
    return this.#gates.home(group) !== undefined;
  }

  /** See {@link ShardTrees.opening}. */
  opening(group: string): Promise<void> | undefined {
    return this.#shardTrees?.opening(group);
  }

  acquire(request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const home = this.#gates.home(request.group);
    if (home === undefined) {
      done({ kind: 'refused', refusal: this.#refusalForUnknown(request.group) });
      return NO_HANDLE;
    }
    if (request.session === undefined && request.requestId === undefined) return home.tree.acquire(home.entry, request, done);
    return this.#acquireNamed(home, request, done);
  }

  /** Returns the shard whose owner decides for a group; undefined if there is no such group, or trees do not come with shards. */
  shardOf(group: string): number | undefined {
    const root = this.#shardTrees?.rootOf(group);
    return root === undefined ? undefined : this.#deps.shardOf?.(root);
  }

  attach(sink: StoredSink): void {
    this.#gates.attach(sink);
  }

  price(group: string, key: string, costs: Costs): Costs | Refusal {
    const home = this.#gates.home(group);
    return home === undefined ? (this.#unitsElsewhere(group)?.priced(costs) ?? costs) : home.tree.priceStored(home.entry, key, costs);
  }

  enqueue(group: string, request: StoredRequestAsk): ReturnType<StoredLine['enqueue']> {
    const home = this.#gates.home(group);
    return home?.tree.enqueueStored(home.entry, request);
  }

  cancel(group: string, entry: number, sequence: number): boolean {
    return this.#gates.home(group)?.tree.cancelStored(entry, sequence) ?? false;
  }

  withdraw(group: string): void {
    const home = this.#gates.home(group);
    home?.tree.withdrawStored(home.entry);
  }

  convert(held: AcquireHandle, sequence: number, deadline: Instant): ReturnType<StoredLine['convert']> {
    if (!(held instanceof PendingAcquire)) return undefined;
    const entry = held.admission.convert(held, sequence, deadline);
    return entry === undefined ? undefined : { group: held.entry.name, entry };
  }

  async renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const found = this.#ofPermit(permit);
    if ('refusal' in found) return { kind: 'refused', refusal: found.refusal };
    const { tree, entry } = found.home;
    return shiftRenewal(await renewPermit(tree.turn, entry, found.name, caller, lease), tree.clockOffset);
  }

  async release(request: ReleaseRequest): Promise<ReleaseOutcome> {
    const found = this.#ofPermit(request.permit);
    if ('refusal' in found) return { kind: 'refused', refusal: found.refusal };
    const { home, name } = found;
    // `key` comes from forwarding alone, which ends what it was given itself.
    if (name.tag === undefined && request.key === undefined && !this.#isProven(request.caller, name)) return { kind: 'refused', refusal: UNKNOWN_PERMIT };
    const { tree, entry } = home;
    const released = await releasePermit(tree.turn, entry, name, request);
    return released.kind === 'released' ? released : { kind: 'refused', refusal: shiftRefusal(released.refusal, tree.clockOffset) };
  }

  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const home = this.#gates.locatePermit(group);
    if (home === undefined) return Promise.resolve({ kind: 'refused', refusal: this.#refusalForUnknown(group) });
    const hold = this.#requests.release(caller, group, requestId);
    const ended = hold !== undefined && hold.phase !== 'over';
    hold?.end({ reason: 'cancelled' });
    return Promise.resolve({ kind: 'released', ended });
  }

  endSession(caller: string, session: string, resumeFor: Micros): void {
    this.#sessions.end(caller, session, resumeFor);
  }

  resumeSession(caller: string, session: string): readonly PermitView[] {
    return this.#sessions.resume(caller, session);
  }

  explain(request: AdmissionRequest): Explanation | Refusal | Promise<Explanation | Refusal> {
    const told = this.#explained(request);
    if (!('reason' in told) || told.reason !== 'undecided') return told;
    const home = this.#gates.home(request.group);
    if (home === undefined || home.tree.turn.closedReason !== undefined) return told;
    const term = home.tree.turn.awaitTerm(home.tree.now());
    return term === undefined ? told : term.then(() => this.#explained(request));
  }

  #explained(request: AdmissionRequest): Explanation | Refusal {
    return this.#at(request.group, (home, now) => {
      const explained = explain(home, now, request, this.#draining);
      return 'reason' in explained ? shiftRefusal(explained, home.tree.clockOffset) : shiftExplanation(explained, home.tree.clockOffset);
    });
  }

  /** The groups that are decided here, looked at in slices: one costs some 6 microseconds, and 40 at first. */
  groups(): Promise<readonly GroupView[]> {
    return this.#looks.run(viewing(this.#gates.homes()), VIEWS_SLICE);
  }

  /** Some of them at once, in the same order. */
  groupsFrom(from: number, count: number): readonly GroupView[] {
    return [...this.#gates.homes()].slice(from, from + count).map(viewOf);
  }

  group(name: string): GroupView | Refusal {
    return this.#at(name, ({ tree, entry }, now) => shiftGroup(groupView(now, tree, entry), tree.clockOffset));
  }

  /** It knows of none: {@link AdmissionService.replicas} of one node. */
  replicas(): readonly [] {
    return [];
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const home = this.#gates.home(group);
    if (home === undefined) return [];
    const { tree, entry } = home;
    const { clockOffset } = tree;
    const views = limitViews(tree.now(), tree, entry, key);
    return clockOffset === 0 ? views : views.map((view) => shiftLimit(view, clockOffset));
  }

  waiters(group: string, page: PageRequest): Page<WaiterView & { readonly id: string }> | Refusal {
    return this.#at(group, ({ tree, entry }, now) => {
      const found = waiterPage(now, tree, entry, page);
      return 'reason' in found ? found : shiftPage(found, tree.clockOffset, shiftWaiter);
    });
  }

  leases(group: string, page: PageRequest): Page<LeaseView & { readonly id: string }> | Refusal {
    return this.#at(group, ({ tree, entry }) => {
      const found = leasePage(tree, entry, page);
      return 'reason' in found ? found : shiftPage(found, tree.clockOffset, shiftLeaseView);
    });
  }

  async pause(group: string, key: string | undefined, pauseFor: Micros | undefined, why?: OperatorReason): Promise<Refusal | undefined> {
    return this.#at(group, (home, now) => pause(home, key, pauseFor === undefined ? NEVER : plus(now, pauseFor), why));
  }

  async resume(group: string, key: string | undefined): Promise<Refusal | undefined> {
    return this.#at(group, (home) => resume(home, key));
  }

  async override(group: string, request: OverrideRequest, why?: OperatorReason): Promise<Refusal | undefined> {
    return this.#at(group, (home) => override(home, request, why));
  }

  async report(group: string, limit: string, said: WindowReport): Promise<Refusal | undefined> {
    return this.#at(group, (home) => report(home, limit, said));
  }

  async evictWaiter(group: string, id: string, key?: string): Promise<Refusal | undefined> {
    return this.#at(group, (home) => evict(home, id, key));
  }

  async revokeLease(group: string, permit: string, key?: string): Promise<Refusal | undefined> {
    return this.#at(group, (home) => revoke(home, permit, key));
  }

  reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const change = this.#changing.then(() => {
      const stopped = this.#stopped();
      return stopped === undefined ? this.#reconfigure(groups) : [stopped];
    });
    this.#changing = change.catch(() => undefined);
    return change;
  }

  async drain(grace: Micros): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    // A change that cannot be applied now is not waited for longer than callers are.
    await Promise.race([this.#changing, sleep(this.#deps.clock, grace)]);
    await drain(this.#gates, this.#deps, grace);
  }

  now(): Instant {
    return this.#deps.clock.now();
  }

  epoch(at: Instant): number {
    return this.#deps.clock.epoch(at);
  }

  #acquireNamed({ tree, entry }: GroupLocation, request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const { caller, session } = request;
    if (session !== undefined && !this.#sessions.admits(caller, session)) {
      done({ kind: 'refused', refusal: { reason: 'shed', limit: 'sessions', retryAt: plus(this.now(), SECOND) } });
      return NO_HANDLE;
    }
    if (request.requestId !== undefined) {
      return this.#requests.acquire(tree, entry, request, done, (shared) => {
        if (session !== undefined) this.#sessions.add(caller, session, shared);
      });
    }
    const hold = tree.acquire(entry, request, done);
    if (session !== undefined) this.#sessions.add(caller, session, hold);
    return hold;
  }

  /** Of trees that come with their shards only those decided here are changed now; the others come as the file says. */
  async #reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const shardTrees = this.#shardTrees;
    const forest = await this.#slices.run(planting(groups, this.#forest?.trees));
    if (forest.mistakes.length > 0) return forest.mistakes;
    const shards = shardTrees && (await this.#slices.run(shardTrees.sharding(forest)));
    return reconfigure({
      gates: this.#gates,
      slices: this.#slices,
      trees: forest.trees,
      decides: (root) => shardTrees === undefined || shardTrees.of(root) !== undefined,
      opening: () => shardTrees?.opened(),
      generation: () => shardTrees?.generation ?? 0,
      applying: () => {
        this.#forest = forest;
        if (shards !== undefined) shardTrees?.plant(forest, shards);
      },
      stopped: () => this.#stopped(),
    }).finally(() => shardTrees?.planted());
  }

  #stopped(): string | undefined {
    return this.#draining || this.#gates.lost !== undefined ? 'This process is stopping or no longer decides: nothing was changed.' : undefined;
  }

  /** `look` gets the tree's own time. */
  #at<T>(group: string, look: (home: GroupLocation, now: Instant) => T): T | Refusal {
    const home = this.#gates.home(group);
    return home === undefined ? this.#refusalForUnknown(group) : look(home, home.tree.now());
  }

  #ofPermit(permit: string): { readonly home: GroupLocation; readonly name: PermitName } | { readonly refusal: Refusal } {
    const name = parsePermitId(permit);
    if (name === undefined) return { refusal: UNKNOWN_PERMIT };
    const home = this.#gates.locatePermit(name.group);
    if (home !== undefined) return { home, name };
    return { refusal: this.#shardTrees?.rootOf(name.group) === undefined ? UNKNOWN_PERMIT : MOVED };
  }

  #isProven(caller: string, { group, serial, proof, key = '' }: PermitName): boolean {
    return proof !== undefined && this.#gates.proofs.holds(proof, { caller, group, serial, key });
  }

  /** Units of a group that another process decides; undefined: there is no such group. */
  #unitsElsewhere(group: string): Units | undefined {
    const root = this.#forest?.roots.get(group);
    const planted = root === undefined ? undefined : this.#forest?.trees.get(root);
    return planted && unitsIn(planted, group);
  }

  /** Why a group is not found: it is decided elsewhere, or there is none. */
  #refusalForUnknown(group: string): Refusal {
    return this.#shardTrees?.rootOf(group) === undefined ? unknownGroup(group) : MOVED;
  }
}

const UNKNOWN_PERMIT: Refusal = Object.freeze({ reason: 'unknown_permit' });
