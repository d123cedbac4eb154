import type { QueueVerbs } from '../../../src/deferred/stores/jetstream-edge.ts';
import type { StreamSubject } from '../../../src/nats/layout.ts';
import type { QueueMessage, QueueWrite } from '../../../src/nats/queue-records.ts';
import { WrongLastSequence } from '../../../src/nats/stream-client.ts';

interface StreamState {
  last: number;
  readonly newest: Map<string, QueueMessage>;
}

/**
 * Streams of stored requests in memory. Writes are decided by what was written; reads are answered as of {@link lag} changes ago, as
 * by a server that lags behind, or has just become leader and has not applied all that it has.
 */
export class MemoryStreams {
  /** Reads are so many changes behind. */
  lag = 0;
  readonly #now = new Map<string, StreamState>();
  readonly #seen = new Map<string, StreamState>();
  readonly #behind: ((states: Map<string, StreamState>) => void)[] = [];

  /** Decides and applies a write at once. Throws {@link WrongLastSequence}. */
  write({ place: { stream, subject }, row, bytes, last }: QueueWrite): number {
    const state = stateOf(this.#now, stream);
    if (last !== undefined && (state.newest.get(subject)?.sequence ?? 0) !== last) throw new WrongLastSequence(`${subject} has moved on.`);
    const sequence = state.last + 1;
    this.#change((states) => {
      const to = stateOf(states, stream);
      to.last = sequence;
      to.newest.set(subject, { subject, sequence, row, bytes });
    });
    return sequence;
  }

  purge({ stream, subject }: StreamSubject, upTo = Number.POSITIVE_INFINITY): void {
    this.#change((states) => {
      const { newest } = stateOf(states, stream);
      for (const message of [...newest.values()]) if (fits(subject, message.subject) && message.sequence <= upTo) newest.delete(message.subject);
    });
  }

  /** What a read finds: all messages of a subject, which may have wildcards, in order. */
  read({ stream, subject }: StreamSubject): readonly QueueMessage[] {
    while (this.#behind.length > this.lag) this.#behind.shift()?.(this.#seen);
    const { newest } = stateOf(this.#seen, stream);
    return [...newest.values()].filter((message) => fits(subject, message.subject)).sort((a, b) => a.sequence - b.sequence);
  }

  last(stream: string): number {
    this.read({ stream, subject: '>' });
    return stateOf(this.#seen, stream).last;
  }

  #change(change: (states: Map<string, StreamState>) => void): void {
    change(this.#now);
    this.#behind.push(change);
  }
}

/** One process's way to {@link MemoryStreams}; `way` takes each verb there and its answer back, and may lose either. */
export function memoryVerbs(streams: MemoryStreams, way: <T>(verb: () => T) => Promise<T>): QueueVerbs {
  const newest = (place: StreamSubject) => way(() => streams.read(place).at(-1));
  return {
    features: { ttl: true, atomic: false },
    payloadMax: 1 << 20,
    write: (write) => way(() => streams.write(write)),
    writeAll: () => Promise.reject(new Error('these streams take no batches')),
    newest,
    certain: newest,
    at: (stream, sequence) => way(() => streams.read({ stream, subject: '>' }).find((message) => message.sequence === sequence)),
    next: (place, from) => way(() => streams.read(place).find(({ sequence }) => sequence >= from)),
    scan: async function* scan(place, from) {
      yield* await way(() => streams.read(place).filter(({ sequence }) => sequence >= from));
    },
    tail: ({ stream }, from) => way(() => streams.read({ stream, subject: '>' }).filter(({ sequence }) => sequence >= from)),
    purge: (place, upTo) => way(() => streams.purge(place, upTo)),
    subjects: (place) => way(() => streams.read(place).map(({ subject }) => subject)),
    size: (stream) => way(() => ({ bytes: 0, bytesMax: Number.POSITIVE_INFINITY, last: streams.last(stream) })),
  };
}

function stateOf(states: Map<string, StreamState>, stream: string): StreamState {
  const known = states.get(stream);
  if (known !== undefined) return known;
  const state = { last: 0, newest: new Map() };
  states.set(stream, state);
  return state;
}

/** NATS' wildcards: `*` one token, `>` one or more. */
function fits(pattern: string, subject: string): boolean {
  const [want, have] = [pattern.split('.'), subject.split('.')];
  const end = want.indexOf('>');
  if (end === -1 ? want.length !== have.length : have.length <= end) return false;
  return want.slice(0, end === -1 ? undefined : end).every((token, index) => token === '*' || token === have[index]);
}
