import type { Refusal, RefusalReason } from '../core/refusal.ts';
import { after, type Instant, later, MINUTE, NEVER, SECOND } from '../core/time.ts';
import type { Place, Since } from '../core/waiter.ts';
import type { AdmissionAsk, Held, Outcome, PermitView } from './admission.ts';
import type { Clock } from './clock.ts';
import type { Entry } from './entry.ts';
import type { Hold } from './hold.ts';
import { Later } from './later.ts';
import { digestOf } from './request-digest.ts';
import { shiftPermit } from './shift.ts';
import type { Tree } from './tree.ts';

/** How long a place waits for its caller to come back, and an answer is kept (coordination.md 2.8). */
const AWAY_FOR = 10 * SECOND;
/** How long the permit of an ask that can be settled is kept (decision 8). */
const SETTLE_FOR = 10 * MINUTE;

/** Refusals of a place whose caller was away that are told it when it is back; after any other it may have a place elsewhere, or here again. */
const KEPT_REFUSALS: ReadonlySet<RefusalReason> = new Set(['expired', 'shed', 'oversized', 'cancelled']);

/** Handle of an ask that was answered at the door. */
export const NOBODY: Held = { leave: () => {}, delivered: () => {}, place: () => undefined, since: () => undefined };

/**
 * Asks with a request id. The same id of the same caller and group comes back to the same place, or gets the same permit
 * again; two at once both get the answer. A refusal that reached a caller is not kept: the id may be asked again at once, as
 * a new ask. One that was decided while its caller was away is kept for 10 s, or its patience would begin anew.
 */
export class Requests {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #shared = new Map<string, Shared>();
  readonly #later: Later<Shared>;

  constructor(parts: { clock: Clock; max: number }) {
    this.#clock = parts.clock;
    this.#max = parts.max;
    this.#later = new Later({ clock: parts.clock, delay: AWAY_FOR, due: (shared, now) => this.#look(shared, now) });
  }

  /** Ids remembered. */
  get size(): number {
    return this.#shared.size;
  }

