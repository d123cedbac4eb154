import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RequestEnd, RequestRow } from '../../../src/deferred/request.ts';
import type { EdgeSubmit } from '../../../src/deferred/shared-store.ts';
import type { JetStreamStore } from '../../../src/deferred/stores/jetstream.ts';
import type { JetStreamEdge } from '../../../src/deferred/stores/jetstream-edge.ts';
import type { QueueWrite } from '../../../src/nats/queue-records.ts';
import { StreamFull } from '../../../src/nats/stream-client.ts';
import { attempt, BODY, end, head, row } from '../../conformance/deferred-requests.ts';
import { natsVersions, showLogsOfFailures } from '../../support/fakes/nats.ts';
import { type NatsServer, startNats } from '../../support/fakes/nats-server.ts';
import { until } from '../../support/fakes/until.ts';
import { openQueues, type Queues, seatAt, withVerbs } from './jetstream-rig.ts';

showLogsOfFailures();

let queues: Queues;
let shards = 0;

function ask(shard: number, more: Partial<RequestRow> = {}, rest: Partial<EdgeSubmit> = {}): EdgeSubmit {
  const { sequence: _, secret: __, ...asked } = row(0, more);
  return { shard, row: asked, head: head(), body: BODY, ...rest };
}

async function submitted(edge: JetStreamEdge, shard: number, count: number, more: Partial<RequestRow> = {}): Promise<RequestRow[]> {
  const outcomes = await Promise.all(Array.from({ length: count }, (_, index) => edge.submit(ask(shard, { acceptedAt: index, ...more }))));
  return outcomes.map((outcome) => outcome.row);
}

async function rowsOf(store: JetStreamStore) {
  const rows: RequestRow[] = [];
  const { flights } = await store.open(
    (each) => rows.push(each),
    () => {},
  );
  return { rows, flights };
}

async function learned(store: JetStreamStore) {
  const rows: RequestRow[] = [];
  const ended: RequestRow[] = [];
  while (
    await store.learn(
      (each) => rows.push(each),
      (each) => ended.push(each),
    )
  );
  return { rows, ended };
}

/** An end at this moment. */
function ends(of: RequestRow, state: RequestEnd['state'], more: Partial<RequestEnd> = {}) {
  return end(of, state, { at: Date.now(), goneAt: Date.now() + 3_600_000, ...more });
}

