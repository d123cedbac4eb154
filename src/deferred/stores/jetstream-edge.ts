import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeferredLayout } from '../../nats/deferred-layout.ts';
import { BatchRefused, type QueueRecords, type QueueWrite } from '../../nats/queue-records.ts';
import { StreamFull, WrongLastSequence } from '../../nats/stream-client.ts';
import type { StreamQuota } from '../../nats/stream-quota.ts';
import type { EdgeOutcome, EdgeSubmit, RequestEdge } from '../shared-store.ts';
import { StoreUnavailable } from '../store.ts';
import { decodeRow, encodeRequest, encodeRow, type QueuedRow } from './jetstream-format.ts';

/** Messages and bytes of one batch at most. */
const BATCH = { messages: 256, bytes: 1 << 20 } as const;

/** A body up to this size is stored with its request. */
const INLINE_BYTES = 64 << 10;

/** A message that may have been written is looked for twice, so far apart, before it is written again. */
const LOOK_AGAIN_MS = 200;

/** Headers, subject, and the server's own, above row and payload. */
const MESSAGE_OVERHEAD = 256;

/** What of the streams the stores use. */
export type QueueVerbs = Pick<
  QueueRecords,
  'features' | 'payloadMax' | 'write' | 'writeAll' | 'newest' | 'certain' | 'at' | 'next' | 'scan' | 'tail' | 'purge' | 'subjects' | 'size'
>;

/** A request that waits behind others for longer is refused: NATS does not keep up, and its caller gets the refusal. */
const WAIT_MAX_MS = 10_000;

interface Waiting {
  readonly submit: EdgeSubmit;
  /** When it came, on the clock of `performance.now`. */
  readonly since: number;
  readonly token: string;
  readonly write: QueueWrite;
  readonly nonce: string;
  readonly resolve: (outcome: EdgeOutcome) => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * The side of any replica that takes requests: it stores them in the streams, whichever replica owns their shard and whether any
 * does. The subject is made of the key, and only the first write to a subject passes, so that two replicas give one ticket
 * for one key. One batch is under way per stream; what arrives meanwhile is the next.
 */
export class JetStreamEdge implements RequestEdge {
  readonly #records: QueueVerbs;
  readonly #layout: DeferredLayout;
  readonly #room: StreamQuota;
  readonly #nowMs: () => number;
  /** Names of the uploads that are under way. */
  readonly #uploads = new Map<number, string>();
  readonly #queues = new Map<string, { queue: Waiting[]; running: Promise<void> | undefined }>();

  /** `room`: of the streams of requests and of bodies. */
  constructor(deps: { readonly records: QueueVerbs; readonly layout: DeferredLayout; readonly room: StreamQuota; readonly nowMs: () => number }) {
    this.#records = deps.records;
    this.#layout = deps.layout;
    this.#room = deps.room;
    this.#nowMs = deps.nowMs;
  }

  /** Resolves once the request is stored, or its key was known. Rejects with {@link StoreUnavailable}. */
  submit(submit: EdgeSubmit): Promise<EdgeOutcome> {
    const { shard, row, head, body } = submit;
    const token = tokenOf(shard, row.idHash);
    const nonce = randomBytes(6).toString('hex');
    const place = this.#layout.shard(shard).request(token);
    const upload = body instanceof Uint8Array ? '' : this.#uploadName(body.upload);
    const queued: QueuedRow = { row: { ...row, sequence: 0, secret: token }, nonce, upload, end: undefined, reportUntil: 0 };
    const write = { place, row: encodeRow(place.subject, queued), bytes: encodeRequest(place.subject, head, body), last: 0 };
    return new Promise((resolve, reject) => {
      const queue = this.#queue(place.stream);
      queue.queue.push({ submit, token, nonce, write, since: performance.now(), resolve, reject });
      queue.running ??= this.#run(queue);
    });
  }

