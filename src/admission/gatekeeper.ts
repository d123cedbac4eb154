import type { Costs } from '../core/group.ts';
import type { Disposition, LeaseView } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { after, type Instant, type Micros, NEVER } from '../core/time.ts';
import type { WaiterView } from '../core/waiter.ts';
import type {
  AdmissionAsk,
  AdmissionService,
  Explanation,
  GroupSettings,
  GroupView,
  Held,
  LimitView,
  Outcome,
  OverrideWish,
  Page,
  PermitView,
  ReleaseOutcome,
  RenewOutcome,
} from './admission.ts';
import type { Clock } from './clock.ts';
import { drain } from './drain.ts';
import { explain } from './explain.ts';
import { type Forest, plant, planting } from './forest.ts';
import { Gates, type Home } from './gates.ts';
import { Grounds } from './grounds.ts';
import { Hold } from './hold.ts';
import { MOVED } from './moved.ts';
import { evict, override, pause, resume, revoke } from './operate.ts';
import type { AdmissionParts, Ground } from './parts.ts';
import { type PermitName, parsePermitId } from './permit-id.ts';
import { releasePermit, renewPermit } from './permits.ts';
import { reconfigure } from './reconfigure.ts';
import { NOBODY, Requests } from './requests.ts';
import { Sessions } from './sessions.ts';
import { shiftExplanation, shiftGroup, shiftLeaseView, shiftLimit, shiftPage, shiftRefusal, shiftRenewal, shiftWaiter } from './shift.ts';
import { atOnce, Slices } from './slices.ts';
import type { StoredLine, StoredRequestAsk, StoredSink } from './stored-line.ts';
import { groupView, leasePage, limitViews, waiterPage } from './views.ts';

/** The door of this process: finds the tree of a group, and lets its gate decide. */
export class Gatekeeper implements AdmissionService, StoredLine {
  readonly #parts: AdmissionParts;
  readonly #gates: Gates;
  readonly #grounds: Grounds | undefined;
  readonly #requests: Requests;
  readonly #sessions: Sessions;
  readonly #slices: Slices;
  /** The groups in force. */
  #forest: Forest | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  #draining = false;

  constructor(parts: AdmissionParts) {
    const { clock, bounds, notices, defer, shardOf } = parts;
    this.#parts = parts;
    this.#slices = new Slices(parts);
    this.#grounds = shardOf && new Grounds({ clock, notices, defer, shardOf });
    this.#gates = new Gates(parts, this.#grounds);
    this.#grounds?.serve(this.#gates);
    this.#requests = new Requests({ clock, max: bounds.requests });
    this.#gates.onAdopted = (tree) => this.#requests.recover(tree);
    this.#sessions = new Sessions({ clock, max: bounds.sessions });
  }