  /** Places, re-attaches, or answers with what was decided. `opened` hears of a new place, once. */
  acquire(tree: Tree, entry: Entry, ask: AdmissionAsk, done: (outcome: Outcome) => void, opened: (shared: Shared) => void): Held {
    const name = nameOf(ask.caller, ask.group, ask.requestId ?? '');
    const known = this.#shared.get(name);
    if (known !== undefined && (known.inUse || known.keptUntil > this.#clock.now())) {
      const held = this.#again(known, ask, done);
      if (held !== NOBODY && known.isRecovered) opened(known);
      known.isRecovered &&= held === NOBODY;
      return held;
    }
    known?.drop();
    // Nothing is left of it and its patience is over: it is not asked anew.
    if (ask.resumes !== undefined && ask.wait === 0) {
      done({ kind: 'refused', refusal: { reason: 'expired', retryAt: this.#clock.now() } });
      return NOBODY;
    }
    if (this.#shared.size >= this.#max && !this.#forgetOne()) {
      done({ kind: 'refused', refusal: { reason: 'shed', limit: 'requests', retryAt: after(this.#clock.now(), SECOND) } });
      return NOBODY;
    }
    const shared = this.#share(name, digestOf(ask), tree);
    const held = shared.attach(done);
    shared.open(entry, ask);
    if (!shared.over) opened(shared);
    return held;
  }

  /** Remembers the request ids of leases that lived before this tree was opened here: who asks again gets the same permit, and its end gives it up. */
  recover(tree: Tree): void {
    for (const { permit, claim } of tree.turn.gate.claimed(tree.now())) {
      const entry = tree.turn.entries.get(permit.group);
      if (entry === undefined || claim.request === undefined || this.#shared.size >= this.#max) continue;
      const name = nameOf(claim.caller, permit.group, claim.request.id);
      const known = this.#shared.get(name);
      if (known?.inUse) continue;
      known?.drop();
      this.#share(name, claim.request.digest, tree).recover(tree.recover(entry, permit, claim));
    }
  }

  #share(name: string, digest: string, tree: Tree): Shared {
    const shared = new Shared({ name, digest, tree, clock: this.#clock, forget: () => this.#forget(name, shared), look: (one) => this.#later.push(one) });
    this.#shared.set(name, shared);
    return shared;
  }

  #forget(name: string, shared: Shared): void {
    if (this.#shared.get(name) === shared) this.#shared.delete(name);
  }

  /** Gives the ask up at once, waiting or admitted; undefined: no such ask. */
  release(caller: string, group: string, requestId: string): Hold | undefined {
    const shared = this.#shared.get(nameOf(caller, group, requestId));
    if (shared === undefined) return undefined;
    const { hold } = shared;
    shared.over = true;
    this.#shared.delete(shared.name);
    return hold;
  }

  #again(shared: Shared, ask: AdmissionAsk, done: (outcome: Outcome) => void): Held {
    if (shared.digest !== digestOf(ask)) {
      const detail = 'This request id was used with other fields: use a new id for a new ask.';
      done({ kind: 'refused', refusal: { reason: 'malformed', detail } });
      return NOBODY;
    }
    const held = shared.attach(done);
    const until = ask.wait === undefined || ask.resumes !== undefined ? NEVER : after(this.#clock.now(), ask.wait);
    if (until < shared.waitUntil && held.waits) held.limit(this.#clock, until);
    return held;
  }

  /** The oldest that nobody waits for, among the first few. */
  #forgetOne(): boolean {
    let looked = 0;
    for (const shared of this.#shared.values()) {
      if (shared.outcome?.kind === 'refused' || (shared.outcome !== undefined && shared.isDelivered)) return this.#shared.delete(shared.name);
      if (++looked === 64) break;
    }
    return false;
  }

  #look(shared: Shared, now: Instant): void {
    if (shared.over) return;
    if (shared.keptUntil > now || shared.inUse) this.#later.push(shared);
    else shared.drop();
  }
}

/** One ask with a request id, and everybody who asked for it. */
export class Shared {
  readonly name: string;
  /** Of the ask, see {@link digestOf}. */
  readonly digest: string;
  readonly #tree: Tree;
  readonly #clock: Clock;
  readonly #forget: () => void;
  readonly #look: (shared: Shared) => void;
  readonly #attached = new Set<Attachment>();
  hold: Hold | undefined;
  outcome: Outcome | undefined;
  isDelivered = false;
  /** Its lease is of an earlier term, and nobody has asked for it since. */
  isRecovered = false;
  /** Forgotten, cancelled or refused. */
  over = false;
  /** Kept until then, whoever left. */
  keptUntil = 0 as Instant;

  constructor(parts: { name: string; digest: string; tree: Tree; clock: Clock; forget: () => void; look: (shared: Shared) => void }) {
    this.name = parts.name;
    this.digest = parts.digest;
    this.#tree = parts.tree;
    this.#clock = parts.clock;
    this.#forget = parts.forget;
    this.#look = parts.look;
  }

  get waitUntil(): Instant {
    return this.hold === undefined ? NEVER : after(this.hold.waitUntil, this.#tree.skew);
  }

  /** Somebody waits for it or is being answered, or its lease lives. */
  get inUse(): boolean {
    if (this.outcome === undefined) return this.#attached.size > 0;
    if (!this.isDelivered) return this.#attached.size > 0;
    return this.hold?.phase === 'kept' && this.hold.permit?.lease !== undefined;
  }

  /** Asks for the place. */
  open(entry: Entry, ask: AdmissionAsk): void {
    this.hold = this.#tree.acquire(entry, ask, (outcome) => this.#settled(outcome));
    // So that it learns when its lease ends.
    this.hold.watch(() => {});
  }

  /** Takes a lease of an earlier term for its answer. */
  recover(hold: Hold): void {
    this.hold = hold;
    this.isDelivered = true;
    this.isRecovered = true;
    const { permit } = hold;
    if (permit !== undefined) this.outcome = { kind: 'admitted', permit: shiftPermit(permit, this.#tree.skew), id: hold.id };
    hold.watch(() => {});
    this.#look(this);
  }

  /** One more caller for the same answer. */
  attach(done: (outcome: Outcome) => void): Attachment {
    const attachment = new Attachment(this, done);
    const back = this.#allAway && this.hold !== undefined && this.outcome === undefined;
    this.#attached.add(attachment);
    if (back && this.hold !== undefined) this.#tree.unsuspend(this.hold);
    if (this.outcome !== undefined) attachment.answer(this.#outcomeNow(this.outcome));
    if (this.outcome?.kind === 'refused') this.drop();
    return attachment;
  }

  /** One caller is gone; the last one leaves the place suspended, or the permit to be fetched again. */
  detach(attachment: Attachment): void {
    if (!this.#attached.delete(attachment) || this.#attached.size > 0 || this.over || this.isDelivered) return;
    if (this.hold?.phase === 'before') return this.drop();
    this.keep(after(this.#clock.now(), AWAY_FOR));
    if (this.hold !== undefined && this.outcome === undefined) this.#tree.suspend(this.hold);
  }

  /** As `detach`, and nothing is kept of an answer that nobody got. */
  giveBack(attachment: Attachment): void {
    if (this.#attached.delete(attachment) && this.#attached.size === 0 && !this.isDelivered) this.drop();
  }

  /** A caller cannot be reached, or can again. The place is passed over while that goes for all of them. */
  attend(): void {
    if (this.hold === undefined || this.outcome !== undefined) return;
    if (this.#allAway) this.#tree.suspend(this.hold);
    else this.#tree.unsuspend(this.hold);
  }

  get #allAway(): boolean {
    return [...this.#attached].every((attachment) => attachment.isAway);
  }

  delivered(): void {
    this.isDelivered = true;
    this.hold?.delivered();
  }

  /** Everybody is away until then at most; told so if they did not leave. */
  park(until: Instant): void {
    for (const attachment of [...this.#attached]) {
      if (this.outcome === undefined) attachment.answer({ kind: 'refused', refusal: { reason: 'cancelled' } });
      attachment.leave();
    }
    this.keep(until);
  }

  /** Nothing is left of it: a place goes, an answer nobody got is given back. */
  drop(): void {
    if (this.over) return;
    this.over = true;
    this.#forget();
    this.hold?.leave();
  }

  /** A session's end: place and lease go at once. */
  end(refusal: Refusal): void {
    this.over = true;
    this.#forget();
    this.hold?.end(refusal);
  }

  view(): PermitView | undefined {
    return this.hold?.view();
  }

  keep(until: Instant): void {
    this.keptUntil = later(this.keptUntil, until);
    this.#look(this);
  }

  /** Who asks again later is told what is left of the lease, counted from now. */
  #outcomeNow(outcome: Outcome): Outcome {
    const lease = this.isDelivered ? this.hold?.view() : undefined;
    if (outcome.kind === 'refused' || outcome.permit.lease === undefined || lease === undefined) return outcome;
    const { expiresAt } = lease;
    const duration = Math.max(0, Math.min(lease.duration, expiresAt - this.#clock.now()));
    return { ...outcome, permit: { ...outcome.permit, lease: { ...outcome.permit.lease, expiresAt, duration } } };
  }

  #settled(outcome: Outcome): void {
    this.outcome = outcome;
    if (outcome.kind === 'refused' && !this.over && this.#attached.size === 0 && KEPT_REFUSALS.has(outcome.refusal.reason)) {
      this.keep(after(this.#clock.now(), AWAY_FOR));
    } else if (outcome.kind === 'refused') {
      this.over = true;
      this.#forget();
    } else {
      const { lease, settleable, grantedAt } = outcome.permit;
      this.keep(after(this.#clock.now(), AWAY_FOR));
      if (lease === undefined && settleable) this.keep(after(grantedAt, SETTLE_FOR));
    }
    for (const attachment of [...this.#attached]) attachment.answer(outcome);
  }
}

/** One caller of a shared ask. */
class Attachment implements Held {
  readonly #shared: Shared;
  #done: ((outcome: Outcome) => void) | undefined;
  #cancel: (() => void) | undefined;
  isAway = false;

  constructor(shared: Shared, done: (outcome: Outcome) => void) {
    this.#shared = shared;
    this.#done = done;
  }

  get waits(): boolean {
    return this.#done !== undefined;
  }

  answer(outcome: Outcome): void {
    const done = this.#done;
    this.#done = undefined;
    this.#cancel?.();
    done?.(outcome);
  }

  /** This caller has less patience than the place. */
  limit(clock: Clock, until: Instant): void {
    this.#cancel = clock.at(until, () => {
      this.answer({ kind: 'refused', refusal: { reason: 'expired' } });
      this.#shared.detach(this);
    });
  }

  leave(): void {
    this.#done = undefined;
    this.#cancel?.();
    this.#shared.detach(this);
  }

  delivered(): void {
    this.#shared.delivered();
    this.#shared.detach(this);
  }

  giveBack(): void {
    this.#done = undefined;
    this.#cancel?.();
    this.#shared.giveBack(this);
  }

  place(): Place | undefined {
    return this.#done === undefined ? undefined : this.#shared.hold?.place();
  }

  endsAt(): Instant {
    return this.#shared.waitUntil;
  }

  since(): Since | undefined {
    return this.#shared.hold?.since();
  }

  away(away: boolean): void {
    this.isAway = away;
    this.#shared.attend();
  }
}

function nameOf(caller: string, group: string, requestId: string): string {
  return `${caller}\u0000${group}\u0000${requestId}`;
}
