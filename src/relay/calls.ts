import type { Timers } from '../coordination/replica.ts';
import type { Micros } from '../core/time.ts';
import type { CallArgs, Method, RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

/** What became of a call; `by` turns instants of the value into those of this process. `lost`: nobody knows whether it was done. */
export type Reply = { readonly how: 'value'; readonly value: unknown; readonly by: Micros } | { readonly how: 'moved' | 'fault' | 'lost' };

/** What calls are made with. */
export interface CallsParts {
  readonly send: (to: string, op: RelayMessage) => Sent;
  readonly timers: Timers;
}

interface Pending {
  readonly peer: string;
  readonly settle: (reply: Reply) => void;
}

/** Calls to peers that are not answered yet. */
export class PendingCalls {
  readonly #parts: CallsParts;
  readonly #pending = new Map<number, Pending>();
  #ids = 0;

  constructor(parts: CallsParts) {
    this.#parts = parts;
  }

  /** Resolves with the answer, or `lost` after `within`. Never rejects. */
  make(peer: string, method: Method, args: CallArgs, within: Micros): Promise<Reply> {
    return new Promise((resolve) => {
      const id = ++this.#ids;
      const cancel = this.#parts.timers.after(within, () => settle({ how: 'lost' }));
      const settle = (reply: Reply): void => {
        cancel();
        this.#pending.delete(id);
        resolve(reply);
      };
      this.#pending.set(id, { peer, settle });
      if (this.#parts.send(peer, { op: 'call', id, method, args }) !== 'sent') settle({ how: 'lost' });
    });
  }

  /** A peer's answer. */
  reply(peer: string, { id, how, value }: Extract<RelayMessage, { op: 'reply' }>, by: Micros): void {
    const pending = this.#pending.get(id);
    if (pending?.peer === peer) pending.settle(how === 'value' ? { how, value, by } : { how });
  }

  /** A peer's life is over, or all are. */
  gone(peer?: string): void {
    for (const pending of [...this.#pending.values()]) if (peer === undefined || pending.peer === peer) pending.settle({ how: 'lost' });
  }
}
