import { JetStreamApiError, type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { createInbox, type Msg } from '@nats-io/transport-node';
import { type EpochMs, MILLISECOND, type Micros } from '../core/time.ts';
import type { NatsClient } from './connection.ts';
import type { StreamSubject } from './layout.ts';
import { supportsBatchGet } from './version.ts';

/** A message as stored. */
export interface StoredMessage {
  readonly subject: string;
  /** Unique and growing in its stream. */
  readonly sequence: number;
  readonly bytes: Uint8Array;
  /** Of the wall clock of the server that took it, in milliseconds since 1970. */
  readonly at: number;
}

/** What a stream holds, and may hold; Infinity: no bound. */
export interface StreamSize {
  readonly bytes: number;
  readonly bytesMax: number;
}

/** The subject's newest message is another one; nothing was written. */
export class WrongLastSequence extends Error {
  override readonly name = 'WrongLast';
}

/** The stream, or the account, has no room; nothing was written. */
export class StreamFull extends Error {
  override readonly name = 'StreamFull';
}

/** Messages and bytes requested at once. */
const BATCH = { messages: 256, bytes: 4 << 20 } as const;

/** `wrong last sequence`, and the same while another write is under way (2.12). */
const WRONG_LAST: readonly number[] = [10071, 10164];

/** Of the account; of the server, for all; of its storage. */
const NO_ROOM: readonly number[] = [10002, 10023, 10047];

/** The store of the stream refused; the description has the reason. */
const STORE_FAILED = 10077;

/**
 * The verbs on streams that are used while serving: write if unchanged, read directly, purge. No consumers, no watchers:
 * those need leaders that are replaced in 5 to 10 s (docs/design/coordination.md 2.2). Every rejection that is not named means: unknown.
 */
export class StreamClient {
  readonly #line: NatsClient;
  readonly #jetstream: JetStreamClient;
  readonly #manager: Promise<JetStreamManager>;
  readonly #withinMs: number;

  constructor({ line, within }: { readonly line: NatsClient; readonly within: Micros }) {
    this.#line = line;
    this.#withinMs = within / MILLISECOND;
    this.#jetstream = jetstream(line.connection, { timeout: this.#withinMs });
    this.#manager = jetstreamManager(line.connection, { checkAPI: false, timeout: this.#withinMs });
  }

  /**
   * Writes if `last` is the sequence of the subject's newest message (0: none), and resolves with its own once the servers
   * that must have it have it. Rejects with {@link WrongLastSequence} or {@link StreamFull}; with anything else it may have been
   * written, or be written yet.
   */
  async write(place: StreamSubject, bytes: Uint8Array, last: number): Promise<number> {
    this.#check();
    try {
      // One try: after a silence the client would send it again, and find the conflict with itself (docs/design/coordination.md, 7).
      const expect = { lastSubjectSequence: last, streamName: place.stream };
      return (await this.#jetstream.publish(place.subject, bytes, { expect, retries: 1, timeout: this.#withinMs })).seq;
    } catch (cause) {
      if (!(cause instanceof JetStreamApiError)) throw cause;
      if (WRONG_LAST.includes(cause.code)) throw new WrongLastSequence(`${place.subject} has moved on from ${last}.`);
      const full = NO_ROOM.includes(cause.code) || (cause.code === STORE_FAILED && /maximum (bytes|messages)|no space/.test(cause.message));
      throw full ? new StreamFull(`${place.stream} is full: ${cause.message}`, { cause }) : cause;
    }
  }

  /** The newest message of a subject, as far as the answering server knows: it may lag behind. */
  async newest({ stream, subject }: StreamSubject): Promise<StoredMessage | undefined> {
    return this.#get(stream, { last_by_subj: subject });
  }

  /** The first message of a subject (which may have wildcards) at or after a sequence. */
  async next({ stream, subject }: StreamSubject, from: number): Promise<StoredMessage | undefined> {
    return this.#get(stream, { seq: Math.max(1, from), next_by_subj: subject });
  }

  /** All of them from a sequence on, in order. A server that lags behind ends it early. */
  async *scan(place: StreamSubject, from: number): AsyncIterable<StoredMessage> {
    for (let next = from; ; ) {
      const found = supportsBatchGet(this.#line.version) ? await this.#batch(place, next) : [await this.next(place, next)];
      for (const message of found) {
        if (message === undefined) return;
        yield message;
        next = message.sequence + 1;
      }
      if (found.length === 0) return;
    }
  }

  /** Removes the messages of a subject below a sequence. */
  async purge({ stream, subject }: StreamSubject, below: number): Promise<void> {
    this.#check();
    // To the server 0 means all of them.
    if (below <= 1) return;
    await (await this.#manager).streams.purge(stream, { filter: subject, seq: below });
  }

  async size(stream: string): Promise<StreamSize> {
    this.#check();
    const { state, config } = await (await this.#manager).streams.info(stream);
    return { bytes: state.bytes, bytesMax: config.max_bytes > 0 ? config.max_bytes : Number.POSITIVE_INFINITY };
  }

  /** The wall clock of the server that leads the stream, in milliseconds since 1970. Also an answer that lags behind has the time it was given at. */
  async time(stream: string): Promise<EpochMs> {
    this.#check();
    const { ts } = await (await this.#manager).streams.info(stream);
    const time = Date.parse(ts ?? '');
    if (Number.isNaN(time)) throw new Error(`${stream} is described without the time.`);
    return time as EpochMs;
  }

  /** The client would keep it back and send it late, or never. */
  #check(): void {
    if (!this.#line.connected) throw new Error('NATS is not connected.');
  }

  async #get(stream: string, query: { last_by_subj: string } | { seq: number; next_by_subj: string }): Promise<StoredMessage | undefined> {
    this.#check();
    const found = await (await this.#manager).direct.getMessage(stream, query);
    return found === null ? undefined : { subject: found.subject, sequence: found.seq, bytes: plain(found.data), at: found.time.getTime() };
  }

  #batch({ stream, subject }: StreamSubject, from: number): Promise<StoredMessage[]> {
    this.#check();
    const { connection } = this.#line;
    const inbox = createInbox(this.#line.inboxPrefix);
    return new Promise((resolve, reject) => {
      const found: StoredMessage[] = [];
      const end = (error?: Error): void => {
        clearTimeout(timer);
        subscription.unsubscribe();
        if (error === undefined) resolve(found);
        else reject(error);
      };
      const timer = setTimeout(() => end(new Error(`${stream} does not answer.`)), this.#withinMs);
      const subscription = connection.subscribe(inbox, {
        callback: (error, message) => {
          if (error !== null) return end(error);
          const code = message.headers?.code ?? 0;
          // 404: no more there; 204: no more in this batch.
          if (code === 404 || code === 204) return end();
          if (code !== 0) return end(new Error(`${stream} answers ${code} ${message.headers?.description ?? ''}.`));
          found.push(storedOf(message));
          timer.refresh();
          // A server older than 2.11 answers with one message to every request.
          if (message.headers?.has('Nats-Num-Pending') !== true) end();
        },
      });
      const query = { seq: Math.max(1, from), next_by_subj: subject, batch: BATCH.messages, max_bytes: BATCH.bytes };
      connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), { reply: inbox });
    });
  }
}

function storedOf({ headers, data }: Msg): StoredMessage {
  const sequence = Number(headers?.get('Nats-Sequence'));
  if (!Number.isSafeInteger(sequence)) throw new Error('A message came without its sequence.');
  return { subject: headers?.get('Nats-Subject') ?? '', sequence, bytes: plain(data), at: Date.parse(headers?.get('Nats-Time-Stamp') ?? '') };
}

/** The client hands out Node's buffers, whose `slice` does not copy. */
function plain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
