import type { Clock } from '../admission/clock.ts';
import { MILLISECOND, plus } from '../core/time.ts';

/** Messages among replicas, at most once: what is lost is found by looking. */
export interface NewsBus {
  publish(subject: string, bytes: Uint8Array): void;
  subscribe(subject: string, onMessage: (bytes: Uint8Array) => void): () => void;
}

/** Dependencies of {@link ClusterNews}. */
export interface ClusterNewsDeps {
  readonly bus: NewsBus;
  readonly clock: Clock;
  readonly defer: (run: () => void) => void;
  /** Something was stored in this shard, up to this sequence. */
  readonly stored: (shard: number, sequence: number) => void;
  /** An attempt at a request of this shard, which an earlier owner has sent, has ended. */
  readonly over: (shard: number, sequence: number) => void;
  /** The owner of a shard requests the state of attempts of an earlier owner, which may be this process or any other. */
  readonly asked: (asked: AskedAttempts) => void;
}

/** Attempts whose state is requested of a process: it reports {@link ClusterNews.over} for each that it does not send. */
export interface AskedAttempts {
  readonly shard: number;
  /** The process that receives the request. */
  readonly holder: string;
  readonly sequences: readonly number[];
}

const STORED = 'requests.stored';
const ENDED = 'requests.ended';
const OVER = 'requests.over';
const ASKED = 'requests.asked';
/** A shard, and a sequence. */
const PLACE_BYTES = 9;
/** The secret of a request's id. */
const ENDED_BYTES = 8;
/** Of one message: some hundred kB. */
const PER_MESSAGE = 16_384;

/** Sends the other replicas what was stored and what has ended, once a turn of the event loop, and receives it from them. */
export class ClusterNews {
  readonly #deps: ClusterNewsDeps;
  /** By secret. */
  readonly #waiting = new Map<string, Set<(heard: boolean) => void>>();
  readonly #stored = new Map<number, number>();
  #ended: string[] = [];
  #announcing = false;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #close: () => void;

  constructor(deps: ClusterNewsDeps) {
    this.#deps = deps;
    const { bus, stored, over, asked } = deps;
    this.#unsubscribe = [
      bus.subscribe(STORED, (bytes) => eachPlace(bytes, stored)),
      bus.subscribe(OVER, (bytes) => eachPlace(bytes, over)),
      bus.subscribe(ENDED, (bytes) => this.#hearEnded(bytes)),
    ];
    this.#close = bus.subscribe(ASKED, (bytes) => asked(JSON.parse(Buffer.from(bytes).toString()) as AskedAttempts));
  }

  /** A request was stored, or changed, by this replica: the owner of its shard learns of it, here at once. */
  stored(shard: number, sequence: number): void {
    this.#deps.stored(shard, sequence);
    this.#stored.set(shard, Math.max(sequence, this.#stored.get(shard) ?? 0));
    this.#announce();
  }

  /** Requests the state of attempts of a shard from the process that owned it, which may be this one. */
  ask(asked: AskedAttempts): void {
    const { sequences } = asked;
    this.#deps.asked(asked);
    for (let from = 0; from < sequences.length; from += PER_MESSAGE)
      this.#deps.bus.publish(ASKED, Buffer.from(JSON.stringify({ ...asked, sequences: sequences.slice(from, from + PER_MESSAGE) })));
  }

  /** An attempt of this process at a request of a shard that is another's has come to no end. */
  over(shard: number, sequence: number): void {
    this.#deps.over(shard, sequence);
    this.#deps.bus.publish(OVER, placesOf([[shard, sequence]]));
  }

  /** A request has ended. */
  ended(secret: string): void {
    this.#wake(secret);
    this.#ended.push(secret);
    this.#announce();
  }

  /** `news` resolves with true when the end of a request is reported, with false after `ms`, on `signal`, or by `stop`. */
  whenEnded(secret: string, ms: number, signal: AbortSignal | undefined): { readonly news: Promise<boolean>; readonly stop: () => void } {
    const { promise: news, resolve } = Promise.withResolvers<boolean>();
    const waiting = this.#waiting.get(secret) ?? new Set();
    this.#waiting.set(secret, waiting);
    const end = (heard: boolean): void => {
      cancel();
      signal?.removeEventListener('abort', stop);
      waiting.delete(end);
      if (waiting.size === 0 && this.#waiting.get(secret) === waiting) this.#waiting.delete(secret);
      resolve(heard);
    };
    const stop = (): void => end(false);
    const { clock } = this.#deps;
    const cancel = clock.at(plus(clock.now(), Math.ceil(ms) * MILLISECOND), stop);
    signal?.addEventListener('abort', stop);
    waiting.add(end);
    return { news, stop };
  }

  /** Stops reporting which attempts have ended. Call after {@link stop}, when none is under way. */
  close(): void {
    this.#close();
  }

  /** Stops receiving, and resolves those that wait; still reports which attempts have ended. */
  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const waiting of [...this.#waiting.values()]) for (const end of [...waiting]) end(false);
  }

  #announce(): void {
    if (this.#announcing) return;
    this.#announcing = true;
    this.#deps.defer(() => {
      this.#announcing = false;
      const { bus } = this.#deps;
      if (this.#stored.size > 0) {
        bus.publish(STORED, placesOf([...this.#stored]));
        this.#stored.clear();
      }
      const ended = this.#ended;
      this.#ended = [];
      for (let from = 0; from < ended.length; from += PER_MESSAGE) bus.publish(ENDED, Buffer.from(ended.slice(from, from + PER_MESSAGE).join(''), 'hex'));
    });
  }

  #hearEnded(bytes: Uint8Array): void {
    if (this.#waiting.size === 0) return;
    const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
    for (let at = 0; at + ENDED_BYTES * 2 <= hex.length; at += ENDED_BYTES * 2) this.#wake(hex.slice(at, at + ENDED_BYTES * 2));
  }

  #wake(secret: string): void {
    const waiting = this.#waiting.get(secret);
    if (waiting !== undefined) for (const end of [...waiting]) end(true);
  }
}

function placesOf(places: readonly (readonly [number, number])[]): Uint8Array {
  const bytes = Buffer.alloc(places.length * PLACE_BYTES);
  for (const [index, [shard, sequence]] of places.entries()) {
    bytes.writeUInt8(shard, index * PLACE_BYTES);
    bytes.writeDoubleBE(sequence, index * PLACE_BYTES + 1);
  }
  return bytes;
}

function eachPlace(bytes: Uint8Array, act: (shard: number, sequence: number) => void): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + PLACE_BYTES <= view.byteLength; at += PLACE_BYTES) act(view.getUint8(at), view.getFloat64(at + 1));
}