describe.each(natsVersions())('on nats-server $version', ({ binary }) => {
  let server: NatsServer;
  beforeAll(async () => {
    server = await startNats({ binary: binary() });
    queues = await openQueues(server.url);
  });
  afterAll(async () => {
    await queues.line.close();
    await server.clean();
  });

  it('a list of every state has a request that ends behind what the page had read, and one that ends ahead of it', async () => {
    const shard = shards++;
    const { edge, store } = seatAt(queues, shard, 1n);
    const rows = await submitted(edge, shard, 4);
    await rowsOf(store);
    const [first, second, third, fourth] = rows as [RequestRow, RequestRow, RequestRow, RequestRow];
    const page = await store.listAll(() => true, 2, '');
    await store.commit([ends(first, 'done'), ends(third, 'dead', { error: 'status_400' })]);
    // What ends after the way through the stream began, and is not reached yet, moves behind its end.
    const scan = queues.records.scan.bind(queues.records);
    let scans = 0;
    const records = withVerbs(queues.records, {
      scan: async function* (place, from) {
        const messages = [];
        for await (const message of scan(place, from)) messages.push(message);
        if (scans++ > 0) return yield* messages;
        await store.commit([ends(fourth, 'cancelled')]);
        yield* messages.filter(({ subject }) => !subject.endsWith(fourth.secret));
      },
    });
    const rest = await seatAt({ layout: queues.layout, records }, shard, 1n).store.listAll(() => true, 100, page.next);
    const states = [...page.requests, ...rest.requests].map(({ row: { secret }, end: ended }) => [secret, ended?.state ?? 'pending']);
    expect(rest.next).toBe('');
    expect(states.filter(([secret]) => secret === second.secret)).toEqual([[second.secret, 'pending']]);
    expect(new Map(states as [string, string][])).toEqual(
      new Map([
        [first.secret, 'done'],
        [second.secret, 'pending'],
        [third.secret, 'dead'],
        [fourth.secret, 'cancelled'],
      ]),
    );
  });

  it('a question that a closed connection does not take leaves no timer behind that ends the process', async () => {
    const own = await openQueues(server.url);
    vi.spyOn(own.line.connection, 'subscribe').mockImplementation(() => {
      throw new Error('closed');
    });
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    try {
      const scan = own.records.scan(own.layout.shard(0).all, 1)[Symbol.asyncIterator]();
      await expect(scan.next()).rejects.toThrow('closed');
      expect(() => vi.advanceTimersByTime(6_000)).not.toThrow();
    } finally {
      vi.useRealTimers();
      vi.restoreAllMocks();
      await own.line.close();
    }
  });

  it('two replicas that take one key at once give one ticket', async () => {
    const shard = shards++;
    const [one, other] = [seatAt(queues, shard, 1n), seatAt(queues, shard, 1n)];
    const asks = Array.from({ length: 40 }, (_, index) => ask(shard, { idHash: (index % 20).toString(16).padStart(16, '0') }));
    const outcomes = await Promise.all(asks.map((each, index) => (index < 20 ? one : other).edge.submit(each)));
    expect(outcomes.filter(({ existing }) => existing).length).toBe(20);
    for (let index = 0; index < 20; index++) expect(outcomes[index]?.row).toEqual(outcomes[index + 20]?.row);
    expect((await rowsOf(one.store)).rows.map(({ sequence }) => sequence)).toEqual(
      [...new Set(outcomes.map(({ row: each }) => each.sequence))].sort((a, b) => a - b),
    );
  });

  it('a key whose request was cancelled or died is taken anew, one that is done is not', async () => {
    const shard = shards++;
    const { edge, store } = seatAt(queues, shard, 1n);
    await rowsOf(store);
    for (const [state, renewed] of [
      ['cancelled', true],
      ['dead', true],
      ['done', false],
    ] as const) {
      const keyed = ask(shard, { idHash: Buffer.from(state.padEnd(8)).toString('hex') });
      const { row: first } = await edge.submit(keyed);
      await store.commit([ends(first, state)]);
      const second = await edge.submit(keyed);
      expect(second).toMatchObject({ existing: !renewed, end: renewed ? undefined : { state } });
      expect(second.row.sequence > first.sequence).toBe(renewed);
      expect(await store.load(first.sequence, first.secret)).toBe(undefined);
      expect((await store.load(second.row.sequence, second.row.secret))?.head).toEqual(renewed ? head() : undefined);
    }
  });

  it('a known key among others in a batch refuses no other', async () => {
    const shard = shards++;
    const { edge } = seatAt(queues, shard, 1n);
    await edge.submit(ask(shard, { idHash: 'a'.repeat(16) }));
    const outcomes = await Promise.all([ask(shard), ask(shard, { idHash: 'a'.repeat(16) }), ask(shard)].map((each) => edge.submit(each)));
    expect(outcomes.map(({ existing }) => existing)).toEqual([false, true, false]);
  });

  it('batches are written whole where the servers can, and no message has an id of its own', async () => {
    const shard = shards++;
    const batches: number[] = [];
    let single = 0;
    const records = withVerbs(queues.records, {
      write: (each) => {
        single++;
        return queues.records.write(each);
      },
      writeAll: (all) => {
        batches.push(all.length);
        return queues.records.writeAll(all);
      },
    });
    const { edge } = seatAt({ ...queues, records }, shard, 1n);
    const rows = await submitted(edge, shard, 300);
    expect(rows.map(({ acceptedAt }) => acceptedAt)).toEqual(rows.map((_, index) => index));
    expect([...rows].sort((a, b) => a.sequence - b.sequence)).toEqual(rows);
    expect(queues.records.features.atomic ? batches : single).toEqual(queues.records.features.atomic ? [256, 44] : 300);
  });

  it('C9: a request whose answer is lost is looked for, and stored once', async () => {
    const shard = shards++;
    for (const written of [true, false]) {
      let silent = 1;
      const lossy = async <T>(work: () => Promise<T>): Promise<T> => {
        if (silent-- <= 0) return work();
        if (written) await work();
        throw new Error('TIMEOUT');
      };
      const records = withVerbs(queues.records, {
        write: (each) => lossy(() => queues.records.write(each)),
        writeAll: (all) => lossy(() => queues.records.writeAll(all)),
      });
      const { edge } = seatAt({ ...queues, records }, shard, 1n);
      expect(await edge.submit(ask(shard))).toMatchObject({ existing: false });
      silent = 1;
      expect((await submitted(edge, shard, 3)).length).toBe(3);
    }
    expect((await rowsOf(seatAt(queues, shard, 1n).store)).rows.length).toBe(8);
  });

  it('C9: a request that stays unknown is refused and named', async () => {
    const shard = shards++;
    const records = withVerbs(queues.records, { write: () => Promise.reject(new Error('TIMEOUT')) });
    const { edge } = seatAt({ ...queues, records }, shard, 1n);
    const refused = edge.submit(ask(shard));
    await expect(refused).rejects.toMatchObject({
      name: 'StoreUnavailable',
      reason: 'failed',
      message: expect.stringMatching(/^Request [0-9a-f]{16} could not be stored in NATS: TIMEOUT$/),
    });
  });

  it('C7: a new owner has all 1,000 that are pending in their order, and none whose end was stored', async () => {
    const shard = shards++;
    const old = seatAt(queues, shard, 1n);
    await rowsOf(old.store);
    const edges = [old.edge, seatAt(queues, shard, 1n).edge];
    const rows = (await Promise.all(edges.map((edge) => submitted(edge, shard, 500)))).flat().sort((a, b) => a.sequence - b.sequence);
    const gone = rows.slice(0, 3);
    const tried = { ...(rows[5] as RequestRow), attempts: 2, dueAt: 77 };
    await old.store.commit([{ kind: 'arm', flights: gone.map(({ sequence }) => ({ sequence, attempt: 1 })) }]);
    await old.store.commit(gone.map((each) => ends(each, 'done')));
    await old.store.commit([{ kind: 'retry', row: tried, attempt: attempt(2) }]);
    await old.store.commit([{ kind: 'arm', flights: [{ sequence: rows[9]?.sequence as number, attempt: 1 }] }]);
    const { rows: found, flights } = await rowsOf(seatAt(queues, shard, 2n).store);
    expect(found).toEqual(rows.slice(3).map((each) => (each.sequence === tried.sequence ? tried : each)));
    expect(flights).toEqual([{ sequence: rows[9]?.sequence, attempt: 1 }]);
  });

  it('C8: of two owners one end passes, and the older arms nothing any more', async () => {
    const shard = shards++;
    const [old, next] = [seatAt(queues, shard, 1n), seatAt(queues, shard, 2n)];
    await rowsOf(old.store);
    const [first, second, third] = (await submitted(old.edge, shard, 3)) as [RequestRow, RequestRow, RequestRow];
    await old.store.commit([{ kind: 'arm', flights: [{ sequence: first.sequence, attempt: 1 }] }]);
    await rowsOf(next.store);
    await next.store.commit([ends(first, 'done'), ends(second, 'dead')]);
    await old.store.commit([ends(first, 'dead'), ends(second, 'done'), ends(third, 'done')]);
    await expect(old.store.commit([{ kind: 'arm', flights: [] }])).rejects.toThrow(/term 2 owns the shard, and this is term 1/);
    await next.store.commit([ends(third, 'dead'), { kind: 'arm', flights: [] }]);
    const states = async (store: JetStreamStore) =>
      Promise.all([first, second, third].map(async (each) => (await store.ended(each.sequence, each.secret))?.end.state));
    for (const { store } of [old, next]) expect(await states(store)).toEqual(['done', 'dead', 'done']);
    expect(await next.store.load(second.sequence, second.secret)).toMatchObject({ head: head() });
    while (await old.store.sweep(Date.now()));
    expect(await next.store.load(second.sequence, second.secret)).toMatchObject({ head: head() });
    expect(
      (await next.store.listEnded({ state: 'dead', group: 'mail', key: undefined, error: undefined, since: undefined, until: undefined }, 9, '')).requests.map(
        (each) => each.row,
      ),
    ).toEqual([second]);
    await expect(rowsOf(seatAt(queues, shard, 1n).store)).rejects.toThrow(/term 2 owns the shard, and this is term 1/);
  });

  it('an owner learns what other replicas store, in order, and nothing of other shards', async () => {
    const shard = shards++;
    const other = shard + 8;
    const { store } = seatAt(queues, shard, 1n);
    const edge = seatAt(queues, shard, 1n).edge;
    const [before] = await submitted(edge, shard, 1);
    expect((await rowsOf(store)).rows).toEqual([before]);
    const rows = await submitted(edge, shard, 300);
    await submitted(edge, other, 3);
    expect((await learned(store)).rows).toEqual(rows);
    // Its own ends are known to it: by the time it reads them, the request may have been redriven.
    await store.commit([ends(rows[0] as RequestRow, 'done')]);
    expect((await learned(store)).ended).toEqual([]);
    await seatAt(queues, shard, 0n).store.commit([ends(rows[1] as RequestRow, 'cancelled')]);
    expect((await learned(store)).ended).toEqual([rows[1]]);
  });

  it('a takeover that reads from a server that lags behind waits for it', async () => {
    const shard = shards++;
    const edge = seatAt(queues, shard, 1n).edge;
    const rows = await submitted(edge, shard, 5);
    let lags = 2;
    const records = withVerbs(queues.records, {
      async *scan(place, from) {
        let left = lags-- > 0 ? 1 : Number.POSITIVE_INFINITY;
        for await (const message of queues.records.scan(place, from)) if (left-- > 0) yield message;
      },
    });
    expect((await rowsOf(seatAt({ ...queues, records }, shard, 1n).store)).rows).toEqual(rows);
  });

  it('an end larger than the room that is left is recorded without its body', async () => {
    const shard = shards++;
    const most = 2_000;
    const records = withVerbs(queues.records, {
      features: { ...queues.records.features, atomic: false },
      write: (each: QueueWrite) => (each.bytes.length > most ? Promise.reject(new StreamFull('full')) : queues.records.write(each)),
    });
    const { edge, store } = seatAt({ ...queues, records }, shard, 1n);
    await rowsOf(store);
    const [one] = (await submitted(edge, shard, 1)) as [RequestRow];
    const response = { status: 200, headers: ['a', 'b'], body: new Uint8Array(most), truncated: false };
    await store.commit([ends(one, 'done', { response })]);
    expect((await store.ended(one.sequence, one.secret))?.end.response).toEqual({ ...response, body: new Uint8Array(), truncated: true });
  });

  it('what is no longer kept is gone, by the server or by the sweep', async () => {
    const shard = shards++;
    const { edge, store } = seatAt(queues, shard, 1n);
    await rowsOf(store);
    const [one, other] = (await submitted(edge, shard, 2)) as [RequestRow, RequestRow];
    await store.commit([ends(one, 'done', { goneAt: Date.now() + 1_000 }), ends(other, 'done')]);
    const place = queues.layout.shard(shard).request(one.secret);
    await until('the end to be forgotten', async () => {
      await store.sweep(Date.now());
      return (await queues.records.certain(place)) === undefined;
    });
    expect(await store.ended(one.sequence, one.secret)).toBe(undefined);
    expect((await store.ended(other.sequence, other.secret))?.end.state).toBe('done');
  });

  it('pieces of a body whose request never came are removed by a later owner', async () => {
    const shard = shards++;
    let nowMs = Date.now();
    const crashed = seatAt(queues, shard, 1n, () => nowMs);
    await crashed.edge.upload(shard, 1, 0, BODY);
    await crashed.edge.upload(shard, 2, 0, BODY);
    const { row: kept } = await crashed.edge.submit(ask(shard, {}, { body: { upload: 2, pieces: 1, bytes: BODY.length } }));
    const pieces = async () => (await queues.records.subjects(queues.layout.shard(shard).firstPieces)).length;
    for (const [later, left] of [
      [0, 2],
      [3_700_000, 1],
    ] as const) {
      nowMs += later;
      const { store } = seatAt(queues, shard, 2n, () => nowMs);
      await rowsOf(store);
      while (await store.sweep(nowMs));
      expect(await pieces()).toBe(left);
    }
    const { store } = seatAt(queues, shard, 3n, () => nowMs);
    await rowsOf(store);
    const loaded = await store.load(kept.sequence, kept.secret);
    for await (const piece of loaded?.body() ?? []) expect(piece).toEqual(BODY);
    await store.commit([ends(kept, 'done')]);
    while (await store.sweep(nowMs));
    expect(await pieces()).toBe(0);
  });

  it('a row that is not what was written is refused by name', async () => {
    const shard = shards++;
    const [one] = (await submitted(seatAt(queues, shard, 1n).edge, shard, 1)) as [RequestRow];
    const place = queues.layout.shard(shard).request(one.secret);
    const found = await queues.records.certain(place);
    await queues.records.write({ place, row: `${found?.row.slice(0, -3)}1}}`, bytes: found?.bytes ?? new Uint8Array(), last: found?.sequence });
    await expect(rowsOf(seatAt(queues, shard, 1n).store)).rejects.toThrow(new RegExp(`^${place.subject.replaceAll('.', '\\.')}#\\d+ is damaged`));
  });
});
