import type { LocalAdmissionService } from '../admission/admission.ts';
import { type ShardLocation, sleep, type Timers } from '../coordination/replica.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupDirectory } from './group-directory.ts';
import { isMoved } from './owner-calls.ts';
import type { CallArgs, Method, RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

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
  readonly locate: (shard: number) => ShardLocation;
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

/** Makes calls about a group at the replica that owns it. */
export class OwnerClient {
  readonly #deps: OwnerClientDeps;

  constructor(deps: OwnerClientDeps) {
    this.#deps = deps;
  }

  /** May be done twice where an owner is lost on the way: each of these calls ends in the same state then. */
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

/** What became of a call; `by` turns instants of the value into those of this process. `lost`: it is unknown whether it was done. */
export type Reply = { readonly how: 'value'; readonly value: unknown; readonly by: Micros } | { readonly how: 'moved' | 'fault' | 'lost' };

/** What calls are made with. */
interface PendingCallsDeps {
  readonly send: (to: string, message: RelayMessage) => Sent;
  readonly timers: Timers;
}

interface Pending {
  readonly peer: string;
  readonly settle: (reply: Reply) => void;
}

/** Calls to peers that are not answered yet. */
export class PendingCalls {
  readonly #deps: PendingCallsDeps;
  readonly #pending = new Map<number, Pending>();
  #ids = 0;

  constructor(deps: PendingCallsDeps) {
    this.#deps = deps;
  }

  /** Resolves with the answer, or `lost` after `within`. Never rejects. */
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

  /** A peer's answer. */
  reply(peer: string, { id, how, value }: Extract<RelayMessage, { op: 'reply' }>, by: Micros): void {
    const pending = this.#pending.get(id);
    if (pending?.peer === peer) pending.settle(how === 'value' ? { how, value, by } : { how });
  }

  /** A peer's life is over, or all are. */
  onPeerLost(peer?: string): void {
    for (const pending of [...this.#pending.values()]) if (peer === undefined || pending.peer === peer) pending.settle({ how: 'lost' });
  }
}
