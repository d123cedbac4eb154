import { SECOND } from '../../../src/core/time.ts';
import type { Attempt, RequestEnd, RequestRow } from '../../../src/deferred/request.ts';
import type { Change, DeferredStore, EndedFilter, EndedPage, LoadedRequest, Opened } from '../../../src/deferred/store.ts';
import { JetStreamStore } from '../../../src/deferred/stores/jetstream.ts';
import { JetStreamEdge, type QueueVerbs } from '../../../src/deferred/stores/jetstream-edge.ts';
import { connectNats, type NatsClient } from '../../../src/nats/connection.ts';
import { createDeferredLayout, type DeferredLayout } from '../../../src/nats/deferred-layout.ts';
import { createLayout } from '../../../src/nats/layout.ts';
import { QueueRecords } from '../../../src/nats/queue-records.ts';
import { StreamQuota } from '../../../src/nats/stream-quota.ts';
import { openStreams } from '../../../src/nats/streams.ts';
import { natsOptions } from '../../support/fakes/nats-options.ts';

const BYTES = 512 << 20;

/** The streams of stored requests on a server, and a way to them. */
export interface Queues {
  readonly line: NatsClient;
  readonly layout: DeferredLayout;
  readonly records: QueueRecords;
}

export async function openQueues(url: string, more: { readonly prefix?: string; readonly bytes?: number } = {}): Promise<Queues> {
  const { prefix = 'sluice', bytes = BYTES } = more;
  const options = natsOptions([url]);
  const until = performance.now() + 60_000;
  const line = await connectNats({ name: 'ledger', options, inboxPrefix: createLayout(prefix).inboxPrefix, onEvent: () => {}, until });
  const layout = createDeferredLayout(prefix);
  await openStreams({ line, layout: { wanted: () => layout.wanted(bytes, line.version) }, options, onEvent: () => {}, until });
  const records = await QueueRecords.open({ line, within: 5 * SECOND, streams: layout.queues });
  return { line, layout, records };
}

/** One process at one shard: what an edge stores and what the owner ends. */
export interface Seat {
  readonly edge: JetStreamEdge;
  readonly store: JetStreamStore;
}

export function seatAt(queues: Pick<Queues, 'layout'> & { readonly records: QueueVerbs }, shard: number, term: bigint, nowMs: () => number = Date.now): Seat {
  const { records, layout } = queues;
  const room = new StreamQuota({ records, streams: [...layout.queues, ...layout.bodies], bytes: 2 ** 50, relief: 0 });
  const edge = new JetStreamEdge({ records, layout, room, nowMs });
  const store = new JetStreamStore({ records, layout: layout.shard(shard), shard, term, edge, room, nowMs, sweepEveryMs: 0 });
  return { edge, store };
}

/** The same verbs, some of them replaced. */
export function withVerbs(records: QueueVerbs, more: Partial<QueueVerbs>): QueueVerbs {
  const { features, payloadMax } = records;
  const bound = {
    write: records.write.bind(records),
    writeAll: records.writeAll.bind(records),
    newest: records.newest.bind(records),
    certain: records.certain.bind(records),
    at: records.at.bind(records),
    next: records.next.bind(records),
    scan: records.scan.bind(records),
    tail: records.tail.bind(records),
    purge: records.purge.bind(records),
    subjects: records.subjects.bind(records),
    size: records.size.bind(records),
  };
  return { features, payloadMax, ...bound, ...more };
}

/** What one disk of the suite knows: its numbers of requests, and those that the stream gave them. */
export interface Numbers {
  readonly given: Map<number, RequestRow>;
  readonly asked: Map<number, RequestRow>;
  next: number;
}

/**
 * A store that takes submits and numbers as one process does: submits go by the edge, and the numbers that the streams give are
 * told as those that were asked for. Keys are made distinct, since only the index of a process tells which one counts.
 */
export class NumberedStore implements DeferredStore {
  readonly #seat: Seat;
  readonly #shard: number;
  readonly #numbers: Numbers;

  constructor(seat: Seat, shard: number, numbers: Numbers) {
    this.#seat = seat;
    this.#shard = shard;
    this.#numbers = numbers;
  }

  get space(): { readonly bytes: number; readonly bytesMax: number } {
    return this.#seat.store.space;
  }

