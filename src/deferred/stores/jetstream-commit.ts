import type { ShardLayout } from '../../nats/deferred-layout.ts';
import type { StreamSubject } from '../../nats/layout.ts';
import { BatchRefused, type QueueMessage, type QueueWrite } from '../../nats/queue-records.ts';
import { StreamFull, WrongLastSequence } from '../../nats/stream-client.ts';
import type { Attempt, RequestEnd, RequestRow } from '../request.ts';
import { type Change, type Flight, StoreUnavailable } from '../store.ts';
import { failed, full, type QueueVerbs } from './jetstream-edge.ts';
import { decodeEnd, decodeFlights, decodeRequest, decodeRow, encodeEnd, encodeFlights, encodeRequest, encodeRow, type QueuedRow } from './jetstream-format.ts';
import type { ShardState } from './jetstream-shard.ts';

/** Attempts that are kept of a request. */
const ATTEMPTS_MAX = 20;
const BATCH_BYTES = 1 << 20;

type Of<K extends Change['kind']> = Extract<Change, { kind: K }>;

/** A change on its way: what is written, and what follows. */
interface Step {
  readonly write: QueueWrite;
  /** It was written with this sequence. */
  readonly done: (sequence: number) => void;
  /** Another message stands where this one was to follow. */
  readonly moved: () => Promise<void>;
  /** The same in less room, once the stream is full; undefined: there is no smaller one. */
  readonly smaller?: QueueWrite;
}

/** What the owner of a shard writes: arms, retries, ends and redrives, each of them once. */
export class ShardWriter {
  /** The sequence of the register of flights; set when the shard is opened. */
  flightsAt = 0;
  /** To be purged: no more than what is known, since a newer message may come to the same subject. */
  readonly litter: { readonly place: StreamSubject; readonly upTo: number | undefined }[] = [];
  readonly #records: QueueVerbs;
  readonly #layout: ShardLayout;
  readonly #state: ShardState;
  readonly #term: bigint;
  readonly #nowMs: () => number;
  #succeeded = false;
  /** It has claimed the shard: what it has in memory is all there is. */
  #owns = false;

  constructor(deps: {
    readonly records: QueueVerbs;
    readonly layout: ShardLayout;
    readonly state: ShardState;
    readonly term: bigint;
    readonly nowMs: () => number;
  }) {
    this.#records = deps.records;
    this.#layout = deps.layout;
    this.#state = deps.state;
    this.#term = deps.term;
    this.#nowMs = deps.nowMs;
  }

