import type { LocalAdmissionService } from '../admission/admission.ts';
import { type ShardLocation, sleep, type Timers } from '../coordination/replica.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupDirectory } from './group-directory.ts';
import { isMoved } from './owner-calls.ts';
import type { CallArgs, Method, RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

/** Time for which calls are retried while the owner is unknown or changes; then they are refused as `undecided`. */
const TRY_FOR: Micros = 3 * SECOND;
const RETRY: Micros = 50 * MILLISECOND;

/** Dependencies of {@link OwnerClient}. */
export interface OwnerClientDeps {
  readonly admission: LocalAdmissionService;
  readonly directory: GroupDirectory;
  readonly calls: PendingCalls;
  readonly timers: Timers;
  readonly now: () => Instant;
  readonly locate: (shard: number) => ShardLocation;
}

/** One call: how it is made here, and how it is made at a peer. */
export interface OwnerCall<T> {
  readonly group: string;
  readonly here: () => T | Promise<T>;
  readonly method: Method;
  readonly args: CallArgs;
  readonly shift: (value: T, by: Micros) => T;
  /** Returns the result for a call that could not be made. */
  readonly refused: (refusal: Refusal) => T;
}

/** Makes calls about a group at the replica that owns it. */
export class OwnerClient {
  readonly #deps: OwnerClientDeps;

  constructor(deps: OwnerClientDeps) {
    this.#deps = deps;
  }

  /** Makes a call, perhaps twice where the owner is lost meanwhile: each of these calls ends in the same state then. */
  async call<T>(call: OwnerCall<T>): Promise<T> {
    const { directory, admission, now, locate } = this.#deps;
    const route = directory.ofPermit(call.group);
    if (route === undefined) return call.here();
    const end = plus(now(), TRY_FOR);
    for (;;) {
      const location = locate(route.shard);
      if (location.at === 'here') {
        await admission.opening(call.group);
        const value = await call.here();
        if (!isMoved(value)) return value;
      } else if (location.at === 'peer') {
        const reply = await this.#deps.calls.make(location.instance, call.method, call.args, Math.max(0, end - now()));
        if (reply.how === 'value') return call.shift(reply.value as T, reply.by);
        if (reply.how === 'fault') return call.refused({ reason: 'fault' });
      }
      if (now() + RETRY > end) return call.refused({ reason: 'undecided', retryAt: plus(now(), SECOND) });
      await sleep(this.#deps.timers, RETRY);
    }
  }
}

/** The result of a call. `by` is what to add to instants of the value for those of this process. `lost`: it is unknown whether the call was done. */
export type Reply = { readonly how: 'value'; readonly value: unknown; readonly by: Micros } | { readonly how: 'moved' | 'fault' | 'lost' };

interface PendingCallsDeps {
  readonly send: (to: string, message: RelayMessage) => Sent;
  readonly timers: Timers;
}

interface Pending {
  readonly peer: string;
  readonly settle: (reply: Reply) => void;
}

/** Calls to peers that have no reply yet. */
export class PendingCalls {
  readonly #deps: PendingCallsDeps;
  readonly #pending = new Map<number, Pending>();
  #ids = 0;

  constructor(deps: PendingCallsDeps) {
    this.#deps = deps;
  }

  /** Makes a call. Resolves with the reply, or with `lost` after `within`. Never rejects. */
  make(peer: string, method: Method, args: CallArgs, within: Micros): Promise<Reply> {
    return new Promise((resolve) => {
      const id = ++this.#ids;
      const cancel = this.#deps.timers.after(within, () => settle({ how: 'lost' }));
      const settle = (reply: Reply): void => {
        cancel();
        this.#pending.delete(id);
        resolve(reply);
      };
      this.#pending.set(id, { peer, settle });
      if (this.#deps.send(peer, { op: 'call', id, method, args }) !== 'sent') settle({ how: 'lost' });
    });
  }

  /** Handles a reply of a peer. */
  reply(peer: string, { id, how, value }: Extract<RelayMessage, { op: 'reply' }>, by: Micros): void {
    const pending = this.#pending.get(id);
    if (pending?.peer === peer) pending.settle(how === 'value' ? { how, value, by } : { how });
  }

  /** Ends the calls to a peer that has ended, or to all peers. */
  onPeerLost(peer?: string): void {
    for (const pending of [...this.#pending.values()]) if (peer === undefined || pending.peer === peer) pending.settle({ how: 'lost' });
  }
}
