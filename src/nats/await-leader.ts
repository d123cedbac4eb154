import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamSubject } from './layout.ts';
import { type ConnectionEvent, NatsUnsupported } from './options.ts';
import { type StreamClient, WrongLastSequence } from './stream-client.ts';

/** A sequence that no stream has come to. */
const NEVER_LAST = Number.MAX_SAFE_INTEGER;

/** Between two tries. */
const RETRY_MS = 50;

interface AwaitLeaderOptions {
  readonly records: Pick<StreamClient, 'write'> & { newest(place: StreamSubject): Promise<unknown> };
  /** Where nothing was written yet. */
  readonly place: StreamSubject;
  readonly onEvent: (change: ConnectionEvent) => void;
  /** When to give up, on the clock of `performance.now`. */
  readonly until: number;
}

/**
 * Waits until a new stream takes writes and answers reads: it exists before its servers have elected a leader, and before the
 * server at hand knows where that is. Tried by a write that must be refused, so nothing is written. Rejects with {@link NatsUnsupported}.
 */
export async function awaitLeader({ records, place, onEvent, until }: AwaitLeaderOptions): Promise<void> {
  for (let reported = false; ; reported = true) {
    try {
      await records.newest(place);
      await records.write(place, new Uint8Array(), NEVER_LAST);
    } catch (cause) {
      if (cause instanceof WrongLastSequence) return;
      const why = `the stream ${place.stream} takes no writes yet`;
      if (performance.now() + RETRY_MS > until) throw new NatsUnsupported(`${why}; see that its servers run and have a leader.`, { cause });
      if (!reported) onEvent({ kind: 'waiting', why });
      await sleep(RETRY_MS);
    }
  }
}
