import type {
  AcquireHandle,
  AdmissionRequest,
  AdmissionService,
  Explanation,
  GroupPlacement,
  GroupView,
  Outcome,
  OverrideRequest,
  Page,
  PermitView,
  ReleaseOutcome,
  ReleaseRequest,
  RenewOutcome,
  ReplicaView,
} from '../../../src/admission/admission.ts';
import type { LimitView } from '../../../src/core/gate/views.ts';
import { costOf } from '../../../src/core/group.ts';
import type { WindowReport } from '../../../src/core/limits/reported-window.ts';
import type { LeaseView, Permit } from '../../../src/core/permit.ts';
import type { Refusal } from '../../../src/core/refusal.ts';
import type { QueuePosition, WaiterView } from '../../../src/core/request.ts';
import { HOUR, type Instant, type Micros, NEVER, plus, SECOND } from '../../../src/core/time.ts';

/** What a group of the fake does: lets all pass; one lease for each key at a time; one ask for each key per hour. */
export type FakeKind = 'open' | 'slots' | 'spaced';

/** One held caller of the fake, for tests to look into. */
export interface FakeWaiter extends AcquireHandle {
  readonly ask: AdmissionRequest;
  readonly id: string;
  state: 'waiting' | 'admitted' | 'refused' | 'delivered' | 'left';
}

interface FakeLease {
  readonly ask: AdmissionRequest;
  readonly permit: PermitView;
}

const LEASE: Micros = 30 * SECOND;
const WAIT: Micros = 30 * SECOND;

/**
 * An admission without limits worth the name, for tests of what stands before it: three kinds of groups, real time, one process.
 * It does what the contract says of leaving, delivering, expiring and sessions, and remembers who came.
 */
export class FakeAdmission implements AdmissionService {
  readonly kinds = new Map<string, FakeKind>([
    ['open', 'open'],
    ['slots', 'slots'],
    ['spaced', 'spaced'],
  ]);
  /** Answers an ask before any group sees it. */
  script: ((ask: AdmissionRequest) => Refusal | undefined) | undefined;
  readonly everybody: FakeWaiter[] = [];
  readonly leasesById = new Map<string, FakeLease>();
  readonly ended = new Set<string>();
  readonly revoked = new Set<string>();
  readonly endedSessions: { readonly session: string; readonly resume: Micros }[] = [];
  readonly overrides: OverrideRequest[] = [];
  /** Who is there, and who decides for every group; none: it works alone. */
  alive: readonly ReplicaView[] = [];
  placement: GroupPlacement | undefined;
  readonly #spent = new Map<string, Instant>();
  #serial = 0;

  /** Those who still wait. */
  get waiting(): readonly FakeWaiter[] {
    return this.everybody.filter(({ state }) => state === 'waiting');
  }

