import type { LocalAdmissionService } from '../admission/admission.ts';
import type { ShardLocation, Timers } from '../coordination/replica.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingCalls } from './calls.ts';
import type { GroupDirectory } from './group-directory.ts';
import { isMoved } from './owner-calls.ts';
import type { CallArgs, Method } from './transport/codec.ts';

/** While the owner is unknown or changes, calls are tried again for so long; then `undecided`. */
const TRY_FOR: Micros = 3 * SECOND;
const RETRY: Micros = 50 * MILLISECOND;

/** What it takes to reach owners. */
export interface OwnerClientDeps {
  readonly admission: LocalAdmissionService;
  readonly directory: GroupDirectory;
  readonly calls: PendingCalls;
  readonly timers: Timers;
  readonly now: () => Instant;
  readonly place: (shard: number) => ShardLocation;
}

/** One call, as it is made here and as it is made elsewhere. */
export interface OwnerCall<T> {
  readonly group: string;
  readonly here: () => T | Promise<T>;
  readonly method: Method;
  readonly args: CallArgs;
  readonly shift: (value: T, by: Micros) => T;
  /** The answer where it could not be made. */
  readonly refused: (refusal: Refusal) => T;
}

/** Calls about a group, made by whoever decides for it. */
export class OwnerClient {
  readonly #parts: OwnerClientDeps;

  constructor(parts: OwnerClientDeps) {
    this.#parts = parts;
  }

  /** May be done twice where an owner is lost on the way: each of these calls ends in the same state then. */
  async call<T>(call: OwnerCall<T>): Promise<T> {
    const { directory, admission, now, place } = this.#parts;
    const spot = directory.ofPermit(call.group);
    if (spot === undefined) return call.here();
    const end = plus(now(), TRY_FOR);
    for (;;) {
      const at = place(spot.shard);
      if (at.at === 'here') {
        await admission.opening(call.group);
        const value = await call.here();
        if (!isMoved(value)) return value;
      } else if (at.at === 'peer') {
        const reply = await this.#parts.calls.make(at.instance, call.method, call.args, Math.max(0, end - now()));
        if (reply.how === 'value') return call.shift(reply.value as T, reply.by);
        if (reply.how === 'fault') return call.refused({ reason: 'fault' });
      }
      if (now() + RETRY > end) return call.refused({ reason: 'undecided', retryAt: plus(now(), SECOND) });
      await this.#sleep();
    }
  }

  #sleep(): Promise<void> {
    return new Promise((resolve) => void this.#parts.timers.after(RETRY, resolve));
  }
}