  /** Stores a piece of a body before its request. */
  async upload(shard: number, upload: number, piece: number, bytes: Uint8Array): Promise<void> {
    const place = this.#layout.shard(shard).piece(this.#uploadName(upload), piece);
    if (bytes.length > this.#records.payloadMax) throw new RangeError(`A piece of ${bytes.length} bytes is larger than NATS takes.`);
    // A body whose request would not be taken need not be.
    if (!this.#room.has(this.#layout.shard(shard).all.stream, INLINE_BYTES)) throw full();
    if (!(await this.#room.take(place.stream, bytes.length + MESSAGE_OVERHEAD, false))) throw full();
    // Written again after a silence it is the same piece.
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#records.write({ place, row: '', bytes, last: undefined });
        return;
      } catch (cause) {
        if (cause instanceof StreamFull) throw full(cause);
        if (attempt === 2) throw failed(`Piece ${piece} of a body`, cause);
      }
    }
  }

  async dropUpload(shard: number, upload: number): Promise<void> {
    const place = this.#layout.shard(shard).pieces(this.#uploadName(upload));
    this.#uploads.delete(upload);
    await this.#records.purge(place);
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    for (const { running } of this.#queues.values()) await running;
  }

  /** The name that pieces are stored under: the sweep reads from it how old an upload is. */
  #uploadName(upload: number): string {
    const known = this.#uploads.get(upload);
    if (known !== undefined) return known;
    const name = `${Math.floor(this.#nowMs() / 1000).toString(36)}-${randomBytes(8).toString('hex')}`;
    this.#uploads.set(upload, name);
    return name;
  }

  #queue(stream: string): { queue: Waiting[]; running: Promise<void> | undefined } {
    const known = this.#queues.get(stream);
    if (known !== undefined) return known;
    const queue = { queue: [], running: undefined };
    this.#queues.set(stream, queue);
    return queue;
  }

  async #run(queue: { queue: Waiting[]; running: Promise<void> | undefined }): Promise<void> {
    await Promise.resolve();
    while (queue.queue.length > 0) {
      let bytes = 0;
      const subjects = new Set<string>();
      let count = 0;
      for (const { write } of queue.queue) {
        bytes += sizeOf(write);
        // A batch writes a subject once.
        if (count === BATCH.messages || (count > 0 && bytes > BATCH.bytes) || subjects.has(write.place.subject)) break;
        subjects.add(write.place.subject);
        count++;
      }
      await this.#commit(queue.queue.splice(0, count));
    }
    queue.running = undefined;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const fitting: Waiting[] = [];
    for (const waiting of batch) {
      if (performance.now() - waiting.since > WAIT_MAX_MS) waiting.reject(failed('A request', new Error('NATS does not keep up')));
      else if (await this.#room.take(waiting.write.place.stream, sizeOf(waiting.write), false)) fitting.push(waiting);
      else waiting.reject(full());
    }
    if (fitting.length > 1 && this.#records.features.atomic) {
      try {
        const sequences = await this.#records.writeAll(fitting.map(({ write }) => write));
        await Promise.all(fitting.map((waiting, index) => this.#settle(waiting, async () => accepted(waiting, sequences[index] as number))));
        return;
      } catch (cause) {
        // One known key refuses all of them; after a silence each is looked for.
        const unknown = !(cause instanceof BatchRefused || cause instanceof StreamFull);
        await Promise.all(fitting.map((waiting) => this.#settle(waiting, () => (unknown ? this.#resolve(waiting, cause) : this.#single(waiting)))));
        return;
      }
    }
    await Promise.all(fitting.map((waiting) => this.#settle(waiting, () => this.#single(waiting))));
  }

  async #settle({ submit, resolve, reject }: Waiting, work: () => Promise<EdgeOutcome>): Promise<void> {
    try {
      const outcome = await work();
      if (!outcome.existing) this.#forgetUpload(submit);
      resolve(outcome);
    } catch (cause) {
      // What may have been stored keeps its pieces; what found no room is dropped by its caller.
      if (!(cause instanceof StoreUnavailable && cause.reason === 'full')) this.#forgetUpload(submit);
      reject(cause instanceof StoreUnavailable ? cause : failed('A request', cause));
    }
  }

  #forgetUpload({ body }: EdgeSubmit): void {
    if (!(body instanceof Uint8Array)) this.#uploads.delete(body.upload);
  }

  async #single(waiting: Waiting): Promise<EdgeOutcome> {
    try {
      return accepted(waiting, await this.#records.write(waiting.write));
    } catch (cause) {
      if (cause instanceof WrongLastSequence) return this.#known(waiting);
      if (cause instanceof StreamFull) throw full(cause);
      return this.#resolve(waiting, cause);
    }
  }

  /** Whether it was written is unknown: looked for twice, then written once more under the same name. */
  async #resolve(waiting: Waiting, cause: unknown): Promise<EdgeOutcome> {
    this.#room.changed(waiting.write.place.stream);
    const found = await this.#look(waiting).catch(() => undefined);
    if (found !== undefined) return this.#judge(waiting, found);
    try {
      return accepted(waiting, await this.#records.write(waiting.write));
    } catch (again) {
      if (again instanceof WrongLastSequence) return this.#known(waiting);
      if (again instanceof StreamFull) throw full(again);
      throw failed(`Request ${waiting.token}`, cause);
    }
  }

  async #known(waiting: Waiting): Promise<EdgeOutcome> {
    const found = await this.#look(waiting);
    if (found === undefined) throw failed(`Request ${waiting.token}`, new Error('its key is taken, and by whom cannot be read'));
    return this.#judge(waiting, found);
  }

  async #look({ write }: Waiting): Promise<(QueuedRow & { readonly at: number }) | undefined> {
    for (let look = 1; ; look++) {
      const found = await this.#records.certain(write.place);
      if (found !== undefined) return { ...decodeRow(found), at: found.sequence };
      if (look === 2) return undefined;
      await sleep(LOOK_AGAIN_MS);
    }
  }

  /** What is at the subject: this very request, another one of the key, or an ended one that makes room. */
  async #judge(waiting: Waiting, found: QueuedRow & { readonly at: number }): Promise<EdgeOutcome> {
    const { submit, nonce, write } = waiting;
    if (found.nonce === nonce) return { row: found.row, existing: false, end: found.end };
    if (found.row.idHash !== submit.row.idHash) throw failed(`Request ${waiting.token}`, new Error('its name is taken by a request of another key'));
    const renews = found.end !== undefined && (submit.renews?.({ row: found.row, existing: true, end: found.end }) ?? found.end.state !== 'done');
    if (!renews) return { row: found.row, existing: true, end: found.end };
    const again = { ...waiting, write: { ...write, last: found.at } };
    const deadSubject = this.#layout.shard(submit.shard).dead(found.row.group, waiting.token);
    const tombstoned = found.end?.state === 'dead' ? await this.#records.certain(deadSubject) : undefined;
    const outcome = await this.#single(again);
    if (tombstoned !== undefined && !outcome.existing) await this.#records.purge(deadSubject, tombstoned.sequence).catch(() => undefined);
    return outcome;
  }
}

/**
 * A request's token: it names the subject and is the secret half of the id. Two digits of the shard, then 56 bits: random, or
 * of the key's hash, so that one key has one subject.
 */
export function tokenOf(shard: number, idHash: string): string {
  const rest = idHash === '' ? randomBytes(7).toString('hex') : createHash('sha256').update(`token\u0000${idHash}`).digest('hex').slice(0, 14);
  return shard.toString(16).padStart(2, '0') + rest;
}

function accepted({ submit, token }: Waiting, sequence: number): EdgeOutcome {
  return { row: { ...submit.row, sequence, secret: token }, existing: false, end: undefined };
}

function sizeOf({ place, row, bytes }: QueueWrite): number {
  return place.subject.length + row.length + bytes.length + MESSAGE_OVERHEAD;
}

/** No room for what is new. */
export function full(cause?: unknown): StoreUnavailable {
  return new StoreUnavailable('full', 'The streams of deferred requests are full: raise their bounds, or wait until requests have ended.', { cause });
}

/** NATS did not do it, or did not say so. */
export function failed(what: string, cause: unknown): StoreUnavailable {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new StoreUnavailable('failed', `${what} could not be stored in NATS: ${why}`, { cause });
}
