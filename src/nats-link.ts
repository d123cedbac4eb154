import type { Registers } from './coordination/registers.ts';
import type { Store } from './ledger/store.ts';
import type { Messages } from './nats/messages.ts';
import type { LinkChange } from './nats/options.ts';

/** What replicas share over NATS. */
export interface NatsLink {
  readonly registers: Registers;
  readonly store: Store;
  readonly messages: Messages;
  /** Whether registers and messages can be reached now, as far as this process knows. */
  connected(): boolean;
  /** Called with everything that becomes of the connections; the answer ends it. */
  onChange(listener: (change: LinkChange) => void): () => void;
  /** Waits for what is under way and hangs up. Twice does nothing. */
  close(): Promise<void>;
}
