import { jetstreamManager, type StreamConfig } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { JetStreamRegisters } from '../../src/coordination/registers/jetstream.ts';
import { SECOND } from '../../src/core/time.ts';
import type { RequestRow } from '../../src/deferred/request.ts';
import type { Change } from '../../src/deferred/store.ts';
import { deferredPermissions } from '../../src/nats/deferred-layout.ts';
import { createLayout, requiredPermissions } from '../../src/nats/layout.ts';
import { NatsUnsupported } from '../../src/nats/options.ts';
import { findDifference } from '../../src/nats/streams.ts';
import { openNats } from '../../src/server/nats.ts';
import { openNatsRequests } from '../../src/server/nats-requests.ts';
import { attempt, end, head, row } from '../conformance/deferred-requests.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { forgetStreams, natsOptions } from '../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../support/fakes/nats-server.ts';

showLogsOfFailures();

let server: NatsServer;
beforeAll(async () => {
  server = await startNats({ binary: natsBinary() });
});
afterAll(() => server?.clean());
afterEach(() => forgetStreams([server.url]));

async function made(config: Partial<StreamConfig> & { name: string }): Promise<void> {
  const connection = await connect({ servers: server.url });
  await (await jetstreamManager(connection)).streams.add(config);
  await connection.close();
}

const refusal = async (more = {}): Promise<string> => {
  const cause = await openNats(natsOptions([server.url], { startWithin: SECOND, ...more })).then(
    (link) => link.close(),
    (why: unknown) => why,
  );
  expect(cause).toBeInstanceOf(NatsUnsupported);
  return (cause as Error).message;
};

describe('streams', () => {
  test('are made as they must be, and found again with what is in them', async () => {
    const first = await openNats(natsOptions([server.url]));
    const revision = await first.registers.change('owner.1', new Uint8Array([7]), 0);
    await first.close();
    const connection = await connect({ servers: server.url });
    const manager = await jetstreamManager(connection);
    const { config } = await manager.streams.info('SLUICE1_LEDGER_3');
    expect([config.storage, config.discard, config.num_replicas, config.max_bytes, config.max_age]).toEqual(['file', 'new', 1, 8 << 20, 0]);
    await connection.close();
    const again = await openNats(natsOptions([server.url], { ledgerBytes: 128 << 20 }));
    expect(await again.registers.read('owner.1')).toEqual({ revision, bytes: new Uint8Array([7]) });
    await again.close();
  });

  test('of two replicas that start at once are the same', async () => {
    const links = await Promise.all([1, 2, 3].map(() => openNats(natsOptions([server.url]))));
    const races = await Promise.allSettled(links.map((link) => link.registers.change('r', new Uint8Array(1), 0)));
    expect(races.filter(({ status }) => status === 'fulfilled').length).toBe(1);
    for (const link of links) await link.close();
  });

  test('in memory are refused', async () => {
    await made({ name: 'SLUICE1_REG', subjects: ['sluice.1.reg.>'], storage: 'memory', max_msgs_per_subject: 1 });
    expect(await refusal()).toBe(
      'The stream SLUICE1_REG has storage memory instead of file; put it right with `nats stream edit`, or set another cluster.prefix.',
    );
  });

  test('whose subjects another stream has are refused', async () => {
    await made({ name: 'OTHER', subjects: ['sluice.1.led.2.>'] });
    expect(await refusal()).toBe(
      'the stream SLUICE1_LEDGER_2 cannot be had: subjects overlap with an existing stream; another stream has these subjects; set cluster.prefix, one for each deployment.',
    );
    const connection = await connect({ servers: server.url });
    await (await jetstreamManager(connection)).streams.delete('OTHER');
    await connection.close();
  });

  test('in three copies are refused by a single server', async () => {
    expect(await refusal({ replicas: 3 })).toMatch(
      /replicas > 1 not supported in non-clustered mode; copies need clustered servers; .* set cluster.replicas: 1\.$/,
    );
  });

  test('larger than the server are refused', async () => {
    expect(await refusal({ ledgerBytes: 2 ** 40 })).toMatch(/SLUICE1_LEDGER_. cannot be had: .* too little room; .*cluster.ledgerBytes\.$/);
  });
});

