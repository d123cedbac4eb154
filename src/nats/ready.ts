import type { Place } from './layout.ts';
import { type LinkChange, NatsUnfit } from './options.ts';
import { type Records, WrongLast } from './records.ts';

/** A sequence that no stream has come to. */
const NEVER_LAST = Number.MAX_SAFE_INTEGER;

/** Between two tries. */
const RETRY_MS = 50;

interface ReadyParts {
  readonly records: Pick<Records, 'write' | 'newest'>;
  /** Where nothing was written yet. */
  readonly place: Place;
  readonly tell: (change: LinkChange) => void;
  /** When to give up, on the clock of `performance.now`. */
  readonly until: number;
}

/**
 * Waits until a new stream takes writes and answers reads: it exists before its servers have elected a leader, and before the
 * server at hand knows where that is. Tried by a write that must be refused, so nothing is written. Rejects with {@link NatsUnfit}.
 */
export async function ready({ records, place, tell, until }: ReadyParts): Promise<void> {
  for (let told = false; ; told = true) {
    try {
      await records.newest(place);
      await records.write(place, new Uint8Array(), NEVER_LAST);
    } catch (cause) {
      if (cause instanceof WrongLast) return;
      const why = `the stream ${place.stream} takes no writes yet`;
      if (performance.now() + RETRY_MS > until) throw new NatsUnfit(`${why}; see that its servers run and have a leader.`, { cause });
      if (!told) tell({ kind: 'waiting', why });
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
