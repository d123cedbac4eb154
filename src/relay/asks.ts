import type { AdmissionAsk, Held, Outcome } from '../admission/admission.ts';
import { MOVED } from '../admission/moved.ts';
import { shiftOutcome, shiftSince } from '../admission/shift.ts';
import { arrivalOf, type Permit, SERIAL_BITS } from '../core/permit.ts';
import { withdrawn } from '../core/refusal.ts';
import { after, type Instant, type Micros, SECOND } from '../core/time.ts';
import type { Place } from '../core/waiter.ts';
import type { AsksParts } from './asks-parts.ts';
import type { Spot } from './directory.ts';
import { Errand, type ErrandHost, type ErrandState } from './errand.ts';
import { LateGrants } from './late-grants.ts';
import type { Lines } from './lines.ts';
import type { Op } from './ops.ts';
import { Retries } from './retries.ts';
import { Roll } from './roll.ts';

/** A grant that took longer to come is given back (coordination.md 2.8): what it allows is to happen about when it was decided. */
const GRANT_AGE_MAX: Micros = 2 * SECOND;

/**
 * Every ask of this replica's callers that is not answered:
 *
 *     begin ─▶ a gate here ──▶ answer            MOVED, a new owner, a lost address: asked again where the shard is then,
 *          └─▶ a peer's gate ─▶ answer           with the patience left and the place it had
 *          └─▶ held, until somebody decides
 */
export class Asks implements ErrandHost {
  readonly #parts: AsksParts;
  /** Who is held. */
  readonly roll: Roll;
  readonly #lines: Lines;
  readonly #retries: Retries;
  readonly #late: LateGrants;
  #serials = 0;
  #wids = 0;
  #reachable = true;

  constructor(parts: AsksParts) {
    this.#parts = parts;
    this.roll = new Roll({ clock: parts.clock, giveUp: (errand) => void parts.send(errand.peer, { op: 'cancel', wid: errand.wid }) });
    this.#lines = this.roll.lines;
    this.#late = new LateGrants(parts.clock);
    this.#retries = new Retries(parts.timers, (shard) => this.#retry(shard));
  }