describe('a stream that was found', () => {
  const wanted: Parameters<typeof findDifference>[0] = {
    name: 'S',
    subjects: ['s.>'],
    num_replicas: 3,
    storage: 'file',
    retention: 'limits',
    discard: 'new',
    max_age: 0,
    max_msgs: -1,
    max_bytes: 10,
    max_msgs_per_subject: 1,
    allow_direct: true,
    deny_delete: true,
    deny_purge: true,
  };

  test('is good if it is what was wanted, or has more copies, or other bounds of bytes', () => {
    expect(findDifference(wanted, { ...wanted, mirror_direct: false, sealed: false, sources: [] })).toBeUndefined();
    expect(findDifference(wanted, { ...wanted, num_replicas: 5, max_bytes: 99 })).toBeUndefined();
  });

  test.each<[Partial<StreamConfig>, RegExp]>([
    [{ num_replicas: 1 }, /^has 1 of 3 copies; run `nats stream edit S --replicas 3`, or set cluster.replicas: 1$/],
    [{ storage: 'memory' }, /^has storage memory instead of file/],
    [{ retention: 'workqueue' }, /^has retention workqueue/],
    [{ discard: 'old' }, /^has discard old/],
    [{ max_age: 5 }, /^has max_age 5/],
    [{ max_msgs: 9 }, /^has max_msgs 9/],
    [{ max_msgs_per_subject: 2 }, /^has max_msgs_per_subject 2/],
    [{ allow_direct: false }, /^has allow_direct false/],
    [{ deny_delete: false }, /^has deny_delete false/],
    [{ deny_purge: false }, /^has deny_purge false/],
    [{ subjects: ['s.>', 't'] }, /^has the subjects s.>,t instead of s.>/],
    [{ mirror: { name: 'M' } }, /^has mirror, which/],
    [{ sources: [{ name: 'M' }] }, /^has sources, which/],
    [{ no_ack: true }, /^has no_ack, which/],
    [{ sealed: true }, /^has sealed, which/],
    [{ discard_new_per_subject: true }, /^has discard_new_per_subject, which/],
    [{ subject_transform: { dest: 'x' } }, /^has subject_transform, which/],
    [{ allow_msg_counter: true }, /^has allow_msg_counter, which/],
    [{ allow_rollup_hdrs: true }, /^has allow_rollup_hdrs, which/],
    [{ persist_mode: 'async' }, /^acknowledges before it has written/],
  ])('is refused with %o', (more, why) => {
    expect(findDifference(wanted, { ...wanted, ...more })).toMatch(why);
  });
});

