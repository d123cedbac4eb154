import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { createInbox, headers, type Msg, type MsgHdrs, nanos } from '@nats-io/transport-node';
import { MILLISECOND, type Micros } from '../core/time.ts';
import type { NatsClient } from './connection.ts';
import type { StreamSubject } from './layout.ts';
import { StreamFull, type StreamSize, WrongLastSequence } from './stream-client.ts';
import { supportsBatchGet } from './version.ts';

/** The header that holds what is read of each message without its payload. */
const ROW = 'Sluice-Row';

/** Messages of one pull of a scan; and of one direct get, whose payload comes along. */
const PULL_MESSAGES = 4096;
const TAIL = { messages: 256, bytes: 4 << 20 } as const;

/** A scan that is read no further is forgotten by the servers after this. */
const IDLE_MS = 30_000;

const NOT_FOUND = 10037;
/** `wrong last sequence`, and the same while another write is under way (2.12). */
const WRONG_LAST: readonly number[] = [10071, 10164];
const NO_ROOM: readonly number[] = [10002, 10023, 10047];
const STORE_FAILED = 10077;

/** A message as stored. */
export interface QueueMessage {
  readonly subject: string;
  /** Unique and growing in its stream. */
  readonly sequence: number;
  /** What was written as `row`; '' without one. */
  readonly row: string;
  /** Empty if only headers were requested. */
  readonly bytes: Uint8Array;
}

/** A message to be written. */
export interface QueueWrite {
  readonly place: StreamSubject;
  /** ASCII, without line ends. */
  readonly row: string;
  readonly bytes: Uint8Array;
  /** The sequence of the subject's newest message (0: none); undefined: any. */
  readonly last: number | undefined;
  /** Deleted after this many seconds, by servers that can; undefined: kept. */
  readonly ttlSeconds?: number | undefined;
}

/** What the servers and the streams as they are can do. */
export interface QueueFeatures {
  readonly ttl: boolean;
  readonly atomic: boolean;
}

/** The servers took nothing of a batch; its messages may be written one by one. */
export class BatchRefused extends Error {
  override readonly name = 'BatchRefused';
}

/**
 * The verbs on streams of stored requests. No `Nats-Msg-Id`: the id of a message that was purged is still a duplicate for two
 * minutes, acknowledged and stored nowhere. Each rejection that is not named means: unknown.
 */
export class QueueRecords {
  readonly features: QueueFeatures;
  readonly #line: NatsClient;
  readonly #manager: JetStreamManager;
  readonly #withinMs: number;

  private constructor(line: NatsClient, withinMs: number, manager: JetStreamManager, features: QueueFeatures) {
    this.#line = line;
    this.#withinMs = withinMs;
    this.#manager = manager;
    this.features = features;
  }

  /** Reads what the streams can do: created by an older server, they may lack what this one has. */
  static async open(deps: { readonly line: NatsClient; readonly within: Micros; readonly streams: readonly string[] }): Promise<QueueRecords> {
    const withinMs = deps.within / MILLISECOND;
    const manager = await jetstreamManager(deps.line.connection, { checkAPI: false, timeout: withinMs });
    const configs = await Promise.all(deps.streams.map(async (stream) => (await manager.streams.info(stream)).config));
    const features = { ttl: configs.every((config) => config.allow_msg_ttl === true), atomic: configs.every((config) => config.allow_atomic === true) };
    return new QueueRecords(deps.line, withinMs, manager, features);
  }