  /** Opens all trees; before it resolves every group is unknown. Rejects when a ledger cannot be read. Trees that come with their shards are opened by `gain`. */
  async start(): Promise<void> {
    const forest = plant(this.#parts.settings);
    if (forest.mistakes.length > 0) throw new RangeError(forest.mistakes.join(' '));
    this.#forest = forest;
    if (this.#grounds === undefined) await this.#gates.open(forest.trees.values());
    else this.#grounds.plant(forest, atOnce(this.#grounds.sharding(forest)));
  }

  /** See {@link Grounds.gain}. A change of configuration under way does not delay it. */
  async gain(shard: number, ground: Ground, barrier: Promise<void>): Promise<void> {
    await this.#grounds?.gain(shard, ground, barrier);
  }

  /** See {@link Grounds.lose}. */
  lose(shard: number, term: bigint): void {
    this.#grounds?.lose(shard, term);
  }

  /** See {@link Grounds.seal}. */
  async seal(shard: number, halted: () => void): Promise<void> {
    await this.#grounds?.seal(shard, halted);
  }

  /** The tree of this group is decided by this process, now. */
  isHere(group: string): boolean {
    return this.#gates.home(group) !== undefined;
  }

  /** See {@link Grounds.opening}. */
  opening(group: string): Promise<void> | undefined {
    return this.#grounds?.opening(group);
  }

  acquire(ask: AdmissionAsk, done: (outcome: Outcome) => void): Held {
    const home = this.#gates.home(ask.group);
    if (home === undefined) {
      done({ kind: 'refused', refusal: this.#stranger(ask.group) });
      return NOBODY;
    }
    if (ask.session === undefined && ask.requestId === undefined) return home.tree.acquire(home.entry, ask, done);
    return this.#acquireNamed(home, ask, done);
  }

  attach(sink: StoredSink): void {
    this.#gates.attach(sink);
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

  convert(held: Held, sequence: number, deadline: Instant): ReturnType<StoredLine['convert']> {
    if (!(held instanceof Hold)) return undefined;
    const entry = held.keeper.convert(held, sequence, deadline);
    return entry === undefined ? undefined : { group: held.entry.name, entry };
  }

  async renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const found = this.#ofPermit(permit);
    if ('refusal' in found) return { kind: 'refused', refusal: found.refusal };
    const { tree, entry } = found.home;
    return shiftRenewal(await renewPermit(tree.turn, entry, found.name, caller, lease), tree.skew);
  }

  async release(
    caller: string,
    permit: string,
    how: Disposition,
    costs: Costs | undefined,
    retryAfter: Micros | undefined,
    key?: string,
  ): Promise<ReleaseOutcome> {
    const found = this.#ofPermit(permit);
    if ('refusal' in found) return { kind: 'refused', refusal: found.refusal };
    const { home, name } = found;
    // `key` comes from forwarding alone, which ends what it was given itself.
    if (name.tag === undefined && key === undefined && !this.#isProven(caller, name)) return { kind: 'refused', refusal: UNKNOWN_PERMIT };
    const { tree, entry } = home;
    const released = await releasePermit(tree.turn, entry, name, caller, { how, costs, retryAfter, key });
    return released.kind === 'released' ? released : { kind: 'refused', refusal: shiftRefusal(released.refusal, tree.skew) };
  }

  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const home = this.#gates.homeOfPermit(group);
    if (home === undefined) return Promise.resolve({ kind: 'refused', refusal: this.#stranger(group) });
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

  explain(ask: AdmissionAsk): Explanation | Refusal {
    return this.#at(ask.group, (home, now) => {
      const explained = explain(home, now, ask, this.#draining);
      return 'reason' in explained ? shiftRefusal(explained, home.tree.skew) : shiftExplanation(explained, home.tree.skew);
    });
  }

  /** The groups that are decided here. */
  groups(): readonly GroupView[] {
    return [...this.#gates.homes()].map(({ tree, entry }) => shiftGroup(groupView(tree.now(), tree, entry), tree.skew));
  }

  group(name: string): GroupView | Refusal {
    return this.#at(name, ({ tree, entry }, now) => shiftGroup(groupView(now, tree, entry), tree.skew));
  }

  /** It knows of none: {@link AdmissionService.replicas} of one node. */
  replicas(): readonly [] {
    return [];
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const home = this.#gates.home(group);
    if (home === undefined) return [];
    const { tree, entry } = home;
    const { skew } = tree;
    const views = limitViews(tree.now(), tree, entry, key);
    return skew === 0 ? views : views.map((view) => shiftLimit(view, skew));
  }

  waiters(group: string, page: { size: number; token: string }): Page<WaiterView & { readonly id: string }> | Refusal {
    return this.#at(group, ({ tree, entry }, now) => {
      const found = waiterPage(now, tree, entry, page);
      return 'reason' in found ? found : shiftPage(found, tree.skew, shiftWaiter);
    });
  }

  leases(group: string, page: { size: number; token: string }): Page<LeaseView & { readonly id: string }> | Refusal {
    return this.#at(group, ({ tree, entry }, now) => {
      const found = leasePage(now, tree, entry, page);
      return 'reason' in found ? found : shiftPage(found, tree.skew, shiftLeaseView);
    });
  }

  async pause(group: string, key: string | undefined, pauseFor: Micros | undefined): Promise<Refusal | undefined> {
    return this.#at(group, (home, now) => pause(home, key, pauseFor === undefined ? NEVER : after(now, pauseFor)));
  }

  async resume(group: string, key: string | undefined): Promise<Refusal | undefined> {
    return this.#at(group, (home) => resume(home, key));
  }

  async override(group: string, wish: OverrideWish): Promise<Refusal | undefined> {
    return this.#at(group, (home) => override(home, wish));
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
    await Promise.race([this.#changing, sleep(this.#parts.clock, grace)]);
    await drain(this.#gates, this.#parts, grace);
  }

  now(): Instant {
    return this.#parts.clock.now();
  }

  epoch(at: Instant): number {
    return this.#parts.clock.epoch(at);
  }

  #acquireNamed({ tree, entry }: Home, ask: AdmissionAsk, done: (outcome: Outcome) => void): Held {
    const { caller, session } = ask;
    if (session !== undefined && !this.#sessions.admits(caller, session)) {
      done({ kind: 'refused', refusal: { reason: 'shed', limit: 'sessions', retryAt: after(this.now(), 1_000_000) } });
      return NOBODY;
    }
    if (ask.requestId !== undefined) {
      return this.#requests.acquire(tree, entry, ask, done, (shared) => {
        if (session !== undefined) this.#sessions.add(caller, session, shared);
      });
    }
    const hold = tree.acquire(entry, ask, done);
    if (session !== undefined) this.#sessions.add(caller, session, hold);
    return hold;
  }

  /** Of trees that come with their shards only those decided here are changed now; the others come as the file says. */
  async #reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const grounds = this.#grounds;
    const forest = await this.#slices.run(planting(groups, this.#forest?.trees));
    if (forest.mistakes.length > 0) return forest.mistakes;
    const shards = grounds && (await this.#slices.run(grounds.sharding(forest)));
    return reconfigure({
      gates: this.#gates,
      slices: this.#slices,
      trees: forest.trees,
      decides: (root) => grounds === undefined || grounds.of(root) !== undefined,
      opening: () => grounds?.opened(),
      generation: () => grounds?.generation ?? 0,
      applying: () => {
        this.#forest = forest;
        if (shards !== undefined) grounds?.plant(forest, shards);
      },
      stopped: () => this.#stopped(),
    }).finally(() => grounds?.planted());
  }

  #stopped(): string | undefined {
    return this.#draining || this.#gates.lost !== undefined ? 'This process is stopping or no longer decides: nothing was changed.' : undefined;
  }

  /** `look` is told the tree's own time. */
  #at<T>(group: string, look: (home: Home, now: Instant) => T): T | Refusal {
    const home = this.#gates.home(group);
    return home === undefined ? this.#stranger(group) : look(home, home.tree.now());
  }

  #ofPermit(permit: string): { readonly home: Home; readonly name: PermitName } | { readonly refusal: Refusal } {
    const name = parsePermitId(permit);
    if (name === undefined) return { refusal: UNKNOWN_PERMIT };
    const home = this.#gates.homeOfPermit(name.group);
    if (home !== undefined) return { home, name };
    return { refusal: this.#grounds?.rootOf(name.group) === undefined ? UNKNOWN_PERMIT : MOVED };
  }

  #isProven(caller: string, { group, serial, proof, key = '' }: PermitName): boolean {
    return proof !== undefined && this.#gates.proofs.holds(proof, { caller, group, serial, key });
  }

  /** Why a group is not found: it is decided elsewhere, or there is none. */
  #stranger(group: string): Refusal {
    return this.#grounds?.rootOf(group) === undefined ? unknownGroup(group) : MOVED;
  }
}

function sleep(clock: Clock, time: Micros): Promise<void> {
  return new Promise((resolve) => void clock.at(after(clock.now(), time), resolve));
}

const UNKNOWN_PERMIT: Refusal = Object.freeze({ reason: 'unknown_permit' });

function unknownGroup(name: string): Refusal {
  return { reason: 'unknown_group', detail: `There is no group named ${JSON.stringify(name.slice(0, 128))}.` };
}