describe('a login that may no more than the manual says', () => {
  const withRights = async (publish: readonly string[]) => {
    const permissions = `permissions: { publish: ${JSON.stringify(publish)}, subscribe: ${JSON.stringify(requiredPermissions('sluice').subscribe)} }`;
    const limited = await startNats({ binary: natsBinary(), config: `authorization { users: [ { user: me, password: pw, ${permissions} } ] }` });
    return { limited, options: natsOptions([limited.url], { login: { kind: 'user', user: 'me', password: 'pw' }, startWithin: SECOND }) };
  };

  test('is enough for everything', async () => {
    const { limited, options } = await withRights(requiredPermissions('sluice').publish);
    const told: string[] = [];
    const link = await openNats(options, (change) => told.push(change.kind));
    for (const name of ['owner.1', 'session.a']) expect((await link.registers.read(name))?.revision).toBeUndefined();
    for (const name of ['owner.1', 'session.a']) expect(await link.registers.change(name, new Uint8Array(1), 0)).toBe(1);
    expect((await link.registers.read('owner.1'))?.revision).toBe(1);
    expect(await link.serverTime()).toBeGreaterThan(0);
    let last = 0;
    for (let index = 0; index < 3; index++) last = await link.store.append('ledger.01.x', new Uint8Array(9), last);
    await link.store.trim('ledger.01.x', last);
    const sessions = link.registers as JetStreamRegisters;
    await sessions.forget('session.a', 1);
    const found: number[] = [];
    for await (const { sequence } of link.store.read('ledger.01.x', 0)) found.push(sequence);
    expect(found).toEqual([last]);
    const heard = new Promise<Uint8Array>((resolve) => void link.messages.subscribe('to.me', resolve));
    link.messages.publish('to.me', new Uint8Array([1, 2]));
    expect(await heard).toEqual(new Uint8Array([1, 2]));
    await link.close();
    expect(told).not.toContain('refused');
    await limited.clean();
  });

  test('with those of deferred requests is enough to store, take over, end, tombstone and redrive one', async () => {
    const { limited, options } = await withRights([...requiredPermissions('sluice').publish, ...deferredPermissions('sluice')]);
    const told: string[] = [];
    const requests = await openNatsRequests(options, 256 << 20, { onEvent: (change) => told.push(change.kind), nowMs: Date.now });
    const shard = 9;
    const { sequence: _, secret: __, ...asked } = row(0, { idHash: '' });
    await requests.edge.upload(shard, 1, 0, new Uint8Array(9));
    const { row: stored } = await requests.edge.submit({ shard, row: asked, head: head(), body: { upload: 1, pieces: 1, bytes: 9 } });
    const store = requests.openStore(shard, 1n);
    const rows: RequestRow[] = [];
    await store.open(
      (each) => rows.push(each),
      () => undefined,
    );
    expect(rows).toEqual([stored]);
    const dead = end(stored, 'dead', { at: Date.now(), goneAt: Date.now() + 60_000 });
    await store.commit([{ kind: 'arm', flights: [{ sequence: stored.sequence, attempt: 1 }] }]);
    await store.commit([{ kind: 'retry', row: { ...stored, attempts: 1 }, attempt: attempt(1) }]);
    await store.commit([{ ...dead, report: { url: 'https://a.example/', until: Date.now() + 60_000 } } as Change]);
    const filter = { state: 'dead', group: undefined, key: undefined, error: undefined, since: undefined, until: undefined } as const;
    expect((await store.listEnded(filter, 10, '')).requests).toHaveLength(1);
    for (const callback of store.takeCallbacks()) await store.reportProgress({ ...callback, progress: { ...callback.progress, state: 'done' } });
    expect(await store.callbackOf(stored.sequence, stored.secret)).toBe('done');
    await store.commit([{ kind: 'redrive', row: stored }]);
    await store.commit([end(stored, 'done', { at: Date.now(), goneAt: Date.now() + 60_000 })]);
    while (
      await store.learn(
        () => undefined,
        () => undefined,
      )
    );
    await store.sweep(Date.now());
    await requests.close();
    expect(told).not.toContain('refused');
    await limited.clean();
  });

  test('without one of them is refused with where they are listed, and told which', async () => {
    const { limited, options } = await withRights(requiredPermissions('sluice').publish.filter((subject) => !subject.includes('STREAM.CREATE')));
    const told: string[] = [];
    await expect(openNats(options, (change) => told.push('why' in change ? change.why : ''))).rejects.toThrow(/the rights that docs\/nats.md lists/);
    expect(told.join('\n')).toMatch(/Permissions Violation for Publish to "\$JS.API.STREAM.CREATE.SLUICE1_/);
    await limited.clean();
  });
});

test('the layout names every stream that it makes', () => {
  const layout = createLayout('sluice');
  expect(layout.wanted(0).map(({ name }) => name)).toEqual([layout.registers, layout.sessions, layout.race, ...layout.ledger]);
});
