import type { Costs } from '../core/group.ts';
import type { Disposition } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { after, type Instant, type Micros, NEVER } from '../core/time.ts';
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
  PermitView,
  ReleaseOutcome,
  RenewOutcome,
} from './admission.ts';
import { drain } from './drain.ts';
import { explain } from './explain.ts';
import { Gates, type Home } from './gates.ts';
import { evict, override, pause, resume, revoke } from './operate.ts';
import type { AdmissionParts } from './parts.ts';
import { parsePermitId } from './permit-id.ts';
import { releasePermit, renewPermit } from './permits.ts';
import { reconfigure } from './reconfigure.ts';
import { NOBODY, Requests } from './requests.ts';
import { Sessions } from './sessions.ts';
import { groupView, leasePage, limitViews, waiterPage } from './views.ts';

/** The door of this process: finds the tree of a group, and lets its gate decide. */
export class Gatekeeper implements AdmissionService {
  readonly #parts: AdmissionParts;
  readonly #gates: Gates;
  readonly #requests: Requests;
  readonly #sessions: Sessions;
  #changing: Promise<unknown> = Promise.resolve();
  #draining = false;

  constructor(parts: AdmissionParts) {
    const { clock, bounds } = parts;
    this.#parts = parts;
    this.#gates = new Gates(parts);
    this.#requests = new Requests({ clock, max: bounds.requests });
    this.#sessions = new Sessions({ clock, max: bounds.sessions });
  }

  /** Opens all trees; before it resolves every group is unknown. Rejects when a ledger cannot be read. */
  start(): Promise<void> {
    return this.#gates.open(this.#parts.settings);
  }

  acquire(ask: AdmissionAsk, done: (outcome: Outcome) => void): Held {
    const home = this.#gates.home(ask.group);
    if (home === undefined) {
      done({ kind: 'refused', refusal: unknownGroup(ask.group) });
      return NOBODY;
    }
    if (ask.session === undefined && ask.requestId === undefined) return home.tree.acquire(home.entry, ask, done);
    return this.#acquireNamed(home, ask, done);
  }

  renew(_caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const name = parsePermitId(permit);
    const home = name === undefined ? undefined : this.#gates.homeOfPermit(name.group);
    if (name === undefined || home === undefined) return Promise.resolve({ kind: 'refused', refusal: { reason: 'unknown_permit' } });
    return renewPermit(home.tree.turn, home.entry, name, lease);
  }

  release(_caller: string, permit: string, how: Disposition, costs: Costs | undefined, retryAfter: Micros | undefined, key?: string): Promise<ReleaseOutcome> {
    const name = parsePermitId(permit);
    const home = name === undefined ? undefined : this.#gates.homeOfPermit(name.group);
    if (name === undefined || home === undefined) return Promise.resolve({ kind: 'refused', refusal: { reason: 'unknown_permit' } });
    return releasePermit(home.tree.turn, home.entry, name, { how, costs, retryAfter, key });
  }

  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const home = this.#gates.homeOfPermit(group);
    if (home === undefined) return Promise.resolve({ kind: 'refused', refusal: unknownGroup(group) });
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
    const home = this.#gates.home(ask.group);
    return home === undefined ? unknownGroup(ask.group) : explain(home, this.now(), ask, this.#draining);
  }

  groups(): readonly GroupView[] {
    const now = this.now();
    return [...this.#gates.homes()].map(({ tree, entry }) => groupView(now, tree, entry));
  }

  group(name: string): GroupView | Refusal {
    return this.#at(name, ({ tree, entry }, now) => groupView(now, tree, entry));
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const home = this.#gates.home(group);
    return home === undefined ? [] : limitViews(this.now(), home.tree, home.entry, key);
  }

  waiters(group: string, page: { size: number; token: string }): ReturnType<AdmissionService['waiters']> {
    return this.#at(group, ({ tree, entry }, now) => waiterPage(now, tree, entry, page));
  }

  leases(group: string, page: { size: number; token: string }): ReturnType<AdmissionService['leases']> {
    return this.#at(group, ({ tree, entry }, now) => leasePage(now, tree, entry, page));
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

  async evictWaiter(group: string, id: string): Promise<Refusal | undefined> {
    return this.#at(group, (home) => evict(home, id));
  }

  async revokeLease(group: string, permit: string): Promise<Refusal | undefined> {
    return this.#at(group, (home) => revoke(home, permit));
  }

  reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]> {
    const change = this.#changing.then(() => {
      if (this.#draining || this.#gates.lost !== undefined) return ['This process is stopping or no longer decides: nothing was changed.'];
      return reconfigure(this.#gates, () => this.now(), groups);
    });
    this.#changing = change.catch(() => undefined);
    return change;
  }

  async drain(grace: Micros): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    await this.#changing;
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

  #at<T>(group: string, look: (home: Home, now: Instant) => T): T | Refusal {
    const home = this.#gates.home(group);
    return home === undefined ? unknownGroup(group) : look(home, this.now());
  }
}

function unknownGroup(name: string): Refusal {
  return { reason: 'unknown_group', detail: `There is no group named ${JSON.stringify(name.slice(0, 128))}.` };
}