  /** Asks for a permit; `done` may be called before this returns. */
  begin(ask: AdmissionAsk, spot: Spot, done: (outcome: Outcome) => void): Errand {
    const errand = new Errand(this, ask, spot, this.#parts.clock.now(), ++this.#serials, done);
    this.roll.enrol();
    if (this.#parts.door.isHere(ask.group)) this.#enter(errand, ask);
    else this.#dispatch(errand);
    return errand;
  }

  /** An owner's answer. False: not one of these. */
  hear(peer: string, op: Op, by: Micros): boolean {
    if (op.op !== 'queued' && op.op !== 'moved' && op.op !== 'outcome') return false;
    const errand = this.#lines.named(op.wid);
    if (errand === undefined) {
      // Of an attempt that is over.
      if (op.op === 'outcome' && op.outcome.kind === 'admitted') {
        this.#parts.send(peer, { op: 'cancel', wid: op.wid });
        this.#cameLate(this.#late.take(op.wid), op.outcome.permit, op.outcome.id);
      }
      return true;
    }
    if (op.op === 'outcome') this.#outcome(errand, shiftOutcome(op.outcome, by), op.again === true);
    else {
      if (op.since !== undefined) errand.arrival = shiftSince(op.since, by);
      if (op.op === 'moved') this.#hold(errand);
    }
    return true;
  }

  /** Another one decides for this shard: everybody is asked again there, in order. */
  placed(shard: number): void {
    this.#retries.forget(shard);
    const place = this.#parts.place(shard);
    // Its last owner may still answer who was asked there.
    if (place.at === 'nowhere') return;
    for (const errand of this.#lines.of(shard)) {
      const asked = place.at === 'peer' && errand.state === 'there' && errand.peer === place.instance && errand.term === place.term;
      if (!asked) this.#dispatch(errand);
    }
    if (place.at === 'peer') this.#parts.send(place.instance, { op: 'rejoined', shard, term: place.term });
    else if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** A peer's life is over: nobody answers there. */
  gone(peer: string): void {
    for (const errand of this.#lines.all()) if (errand.state === 'there' && errand.peer === peer) this.#hold(errand);
  }

  /** Everything is asked again from a new address. */
  readdressed(): void {
    for (const shard of new Set(this.#lines.all().map((errand) => errand.spot.shard))) {
      for (const errand of this.#lines.of(shard)) if (errand.state === 'there') this.#dispatch(errand);
    }
  }

  /** false: no other replica can be reached; the stopgap decides where it may, until true. */
  reachable(reachable: boolean): void {
    this.#reachable = reachable;
    if (!reachable) {
      for (const errand of this.#lines.all()) if (this.#mayStray(errand)) this.#dispatch(errand);
      return;
    }
    for (const errand of [...this.roll.astray].sort((a, b) => a.serial - b.serial)) {
      errand.local?.leave();
      this.#dispatch(errand);
    }
  }

  /** Groups have changed: some may be gone, or belong to another shard. */
  resettled(): void {
    for (const errand of this.#lines.all()) {
      const spot = this.#parts.directory.of(errand.ask.group);
      if (spot === undefined) this.roll.refuse(errand, withdrawn(this.#parts.clock.now()));
      else if (spot.shard !== errand.spot.shard) {
        this.#resettle(errand, spot);
        this.#dispatch(errand);
      }
    }
  }

  // ErrandHost: what callers do.

  left(errand: Errand, was: ErrandState): void {
    const { local } = errand;
    if (was !== 'told') {
      this.roll.close(errand);
      this.answered(errand);
    }
    if (was === 'there' || (was === 'told' && errand.peer !== '')) this.#parts.send(errand.peer, { op: 'cancel', wid: errand.wid });
    else if (local !== undefined) local.leave();
    else errand.early = 'left';
    if (was === 'told' && errand.permit !== undefined) this.#returnLate(errand.ask.caller, errand.permit, errand.id);
  }

  answered(errand: Errand): void {
    const { late } = errand;
    errand.late = undefined;
    if (late !== undefined && late.id !== errand.id) this.#returnLate('', late.permit, late.id);
  }

  kept(errand: Errand): void {
    if (errand.peer !== '') this.#parts.send(errand.peer, { op: 'delivered', wid: errand.wid });
    else if (errand.local !== undefined) errand.local.delivered();
    else errand.early = 'kept';
  }

  watched(errand: Errand): Place | undefined {
    return this.#parts.watched(errand);
  }

  /** Where its shard is decided now; an earlier attempt is over. */
  #dispatch(errand: Errand): void {
    this.#withdraw(errand);
    if (this.#mayStray(errand)) return this.#stray(errand);
    const { shard } = errand.spot;
    const { group } = errand.ask;
    const place = this.#parts.place(shard);
    if (place.at === 'nowhere') return this.#wait(errand);
    if (place.at === 'peer') return this.#askThere(errand, place.instance, place.term);
    const opening = this.#parts.door.opening(group);
    if (opening === undefined) return this.#enter(errand, errand.again(this.#parts.clock.now()));
    this.roll.stand(errand, 'porch');
    const enter = (): void => {
      if (errand.state === 'porch') this.#enter(errand, errand.again(this.#parts.clock.now()));
      this.#entered(shard, place.term);
    };
    this.#parts.porch.wait(group, opening, { since: () => errand.arrival, enter });
  }

  #enter(errand: Errand, ask: AdmissionAsk): void {
    this.roll.unline(errand);
    errand.state = 'here';
    errand.peer = '';
    this.#settle(
      errand,
      this.#parts.door.acquire(ask, (outcome) => this.#decided(errand, outcome)),
    );
  }

  #stray(errand: Errand): void {
    this.roll.unline(errand);
    errand.state = 'here';
    errand.peer = '';
    this.roll.astray.add(errand);
    const ask = errand.again(this.#parts.clock.now());
    const held = this.#parts.stopgap?.acquire(ask, errand.spot, (outcome) => this.#decided(errand, outcome));
    if (held !== undefined) this.#settle(errand, held);
  }

  /** The place it has now; what was said before this was known is done. */
  #settle(errand: Errand, held: Held): void {
    if (errand.early === 'left') held.leave();
    else if (errand.early === 'kept') held.delivered();
    else if (errand.state === 'here' || errand.state === 'told') errand.local = held;
  }

  #askThere(errand: Errand, instance: string, term: bigint): void {
    const { limits } = this.#parts;
    const { shard } = errand.spot;
    errand.peer = instance;
    errand.term = term;
    errand.wid = ++this.#wids;
    this.roll.stand(errand, 'there');
    this.#lines.name(errand);
    const ask = errand.again(this.#parts.clock.now());
    const sent = this.#parts.send(instance, { op: 'ask', wid: errand.wid, shard, term, limits, ask });
    if (sent === 'over') this.#hold(errand);
    else if (sent === 'full') this.roll.refuse(errand, { reason: 'shed', limit: 'replica.window', retryAt: this.#soon() });
  }

  /** A gate of this process has decided. */
  #decided(errand: Errand, outcome: Outcome): void {
    if (errand.state !== 'here') return;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      errand.arrival = errand.local?.since() ?? errand.arrival;
      this.#hold(errand);
    } else this.roll.finish(errand, outcome);
  }

  /** A peer has decided. */
  #outcome(errand: Errand, outcome: Outcome, again: boolean): void {
    if (outcome.kind === 'admitted' && !again && this.#stale(outcome.permit)) {
      errand.arrival = arrivalOf(outcome.permit);
      this.#withdraw(errand, true);
      return this.#dispatch(errand);
    }
    if (outcome.limits !== undefined) this.#parts.seen(errand.ask, outcome.limits);
    this.#lines.unname(errand.wid);
    this.roll.finish(errand, outcome);
  }

  /** A grant was told to nobody; but where its ask was made again under its request id, the next owner may give it this very permit, or has. */
  #cameLate(errand: Errand | undefined, permit: Permit, id: string): void {
    if (errand?.id === id) return;
    if (errand === undefined || errand.state === 'told' || errand.state === 'over') this.#returnLate('', permit, id);
    else errand.late = { permit, id };
  }

  /** Who granted it cannot take it back any more, but whoever decides now knows of its lease. */
  #returnLate(caller: string, { group, lease }: Permit, id: string): void {
    const spot = this.#parts.directory.ofPermit(group);
    if (lease === undefined || spot === undefined) return;
    const place = this.#parts.place(spot.shard);
    if (place.at === 'nowhere' || place.term !== lease.fence >> SERIAL_BITS) this.#parts.unused(caller, id);
  }

  #stale(permit: Permit): boolean {
    return this.#parts.clock.now() - permit.grantedAt > GRANT_AGE_MAX;
  }

  /** The last attempt came to nothing; it is asked again soon, or when its shard is placed. */
  #hold(errand: Errand): void {
    this.#withdraw(errand);
    this.#resettle(errand, this.#parts.directory.of(errand.ask.group) ?? errand.spot);
    this.roll.stand(errand, 'held');
    this.#retries.plan(errand.spot.shard);
  }

  /** Its group may belong elsewhere since it was asked. */
  #resettle(errand: Errand, spot: Spot): void {
    if (spot.shard !== errand.spot.shard) this.#lines.remove(errand);
    errand.spot = spot;
  }

