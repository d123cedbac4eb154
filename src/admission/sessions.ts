import { RESUME_MAX } from '../core/bounds.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Micros, plus } from '../core/time.ts';
import type { PermitView } from './admission.ts';
import type { Clock } from './clock.ts';
import type { PendingAcquire } from './pending-acquire.ts';
import type { SharedAcquire } from './shared-acquire.ts';

const ENDED: Refusal = { reason: 'cancelled', detail: 'The session ended.' };

interface Session {
  readonly members: Set<PendingAcquire | SharedAcquire>;
  /** Streams that carry it: the new one may open before the old one is known to be dead. */
  streams: number;
  /** Takes the end back. */
  revive: (() => void) | undefined;
}

/**
 * Sessions own the places and leases that were asked for in them. When the last stream of a session ends, its places are
 * cancelled and its leases released, at once or after `resume`. Meanwhile a place with a request id is passed over and
 * can be asked for again by that id; one without is gone at once, since its outcome could not be delivered.
 */
export class Sessions {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #sessions = new Map<string, Session>();

  constructor(deps: { clock: Clock; max: number }) {
    this.#clock = deps.clock;
    this.#max = deps.max;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Is there room for this session? */
  admits(caller: string, session: string): boolean {
    return this.#sessions.size < this.#max || this.#sessions.has(nameOf(caller, session));
  }

  /** The session owns this request from now on. */
  add(caller: string, name: string, member: PendingAcquire | SharedAcquire): void {
    const hold = 'hold' in member ? member.hold : member;
    if (hold === undefined || hold.phase === 'over') return;
    const session = this.#of(nameOf(caller, name));
    session.members.add(member);
    hold.watch(() => {
      session.members.delete(member);
      this.#sweep(nameOf(caller, name), session);
    });
  }

  /** A stream of this session opens; what it still holds. */
  resume(caller: string, name: string): readonly PermitView[] {
    if (!this.admits(caller, name)) return [];
    const session = this.#of(nameOf(caller, name));
    session.streams++;
    session.revive?.();
    session.revive = undefined;
    return [...session.members].flatMap((member) => member.view() ?? []);
  }

  /** A stream of this session ended. */
  end(caller: string, name: string, resume: Micros): void {
    const key = nameOf(caller, name);
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    session.streams = Math.max(0, session.streams - 1);
    if (session.streams > 0) return;
    session.revive?.();
    if (resume <= 0) return this.#end(key, session);
    const until = plus(this.#clock.now(), Math.min(resume, RESUME_MAX));
    session.revive = this.#clock.at(until, () => this.#end(key, session));
    for (const member of [...session.members]) {
      if ('suspend' in member) member.suspend(until);
      else if (member.view() === undefined) member.end(ENDED);
    }
  }

  #end(key: string, session: Session): void {
    session.revive = undefined;
    this.#sessions.delete(key);
    for (const member of [...session.members]) member.end(ENDED);
  }

  #of(key: string): Session {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = { members: new Set(), streams: 0, revive: undefined };
      this.#sessions.set(key, session);
    }
    return session;
  }

  #sweep(key: string, session: Session): void {
    if (session.members.size === 0 && session.streams === 0 && this.#sessions.get(key) === session) {
      session.revive?.();
      this.#sessions.delete(key);
    }
  }
}

function nameOf(caller: string, session: string): string {
  return `${caller}\u0000${session}`;
}