  /** Writes the term into the register of flights, and resolves with what owners before may have on its way. */
  async claim(): Promise<readonly Flight[]> {
    const place = this.#layout.flights;
    for (;;) {
      const found = await this.#records.certain(place);
      const before = found === undefined ? { term: 0n, flights: [] } : decodeFlights(found);
      if (before.term > this.#term) throw this.#beaten(before.term);
      try {
        this.flightsAt = await this.#records.write(this.#flights(before.flights, found?.sequence ?? 0));
        this.#owns = true;
        return before.flights;
      } catch (cause) {
        if (!(cause instanceof WrongLastSequence)) throw cause;
      }
    }
  }

  /** Applies a batch. Rejects with {@link StoreUnavailable}; what was applied of it then is found and passed over when it is tried again. */
  async commit(batch: readonly Change[]): Promise<void> {
    // An end passes once, for whichever caller, and so does the record of an attempt; nothing else is this owner's any more.
    if (this.#succeeded && batch.some(({ kind }) => kind !== 'end' && kind !== 'retry')) throw failed('A change', new Error('another replica owns the shard'));
    try {
      for (const wave of waves(batch)) {
        const steps = await Promise.all(wave.map((change) => this.#steps(change)));
        for (const group of groups(steps.flat())) await this.#write(group);
      }
    } catch (cause) {
      if (cause instanceof StreamFull) throw full(cause);
      throw cause instanceof StoreUnavailable ? cause : failed('A change', cause);
    }
  }

  async #steps(change: Change): Promise<readonly Step[]> {
    switch (change.kind) {
      case 'submit':
        throw new Error('requests of replicas are stored by their edge');
      case 'arm':
        return [this.#arm(change.flights)];
      case 'retry':
        return this.#retry(change);
      case 'end':
        return [await this.#end(change)];
      case 'redrive':
        return this.#redrive(change.row);
    }
  }

  async #write(steps: readonly Step[]): Promise<void> {
    if (steps.length > 1 && this.#records.features.atomic) {
      try {
        const sequences = await this.#records.writeAll(steps.map(({ write }) => write));
        for (const [index, step] of steps.entries()) step.done(sequences[index] as number);
        return;
      } catch (cause) {
        if (!(cause instanceof BatchRefused || cause instanceof StreamFull)) throw cause;
      }
    }
    const results = await Promise.allSettled(steps.map((step) => this.#single(step)));
    const fault = results.find((each) => each.status === 'rejected');
    if (fault !== undefined) throw fault.reason;
  }

  async #single({ write, done, moved, smaller }: Step): Promise<void> {
    try {
      done(await this.#records.write(write));
    } catch (cause) {
      if (cause instanceof WrongLastSequence) return moved();
      if (!(cause instanceof StreamFull) || smaller === undefined) throw cause;
      return this.#single({ write: smaller, done, moved });
    }
  }

  #arm(flights: readonly Flight[]): Step {
    return {
      write: this.#flights(flights, this.flightsAt),
      done: (sequence) => {
        this.flightsAt = sequence;
      },
      // Another owner, or a write of one's own whose answer was lost.
      moved: async () => {
        const found = await this.#records.certain(this.#layout.flights);
        const { term } = found === undefined ? { term: 0n } : decodeFlights(found);
        if (term > this.#term) throw this.#beaten(term);
        // This owner has written the register: a leader that shows it as it was before lags behind.
        if (term < this.#term) throw lagging(this.#layout.flights.stream);
        this.flightsAt = await this.#records.write(this.#flights(flights, found?.sequence ?? 0));
      },
    };
  }

  async #retry({ row, attempt }: Of<'retry'>): Promise<readonly Step[]> {
    const place = this.#layout.retry(row.secret);
    const [pending, found] = await Promise.all([this.pending(row), this.certain(place, this.#state.retries.get(row.sequence) ?? 0)]);
    // It has ended: cancelled while its attempt was under way, or by another owner.
    if (pending === undefined) return [];
    const there = found === undefined ? undefined : decodeRow(found).row;
    const before = found === undefined || there?.sequence !== row.sequence ? [] : decodeEnd(found).attempts;
    const done = (sequence: number): void => void this.#state.retries.set(row.sequence, sequence);
    const last = before.at(-1);
    const same = there?.attempts === row.attempts && there.dueAt === row.dueAt && last?.number === attempt.number && last.at === attempt.at;
    if (found !== undefined && same) {
      // Its own, whose answer was lost.
      done(found.sequence);
      return [];
    }
    const write = this.#retryWrite(row, [...before, attempt].slice(-ATTEMPTS_MAX), found?.sequence ?? 0);
    return [{ write, done, moved: () => Promise.reject(new Error('another owner has written a retry of this request')) }];
  }

  #retryWrite(row: RequestRow, attempts: readonly Attempt[], last: number): QueueWrite {
    const place = this.#layout.retry(row.secret);
    const queued = { row, nonce: '', upload: '', end: undefined, reportUntil: 0 };
    return { place, row: encodeRow(place.subject, queued), bytes: encodeEnd(place.subject, undefined, attempts), last };
  }

  async #end(change: Of<'end'>): Promise<Step> {
    const { row, end, attempt, report } = change;
    const before = await this.attempts(row);
    const attempts = (attempt === undefined ? before : [...before, attempt]).slice(-ATTEMPTS_MAX);
    const upload = this.#state.uploads.get(row.sequence)?.upload ?? '';
    if (end.state === 'dead') await this.#storeDeadLetter(row, end, upload);
    const write = this.#tombstone(change, attempts, upload, this.#state.at(row.sequence));
    const { response } = end;
    const less = {
      ...end,
      response: response === undefined ? undefined : { ...response, body: new Uint8Array(), truncated: response.truncated || response.body.length > 0 },
    };
    return {
      write,
      done: (sequence) => this.#ended(change, upload, sequence),
      moved: () => this.#endedElsewhere(change, upload),
      smaller: this.#tombstone({ row, end: less, report }, attempts.slice(-1), upload, this.#state.at(row.sequence)),
    };
  }

  /** The message of an ended request, in the place of the request. */
  #tombstone({ row, end: ended, report }: Omit<Of<'end'>, 'kind' | 'attempt'>, attempts: readonly Attempt[], upload: string, last: number): QueueWrite {
    const { sequence: _, response, ...end } = ended;
    const place = this.#layout.request(row.secret);
    const queued: QueuedRow = { row, nonce: '', upload: end.state === 'dead' ? upload : '', end, reportUntil: report?.until ?? 0 };
    const ttlSeconds = (Math.max(end.goneAt, queued.reportUntil) - this.#nowMs()) / 1000;
    return { place, row: encodeRow(place.subject, queued), bytes: encodeEnd(place.subject, response, attempts, report?.url), last, ttlSeconds };
  }

  /** A dead letter keeps head and body, elsewhere: stored before its end is, so that a crash between leaves too much and not too little. */
  async #storeDeadLetter(row: RequestRow, { sequence: _, response: __, ...end }: RequestEnd, upload: string): Promise<void> {
    const found = await this.pending(row);
    if (found === undefined) return;
    const { head, body } = decodeRequest(found);
    const place = this.#layout.dead(row.group, row.secret);
    const bytes = encodeRequest(place.subject, head, body);
    const ttlSeconds = (end.goneAt - this.#nowMs()) / 1000;
    const queued = { row, nonce: '', upload, end, reportUntil: 0 };
    await this.#records.write({ place, row: encodeRow(place.subject, queued), bytes, last: undefined, ttlSeconds });
  }

  #ended({ row, end, report }: Omit<Of<'end'>, 'kind' | 'attempt'>, upload: string, at: number): void {
    if (this.#owns) this.#state.own.add(at);
    this.over(row, end, upload, report?.until ?? 0);
  }

  /** What is left behind by a request that has ended, by whatever replica; `reportUntil`: of its callback, 0 without one. */
  over(row: RequestRow, { state, at, goneAt }: Pick<RequestEnd, 'state' | 'at' | 'goneAt'>, upload: string, reportUntil: number): void {
    const { sequence } = row;
    if (this.#owns && reportUntil > 0) this.#state.owe(row, at, reportUntil);
    this.#state.count(state, goneAt);
    this.#state.moved.delete(sequence);
    const retry = this.#state.retries.get(sequence);
    if (retry !== undefined) this.litter.push({ place: this.#layout.retry(row.secret), upTo: retry });
    this.#state.retries.delete(sequence);
    if (upload === '') return;
    if (state === 'dead') this.#state.uploads.set(sequence, { upload, goneAt });
    else {
      this.#state.uploads.delete(sequence);
      this.litter.push({ place: this.#layout.pieces(upload), upTo: undefined });
    }
  }

  /** An end that found another message: at most one end of a request passes, and one that came later is dropped. */
  async #endedElsewhere(change: Of<'end'>, upload: string): Promise<void> {
    const { row, end, attempt } = change;
    const found = await this.certain(this.#layout.request(row.secret), this.#state.at(row.sequence));
    const there = found === undefined ? undefined : decodeRow(found);
    if (found === undefined || there === undefined || there.row.sequence !== row.sequence) return;
    const before = there.end;
    // Its own, whose answer was lost.
    if (before !== undefined && before.at === end.at && before.state === end.state) return this.#ended(change, upload, found.sequence);
    const deadSubject = this.#layout.dead(row.group, row.secret);
    if (before !== undefined && (before.state !== 'dead' || end.state !== 'cancelled')) {
      if (end.state === 'dead' && before.state !== 'dead') await this.discard(deadSubject);
      return;
    }
    if (before !== undefined) await this.discard(deadSubject);
    const earlier = before === undefined ? await this.attempts(row) : decodeEnd(found).attempts;
    const attempts = (attempt === undefined ? earlier : [...earlier, attempt]).slice(-ATTEMPTS_MAX);
    const at = await this.#records.write(this.#tombstone(change, attempts, upload || there.upload, found.sequence));
    if (before !== undefined) this.#state.count('dead', before.goneAt, -1);
    this.#ended(change, upload || there.upload, at);
  }

  /** Its attempts first: a retry without its request is litter, a request without its attempts would be a loss. */
  async #redrive(row: RequestRow): Promise<readonly Step[]> {
    const place = this.#layout.request(row.secret);
    const deadSubject = this.#layout.dead(row.group, row.secret);
    const [ended, tombstoned] = await Promise.all([this.#records.certain(place), this.#records.certain(deadSubject)]);
    const there = ended === undefined ? undefined : decodeRow(ended);
    // Its own, whose answer was lost.
    if (ended !== undefined && there !== undefined && there.end === undefined && there.row.sequence === row.sequence) {
      this.#state.moved.set(row.sequence, ended.sequence);
      return [];
    }
    if (ended === undefined || there?.end?.state !== 'dead' || there.row.sequence !== row.sequence || tombstoned === undefined) return [];
    const { goneAt } = there.end;
    const { upload, nonce } = decodeRow(tombstoned);
    const { head, body } = decodeRequest(tombstoned);
    const retry = await this.#records.certain(this.#layout.retry(row.secret));
    const { attempts } = decodeEnd(ended);
    this.#state.retries.set(row.sequence, await this.#records.write(this.#retryWrite(row, attempts, retry?.sequence ?? 0)));
    const again = { row, nonce, upload, end: undefined, reportUntil: 0 };
    const write = { place, row: encodeRow(place.subject, again), bytes: encodeRequest(place.subject, head, body), last: ended.sequence };
    const done = (sequence: number): void => {
      this.#state.moved.set(row.sequence, sequence);
      this.#state.count('dead', goneAt, -1);
      if (upload !== '') this.#state.uploads.set(row.sequence, { upload, goneAt: 0 });
      this.litter.push({ place: deadSubject, upTo: tombstoned.sequence });
    };
    const moved = (): Promise<void> => Promise.reject(new Error('the request is no dead letter any more'));
    return [{ write, done, moved }];
  }

  /** Marks what is at a subject now to be purged. */
  async discard(place: StreamSubject): Promise<void> {
    const found = await this.#records.certain(place);
    if (found !== undefined) this.litter.push({ place, upTo: found.sequence });
  }

  /**
   * The newest message of a subject as the stream's leader knows it; undefined: there is none. A server that has just become leader
   * answers before it has applied all that was acknowledged: rejects where it has not come to `floor`, a sequence that is known to be there.
   */
  async certain(place: StreamSubject, floor: number): Promise<QueueMessage | undefined> {
    // Looked for again once a leader was seen to be so far: it was perhaps another that answered before.
    for (let look = 1; ; look++) {
      const found = await this.#records.certain(place);
      if (found !== undefined) return found;
      if (look === 2 || floor === 0) return undefined;
      const { last } = await this.#records.size(place.stream);
      if (last < floor) throw lagging(place.stream);
    }
  }

  /** The message of a pending request; undefined: it has ended, or is not there. */
  async pending(row: Pick<RequestRow, 'sequence' | 'secret'>): Promise<QueueMessage | undefined> {
    const place = this.#layout.request(row.secret);
    const direct = await this.#records.at(place.stream, this.#state.at(row.sequence));
    const found = direct?.subject === place.subject ? direct : await this.certain(place, this.#state.at(row.sequence));
    if (found === undefined) return undefined;
    const there = decodeRow(found);
    if (there.end !== undefined || there.row.sequence !== row.sequence) return undefined;
    return found;
  }

  /** Attempts of a pending request. */
  async attempts({ sequence, secret }: Pick<RequestRow, 'sequence' | 'secret'>): Promise<readonly Attempt[]> {
    if (this.#owns && !this.#state.retries.has(sequence) && !this.#state.moved.has(sequence)) return [];
    const found = await this.certain(this.#layout.retry(secret), this.#state.retries.get(sequence) ?? 0);
    return found === undefined || decodeRow(found).row.sequence !== sequence ? [] : decodeEnd(found).attempts;
  }

  #flights(flights: readonly Flight[], last: number): QueueWrite {
    const place = this.#layout.flights;
    return { place, row: '', bytes: encodeFlights(place.subject, { term: this.#term, flights }), last };
  }

  #beaten(term: bigint): StoreUnavailable {
    this.#succeeded = true;
    return failed('A change', new Error(`term ${term} owns the shard, and this is term ${this.#term}`));
  }
}

function lagging(stream: string): StoreUnavailable {
  return failed('A change', new Error(`the leader of ${stream} lags behind what it has acknowledged`));
}

/** Changes in order, of each request one at a time. */
function* waves(batch: readonly Change[]): IterableIterator<readonly Change[]> {
  let wave: Change[] = [];
  const sequences = new Set<number>();
  for (const change of batch) {
    const sequence = change.kind === 'arm' ? Number.NaN : change.row.sequence;
    if (sequences.has(sequence)) {
      yield wave;
      wave = [];
      sequences.clear();
    }
    wave.push(change);
    sequences.add(sequence);
  }
  if (wave.length > 0) yield wave;
}

/** Steps in order, no more than 1 MiB or one write of a subject in a group. */
function* groups(steps: readonly Step[]): IterableIterator<readonly Step[]> {
  let group: Step[] = [];
  let bytes = 0;
  const subjects = new Set<string>();
  for (const step of steps) {
    const { place, bytes: payload, row } = step.write;
    if (group.length > 0 && (bytes + payload.length > BATCH_BYTES || subjects.has(place.subject))) {
      yield group;
      group = [];
      bytes = 0;
      subjects.clear();
    }
    group.push(step);
    bytes += payload.length + row.length;
    subjects.add(place.subject);
  }
  if (group.length > 0) yield group;
}