  /** Nobody decides for it now. */
  #wait(errand: Errand): void {
    const isNew = errand.cancelTimer === undefined;
    if (isNew && this.#lines.size >= this.#parts.heldMax) this.roll.refuse(errand, this.roll.undecided());
    else this.roll.stand(errand, 'held');
  }

  /** The last attempt is over; its grant, should it still come, is given back. `late`: it came. */
  #withdraw(errand: Errand, late = false): void {
    this.roll.astray.delete(errand);
    if (errand.state !== 'there') return;
    this.#lines.unname(errand.wid);
    if (!late) this.#late.gaveUp(errand);
    this.#parts.send(errand.peer, { op: 'cancel', wid: errand.wid, ...(late && { late }) });
    errand.state = 'held';
  }

  #retry(shard: number): void {
    for (const errand of this.#lines.of(shard)) if (errand.state === 'held') this.#dispatch(errand);
    const place = this.#parts.place(shard);
    if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** All who are to enter here have. */
  #entered(shard: number, term: bigint): void {
    if (!this.#lines.has(shard)) this.#parts.entered(shard, term);
  }

  #mayStray(errand: Errand): boolean {
    return !this.#reachable && this.#parts.stopgap !== undefined && errand.spot.settings.unreachable !== 'closed';
  }

  #soon(): Instant {
    return after(this.#parts.clock.now(), SECOND);
  }
}