  /** Bytes of a payload at most: what the server takes, less headers and subject. */
  get payloadMax(): number {
    return (this.#line.connection.info?.max_payload ?? 1 << 20) - 4096;
  }

  /**
   * Writes one message, once, and resolves with its sequence when the servers that must have it have it. Rejects with
   * {@link WrongLastSequence} or {@link StreamFull}: not written; with anything else it may have been written, or be written yet.
   */
  async write(write: QueueWrite): Promise<number> {
    this.#check();
    const answer = await this.#line.connection.request(write.place.subject, write.bytes, { headers: this.#headers(write), timeout: this.#withinMs });
    return this.#acknowledged(answer, write.place);
  }

  /**
   * Writes all or nothing, to one stream, and resolves with their sequences. Rejects with {@link BatchRefused} or {@link StreamFull}:
   * nothing was written; with anything else all may have been written, or nothing.
   */
  async writeAll(writes: readonly QueueWrite[]): Promise<readonly number[]> {
    this.#check();
    const { connection } = this.#line;
    const batch = createInbox('B').slice(2);
    const last = writes.length - 1;
    for (const [index, write] of writes.entries()) {
      const fields = this.#headers(write);
      fields.set('Nats-Batch-Id', batch);
      fields.set('Nats-Batch-Sequence', String(index + 1));
      if (index < last) connection.publish(write.place.subject, write.bytes, { headers: fields });
      else {
        fields.set('Nats-Batch-Commit', '1');
        const answer = await connection.request(write.place.subject, write.bytes, { headers: fields, timeout: this.#withinMs });
        return this.#committed(answer, writes);
      }
    }
    return [];
  }

  /** The newest message of a subject, as far as the answering server knows: it may lag behind. */
  async newest({ stream, subject }: StreamSubject): Promise<QueueMessage | undefined> {
    this.#check();
    return queued(await this.#manager.direct.getMessage(stream, { last_by_subj: subject }));
  }

  /** The same as the leader of the stream knows it: nothing acknowledged is missing. Slower, and none while there is no leader. */
  async certain({ stream, subject }: StreamSubject): Promise<QueueMessage | undefined> {
    this.#check();
    try {
      return queued(await this.#manager.streams.getMessage(stream, { last_by_subj: subject }));
    } catch (cause) {
      if ((cause as { code?: unknown }).code === NOT_FOUND) return undefined;
      throw cause;
    }
  }

  /** The message with this sequence; undefined if it was replaced or purged, or the answering server lags behind. */
  async at(stream: string, sequence: number): Promise<QueueMessage | undefined> {
    this.#check();
    return queued(await this.#manager.direct.getMessage(stream, { seq: sequence }));
  }

  /** The first message of a subject (which may have wildcards) from a sequence on; undefined if there is none, or the answering server lags behind. */
  async next({ stream, subject }: StreamSubject, from: number): Promise<QueueMessage | undefined> {
    this.#check();
    return queued(await this.#manager.direct.getMessage(stream, { seq: Math.max(1, from), next_by_subj: subject }));
  }

  /**
   * Headers of all messages of a subject (which may have wildcards) from a sequence on, in order, by a consumer that lives as
   * long as the scan. A server that lags behind ends it early: only a message that is known to be there proves the end.
   */
  async *scan({ stream, subject }: StreamSubject, from: number): AsyncIterable<QueueMessage> {
    this.#check();
    const { name } = await this.#manager.consumers.add(stream, {
      ack_policy: 'none',
      deliver_policy: 'by_start_sequence',
      opt_start_seq: Math.max(1, from),
      filter_subject: subject,
      headers_only: true,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(IDLE_MS),
    });
    // What is lost on the way, as when the connection moves to another server, is not delivered again.
    let delivered = 0;
    const next = (answer: Msg): QueueMessage => {
      const { message, number } = pulled(answer);
      if (number !== ++delivered) throw new Error(`${stream} lost messages of a scan on the way: ${number} came in the place of ${delivered}.`);
      return message;
    };
    try {
      for (;;) {
        const found = await this.#ask(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, { batch: PULL_MESSAGES, no_wait: true }, PULL_MESSAGES, next);
        yield* found;
        if (found.length < PULL_MESSAGES) return;
      }
    } finally {
      await this.#manager.consumers.delete(stream, name).catch(() => false);
    }
  }

  /** The next messages of a stream from a sequence on, whole, at most 256 or 4 MiB; none: there are no more yet. */
  async tail({ stream, subject }: StreamSubject, from: number): Promise<readonly QueueMessage[]> {
    this.#check();
    const seq = Math.max(1, from);
    if (!supportsBatchGet(this.#line.version)) {
      const message = await this.next({ stream, subject }, seq);
      return message === undefined ? [] : [message];
    }
    // By sequence alone: with a subject each batch counts the whole stream (50 to 76 ms at a million).
    const query = { seq, batch: TAIL.messages, max_bytes: TAIL.bytes };
    let last = 0;
    // Each names the one before it, and the end of the batch its last: what is lost on the way is requested again.
    const follows = ({ headers: fields }: Msg): void => {
      const before = fields?.get('Nats-Last-Sequence') ?? '';
      if (before !== '' && Number(before) !== last) throw new Error(`${stream} lost messages on the way: after ${last} comes what follows ${before}.`);
    };
    const next = (answer: Msg): QueueMessage => {
      follows(answer);
      const message = got(answer);
      last = message.sequence;
      return message;
    };
    return this.#ask(`$JS.API.DIRECT.GET.${stream}`, query, TAIL.messages, next, follows);
  }

  /** Removes all messages of a subject, which may have wildcards, or those up to a sequence. */
  async purge({ stream, subject }: StreamSubject, upTo?: number): Promise<void> {
    this.#check();
    await this.#manager.streams.purge(stream, upTo === undefined ? { filter: subject } : { filter: subject, seq: upTo + 1 });
  }

  /** The subjects there are below one with wildcards, as the leader knows them. */
  async subjects({ stream, subject }: StreamSubject): Promise<readonly string[]> {
    this.#check();
    const { state } = await this.#manager.streams.info(stream, { subjects_filter: subject });
    return Object.keys(state.subjects ?? {});
  }

  /** `last`: the newest sequence that the stream has given. */
  async size(stream: string): Promise<StreamSize & { readonly last: number }> {
    this.#check();
    const { state, config } = await this.#manager.streams.info(stream);
    return { bytes: state.bytes, bytesMax: config.max_bytes > 0 ? config.max_bytes : Number.POSITIVE_INFINITY, last: state.last_seq };
  }

  /** The client would keep it back and send it late, or never. */
  #check(): void {
    if (!this.#line.connected) throw new Error('NATS is not connected.');
  }

  #headers({ place, row, last, ttlSeconds }: QueueWrite): MsgHdrs {
    const fields = headers();
    if (row !== '') fields.set(ROW, row);
    fields.set('Nats-Expected-Stream', place.stream);
    if (last !== undefined) fields.set('Nats-Expected-Last-Subject-Sequence', String(last));
    if (ttlSeconds !== undefined && this.features.ttl) fields.set('Nats-TTL', `${Math.max(1, Math.ceil(ttlSeconds))}s`);
    return fields;
  }

  #acknowledged(answer: Msg, place: StreamSubject): number {
    const said = answerOf(answer);
    if (said.error !== undefined) throw refusalOf(said.error, place);
    if (said.seq === undefined || said.duplicate === true) throw new Error(`${place.stream} acknowledges ${place.subject} without having stored it.`);
    return said.seq;
  }

  #committed(answer: Msg, writes: readonly QueueWrite[]): readonly number[] {
    const said = answerOf(answer);
    const place = writes[0]?.place ?? { stream: '', subject: '' };
    if (said.error !== undefined) {
      const refusal = refusalOf(said.error, place);
      throw refusal instanceof StreamFull ? refusal : new BatchRefused(`${place.stream} takes no batch: ${said.error.description}`, { cause: refusal });
    }
    const { seq, count } = said;
    if (seq === undefined || count !== writes.length) throw new Error(`${place.stream} acknowledges ${count} of ${writes.length} messages.`);
    return writes.map((_, index) => seq - writes.length + 1 + index);
  }

  /** `ended` sees what ends the answers, and throws if some are missing. */
  #ask(
    subject: string,
    query: object,
    most: number,
    read: (message: Msg) => QueueMessage,
    ended: (message: Msg) => void = () => {},
  ): Promise<readonly QueueMessage[]> {
    const { connection, inboxPrefix } = this.#line;
    const inbox = createInbox(inboxPrefix);
    return new Promise((resolve, reject) => {
      const found: QueueMessage[] = [];
      const end = (error?: Error): void => {
        clearTimeout(timer);
        subscription.unsubscribe();
        if (error === undefined) resolve(found);
        else reject(error);
      };
      const subscription = connection.subscribe(inbox, {
        callback: (error, message) => {
          if (error !== null) return end(error);
          const code = message.headers?.code ?? 0;
          // 404: nothing there; 204: no more in this batch; 408: nothing came.
          const over = code === 404 || code === 204 || code === 408;
          if (code !== 0 && !over) return end(new Error(`${subject} is answered ${code} ${message.headers?.description ?? ''}.`));
          try {
            if (over) {
              ended(message);
              return end();
            }
            found.push(read(message));
          } catch (cause) {
            return end(cause as Error);
          }
          timer.refresh();
          if (found.length === most) end();
        },
      });
      // After the subscription: a connection that is closed throws there, and a timer would outlive the call.
      const timer = setTimeout(() => end(new Error(`${subject} is not answered.`)), this.#withinMs);
      connection.publish(subject, JSON.stringify(query), { reply: inbox });
    });
  }
}

interface Answer {
  readonly error?: { readonly err_code: number; readonly description: string };
  readonly seq?: number;
  readonly count?: number;
  readonly duplicate?: boolean;
}

function answerOf(message: Msg): Answer {
  return message.json<Answer>();
}

function refusalOf({ err_code: code, description }: NonNullable<Answer['error']>, { stream, subject }: StreamSubject): Error {
  if (WRONG_LAST.includes(code)) return new WrongLastSequence(`${subject} has moved on.`);
  const full = NO_ROOM.includes(code) || (code === STORE_FAILED && /maximum (bytes|messages)|no space/.test(description));
  return full ? new StreamFull(`${stream} is full: ${description}`) : new Error(`${stream} answers ${code}: ${description}`);
}

function queued(found: { subject: string; seq: number; header: MsgHdrs; data: Uint8Array } | null): QueueMessage | undefined {
  return found === null ? undefined : { subject: found.subject, sequence: found.seq, row: found.header?.get(ROW) ?? '', bytes: plain(found.data) };
}

/** A message that a consumer delivers, and its number among them: both are in the subject that an acknowledgement would go to. */
function pulled({ subject, headers: fields, reply }: Msg): { readonly message: QueueMessage; readonly number: number } {
  const tokens = (reply ?? '').split('.');
  // Servers with domains put two more tokens before the stream's name.
  const at = tokens.length > 9 ? 7 : 5;
  return { message: numbered(subject, Number(tokens[at]), fields, new Uint8Array()), number: Number(tokens[at + 1]) };
}

function got({ headers: fields, data }: Msg): QueueMessage {
  return numbered(fields?.get('Nats-Subject') ?? '', Number(fields?.get('Nats-Sequence')), fields, plain(data));
}

function numbered(subject: string, sequence: number, fields: MsgHdrs | undefined, bytes: Uint8Array): QueueMessage {
  if (!Number.isSafeInteger(sequence) || sequence < 1) throw new Error('A message came without its sequence.');
  return { subject, sequence, row: fields?.get(ROW) ?? '', bytes };
}

/** The client hands out Node's buffers, whose `slice` does not copy. */
function plain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
