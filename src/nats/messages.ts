import type { NatsClient } from './connection.ts';
import type { Layout } from './layout.ts';

/**
 * Core messages below `<prefix>.1.`: at most once, in order from one sender, lost without an error when either side is cut
 * off. A caller that needs more numbers and acknowledges them (relay/transport/channel.ts).
 */
export interface Messages {
  /** `subject` without the prefix: `hb`, `to.<instance>`. While disconnected it is dropped, as on any lost network. */
  publish(subject: string, bytes: Uint8Array): void;
  /** What is published from now on, also by oneself, over reconnects too; the answer ends it. `bytes` may be kept. */
  subscribe(subject: string, onMessage: (bytes: Uint8Array) => void): () => void;
}

/** Core messages over a connection. */
export function createMessages({ line, layout }: { readonly line: NatsClient; readonly layout: Layout }): Messages {
  return {
    publish(subject, bytes) {
      // Kept back by the client they would be sent late, or dropped at the dial: dropped at once they are at least never late.
      if (line.connected) line.connection.publish(layout.message(subject), bytes);
    },
    subscribe(subject, onMessage) {
      const subscription = line.connection.subscribe(layout.message(subject), {
        callback: (error, message) => {
          if (error === null) onMessage(new Uint8Array(message.data.buffer, message.data.byteOffset, message.data.byteLength));
        },
      });
      return () => subscription.unsubscribe();
    },
  };
}