  acquire(ask: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    const since = this.now();
    let timer: NodeJS.Timeout | undefined;
    const finish = (outcome: Outcome): void => {
      if (waiter.state !== 'waiting') return;
      clearTimeout(timer);
      waiter.state = outcome.kind;
      done(outcome);
    };
    const waiter: FakeWaiter & { admit: () => void } = {
      ask,
      id: `w${this.everybody.length}`,
      state: 'waiting',
      admit: () => finish(this.#grant(ask, since)),
      position: () => (waiter.state === 'waiting' ? { place: this.#ahead(waiter), expectedAt: NEVER, limit: 'slots' } : undefined),
      delivered: () => {
        waiter.state = 'delivered';
      },
      arrival: () => undefined,
      endsAt: () => plus(since, Math.min(ask.wait ?? WAIT, ask.waitMax ?? WAIT)),
      cancel: () => {
        if (waiter.state === 'waiting' || waiter.state === 'admitted') waiter.state = 'left';
        clearTimeout(timer);
        this.#wake();
      },
    };
    this.everybody.push(waiter);
    const refusal = this.#atTheAdmission(ask);
    if (refusal !== undefined) finish({ kind: 'refused', refusal });
    else if (this.#free(ask)) waiter.admit();
    else {
      const wait = Math.min(ask.wait ?? WAIT, ask.waitMax ?? WAIT);
      const expire = (): void => finish({ kind: 'refused', refusal: { reason: 'expired', limit: 'slots', retryAt: plus(this.now(), SECOND) } });
      if (wait === 0) expire();
      else timer = setTimeout(expire, wait / 1000);
    }
    return waiter;
  }

  async renew(_caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome> {
    const found = this.leasesById.get(permit);
    if (found === undefined) return { kind: 'refused', refusal: this.#gone(permit) };
    const duration = lease ?? LEASE;
    return { kind: 'renewed', permit: { ...found.permit, duration, expiresAt: plus(this.now(), duration) } };
  }

  async release({ permit }: ReleaseRequest): Promise<ReleaseOutcome> {
    if (this.leasesById.has(permit)) {
      this.#end(permit);
      return { kind: 'released', ended: true };
    }
    if (this.ended.has(permit) || /^p\d+$/.test(permit)) return { kind: 'released', ended: false };
    return { kind: 'refused', refusal: { reason: 'unknown_permit' } };
  }

  async releaseRequest(_caller: string, group: string, requestId: string): Promise<ReleaseOutcome> {
    const found = this.everybody.find(({ ask }) => ask.group === group && ask.requestId === requestId);
    if (found === undefined) return { kind: 'refused', refusal: { reason: 'unknown_request' } };
    found.cancel();
    return { kind: 'released', ended: true };
  }

  endSession(_caller: string, session: string, resume: Micros): void {
    this.endedSessions.push({ session, resume });
    if (resume > 0) return;
    for (const [id, { ask }] of this.leasesById) if (ask.session === session) this.#end(id);
  }

  resumeSession(_caller: string, session: string): readonly PermitView[] {
    return [...this.leasesById.values()].filter(({ ask }) => ask.session === session).map(({ permit }) => permit);
  }

  explain(ask: AdmissionRequest): Explanation | Refusal {
    const refusal = this.#atTheAdmission(ask);
    if (refusal?.reason === 'unknown_group' || refusal?.reason === 'malformed') return refusal;
    const admitted = refusal === undefined && this.#free(ask);
    const place: QueuePosition = { place: 1, expectedAt: admitted ? this.now() : NEVER, limit: admitted ? '' : 'slots' };
    return { group: ask.group, admitted, refusal, place, limits: this.limitsFor(ask.group, ask.key) };
  }

  groups(): readonly GroupView[] {
    return [...this.kinds.keys()].map((name) => this.#view(name));
  }

  replicas(): readonly ReplicaView[] {
    return this.alive;
  }

  group(name: string): GroupView | Refusal {
    return this.kinds.has(name) ? this.#view(name) : { reason: 'unknown_group' };
  }

  limitsFor(group: string, key: string): readonly LimitView[] {
    const used = [...this.leasesById.values()].some(({ ask }) => ask.group === group && ask.key === key) ? 1 : 0;
    const shared = { group, unit: 'requests', scope: 'key', key, debt: 0, readyAt: undefined } as const;
    if (this.kinds.get(group) === 'slots') return [{ ...shared, name: 'slots', kind: 'concurrency', capacity: 1, used, resetAt: NEVER, per: undefined }];
    if (this.kinds.get(group) === 'spaced') return [{ ...shared, name: 'pace', kind: 'spacing', capacity: 1, used: 0, resetAt: this.now(), per: HOUR }];
    return [];
  }

  waiters(group: string): Page<WaiterView & { readonly id: string }> | Refusal {
    if (!this.kinds.has(group)) return { reason: 'unknown_group' };
    const items = this.waiting
      .filter(({ ask }) => ask.group === group)
      .map(({ ask, id }) => {
        const { key, priority = 999, costs, holder } = ask;
        const now = this.now();
        return {
          id,
          ref: 0 as WaiterView['ref'],
          group,
          key,
          priority,
          costs,
          holder,
          since: now,
          waitUntil: now,
          place: 1,
          expectedAt: NEVER,
          limit: 'slots',
          token: undefined,
        };
      });
    return { items, next: '' };
  }

  leases(group: string): Page<LeaseView & { readonly id: string }> | Refusal {
    if (!this.kinds.has(group)) return { reason: 'unknown_group' };
    const items = [...this.leasesById.values()]
      .filter(({ ask }) => ask.group === group)
      .map(({ ask, permit }) => {
        const { id, fence, expiresAt } = permit;
        return { id, group, key: ask.key, serial: 1, tag: { high: 0, low: 0 }, fence, costs: ask.costs, grantedAt: this.now(), expiresAt, holder: ask.holder };
      });
    return { items, next: '' };
  }

  pause(group: string): Promise<Refusal | undefined> {
    return Promise.resolve(this.#known(group));
  }

  resume(group: string): Promise<Refusal | undefined> {
    return Promise.resolve(this.#known(group));
  }

  report(_group: string, _limit: string, _said: WindowReport): Promise<Refusal | undefined> {
    return Promise.resolve(undefined);
  }

  override(group: string, request: OverrideRequest): Promise<Refusal | undefined> {
    this.overrides.push(request);
    return Promise.resolve(this.#known(group));
  }

  async evictWaiter(group: string, id: string): Promise<Refusal | undefined> {
    const found = this.waiting.find((waiter) => waiter.id === id);
    found?.cancel();
    return this.#known(group) ?? (found === undefined ? { reason: 'unknown_request' } : undefined);
  }

  async revokeLease(group: string, permit: string): Promise<Refusal | undefined> {
    const found = this.leasesById.has(permit);
    if (found) this.revoked.add(permit);
    this.#end(permit);
    return this.#known(group) ?? (found ? undefined : { reason: 'unknown_permit' });
  }

  reconfigure(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  async drain(): Promise<void> {
    this.script = () => ({ reason: 'draining' });
  }

  now(): Instant {
    return Math.round(performance.now() * 1000 + 1e15) as Instant;
  }

  epoch(at: Instant): number {
    return at / 1000;
  }

  #known(group: string): Refusal | undefined {
    return this.kinds.has(group) ? undefined : { reason: 'unknown_group' };
  }

  #gone(permit: string): Refusal {
    return { reason: this.revoked.has(permit) ? 'fenced' : 'unknown_permit' };
  }

  #atTheAdmission(ask: AdmissionRequest): Refusal | undefined {
    const scripted = this.script?.(ask);
    if (scripted !== undefined) return scripted;
    const kind = this.kinds.get(ask.group);
    if (kind === undefined) return { reason: 'unknown_group' };
    if (ask.priorityClass !== undefined && ask.priorityClass !== 'urgent')
      return { reason: 'malformed', detail: `No class \`${ask.priorityClass}\` in this group.` };
    if (kind === 'slots' && costOf(ask.costs, 'requests') > 1) return { reason: 'oversized', limit: 'slots' };
    const spent = this.#spent.get(ask.key);
    if (kind === 'spaced' && spent !== undefined) return { reason: 'infeasible', limit: 'pace', retryAt: plus(spent, HOUR) };
    return undefined;
  }

  #free({ group, key }: AdmissionRequest): boolean {
    return this.kinds.get(group) !== 'slots' || ![...this.leasesById.values()].some(({ ask }) => ask.group === group && ask.key === key);
  }

  #ahead(waiter: FakeWaiter): number {
    return this.waiting.filter(({ ask }) => ask.group === waiter.ask.group && ask.key === waiter.ask.key).indexOf(waiter) + 1;
  }

  #grant(ask: AdmissionRequest, since: Instant): Outcome {
    this.#serial += 1;
    const { group, key, costs } = ask;
    const now = this.now();
    const id = `p${this.#serial}`;
    const fence = (1n << 40n) + BigInt(this.#serial);
    const duration = ask.lease ?? LEASE;
    const lease = this.kinds.get(group) === 'slots' ? { fence, fenceFloor: fence, expiresAt: plus(now, duration), duration } : undefined;
    if (lease !== undefined) this.leasesById.set(id, { ask, permit: { id, group, ...lease } });
    if (this.kinds.get(group) === 'spaced') this.#spent.set(key, now);
    const tag = { high: 0, low: this.#serial };
    const permit: Permit = {
      group,
      key,
      serial: this.#serial,
      tag,
      costs,
      grantedAt: now,
      waited: now - since,
      order: this.#serial,
      lease,
      settleable: true,
      shadow: undefined,
    };
    return { kind: 'admitted', permit, id };
  }

  #end(permit: string): void {
    if (!this.leasesById.delete(permit)) return;
    this.ended.add(permit);
    this.#wake();
  }

  #wake(): void {
    for (const waiter of this.everybody) {
      if (waiter.state === 'waiting' && this.#free(waiter.ask)) (waiter as FakeWaiter & { admit: () => void }).admit();
    }
  }

  #view(name: string): GroupView {
    const waiting = this.waiting.filter(({ ask }) => ask.group === name).length;
    return {
      name,
      parent: undefined,
      enforce: true,
      limits: this.limitsFor(name, ''),
      waiting,
      waitingBytes: 0,
      waitingByPriority: waiting === 0 ? [] : [{ priority: 999, waiting }],
      oldestWaiterSince: undefined,
      leases: [...this.leasesById.values()].filter(({ ask }) => ask.group === name).length,
      keys: 0,
      pausedUntil: undefined,
      pausedKeys: 0,
      overriddenUntil: undefined,
      counters: { admitted: this.#serial, refused: {}, lapsed: 0, released: this.ended.size, shadowHeld: 0 },
      placement: this.placement,
    };
  }
}