  async open(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: Pick<RequestEnd, 'state' | 'goneAt'>) => void): Promise<Opened> {
    const { flights } = await this.#seat.store.open(
      (row) => onRow(this.#out(row)),
      (row, end) => onEnded(this.#out(row), end),
    );
    const sequences = flights.map(({ sequence, attempt }) => ({ sequence: this.#numbers.given.get(sequence)?.sequence as number, attempt }));
    return { flights: sequences, nextSequence: this.#numbers.next };
  }

  async commit(batch: readonly Change[]): Promise<void> {
    for (let rest = batch; rest.length > 0; ) {
      const count = rest.findIndex(({ kind }) => kind !== 'submit');
      const submits = rest.slice(0, count === -1 ? rest.length : count);
      await Promise.all(submits.map((change) => this.#submit(change)));
      if (submits.length > 0)
        while (
          await this.#seat.store.learn(
            () => {},
            () => {},
          )
        );
      rest = rest.slice(submits.length);
      const end = rest.findIndex(({ kind }) => kind === 'submit');
      const changes = rest.slice(0, end === -1 ? rest.length : end);
      if (changes.length > 0) await this.#seat.store.commit(changes.map((change) => this.#in(change)));
      rest = rest.slice(changes.length);
    }
  }

  reserve(end: number): Promise<void> {
    this.#numbers.next = Math.max(this.#numbers.next, end);
    return Promise.resolve();
  }

  upload(upload: number, piece: number, bytes: Uint8Array): Promise<void> {
    return this.#seat.store.upload(upload, piece, bytes);
  }

  dropUpload(upload: number): Promise<void> {
    return this.#seat.store.dropUpload(upload);
  }

  async load(sequence: number): Promise<LoadedRequest | undefined> {
    const row = this.#numbers.asked.get(sequence);
    return row && this.#seat.store.load(row.sequence, row.secret);
  }

  async ended(sequence: number): Promise<{ readonly end: RequestEnd; readonly row: RequestRow } | undefined> {
    const row = this.#numbers.asked.get(sequence);
    const found = row && (await this.#seat.store.ended(row.sequence, row.secret));
    return found && { end: { ...found.end, sequence }, row: this.#out(found.row) };
  }

  async attempts(sequence: number): Promise<readonly Attempt[]> {
    const row = this.#numbers.asked.get(sequence);
    return row === undefined ? [] : this.#seat.store.attempts(row.sequence, row.secret);
  }

  async listEnded(filter: EndedFilter, size: number, token: string): Promise<EndedPage> {
    const { requests, next } = await this.#seat.store.listEnded(filter, size, token);
    const shown = requests.map(({ row, end }) => ({ row: this.#out(row), end: { ...end, sequence: this.#out(row).sequence } }));
    return { requests: shown, next };
  }

  counts(): { readonly done: number; readonly dead: number; readonly cancelled: number } {
    return this.#seat.store.counts();
  }

  sweep(nowMs: number): Promise<boolean> {
    return this.#seat.store.sweep(nowMs);
  }

  close(): Promise<void> {
    return this.#seat.store.close();
  }

  async #submit(change: Change): Promise<void> {
    if (change.kind !== 'submit') return;
    const { row: asked, head, body } = change;
    const { sequence: _, secret: __, ...row } = asked;
    const idHash = asked.idHash === '' ? '' : asked.sequence.toString(16).padStart(16, '0');
    const { row: given } = await this.#seat.edge.submit({ shard: this.#shard, row: { ...row, idHash }, head, body });
    this.#numbers.given.set(given.sequence, asked);
    this.#numbers.asked.set(asked.sequence, given);
    this.#numbers.next = Math.max(this.#numbers.next, asked.sequence + 1);
  }

  #in(change: Change): Change {
    if (change.kind === 'arm') {
      return { kind: 'arm', flights: change.flights.map(({ sequence, attempt }) => ({ sequence: this.#given(sequence).sequence, attempt })) };
    }
    const given = this.#given(change.row.sequence);
    const row = { ...change.row, sequence: given.sequence, secret: given.secret, idHash: change.row.idHash === '' ? '' : given.idHash };
    return change.kind === 'end' ? { ...change, row, end: { ...change.end, sequence: given.sequence } } : ({ ...change, row } as Change);
  }

  #out(row: RequestRow): RequestRow {
    const asked = this.#numbers.given.get(row.sequence) as RequestRow;
    return { ...row, sequence: asked.sequence, secret: asked.secret, idHash: row.idHash === '' ? '' : asked.idHash };
  }

  #given(sequence: number): RequestRow {
    return this.#numbers.asked.get(sequence) as RequestRow;
  }
}
