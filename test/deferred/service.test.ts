import { describe, expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { StoreUnavailable } from '../../src/deferred/store.ts';
import { CorruptRecord } from '../../src/storage/checksum.ts';
import { settingsOf } from '../admission/rig.ts';
import { concurrency, group, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { ANYONE, DeferredRig, routeOf, SUBMISSION } from './rig.ts';

const every5s = settingsOf(group('g', [spacing(5 * SECOND)]));
const open = settingsOf(group('g', [rolling(1_000, SECOND)]));

async function view(rig: DeferredRig, id: string) {
  const found = await rig.service.get(ANYONE, id, 0);
  if ('reason' in found) throw new Error(found.reason);
  return found;
}

describe('a stored request', () => {
  test('is delivered whole, in order, at the pace of its group, and its answer is kept', async () => {
    const rig = await new DeferredRig([every5s]).start();
    rig.behave = ({ target }) => ({ status: 201, headers: ['X-Seen', target], body: `made ${target}` });
    const tickets = [];
    for (const id of [1, 2, 3]) tickets.push(await rig.submit({ target: `/orders?id=${id}`, body: Buffer.from(`order ${id}`) }));
    await rig.pass(10);
    expect(rig.seen.map(({ target, body, attempt }) => [target, body, attempt])).toEqual([1, 2, 3].map((id) => [`/orders?id=${id}`, `order ${id}`, 1]));
    expect(rig.seen.map(({ at }) => at - (rig.seen[0]?.at ?? 0))).toEqual([0, 5_000, 10_000]);
    const done = await view(rig, tickets[1]?.id ?? '');
    expect(done).toMatchObject({ state: 'done', attempts: 1, response: { status: 201, truncated: false } });
    expect(Buffer.from(done.response?.body ?? []).toString()).toBe('made /orders?id=2');
  });

  test('shares one budget with live callers, who go first', async () => {
    const rig = await new DeferredRig([every5s]).start();
    await rig.submit();
    await rig.submit();
    const live = rig.admission.ask();
    await rig.pass(5);
    expect(rig.seen.length).toBe(1);
    expect(live.outcome?.kind).toBe('admitted');
    await rig.pass(5);
    expect(rig.seen.length).toBe(2);
  });

  test('is tried again with the same key and a higher attempt number, and dies at the end of its delays, with every attempt shown', async () => {
    const rig = await new DeferredRig([open], {
      routes: [routeOf({ retry: { forMs: 60_000, firstMs: 1, maxMs: 1, delaysMs: [1_000, 2_000], attemptsMax: undefined } })],
    }).start();
    rig.behave = () => ({ status: 500, body: 'broken' });
    const { id } = await rig.submit();
    await rig.pass(10);
    expect(rig.seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(new Set(rig.seen.map(({ key }) => key)).size).toBe(1);
    const dead = await view(rig, id);
    expect(dead).toMatchObject({ state: 'dead', error: 'status_500', attempts: 3 });
    expect(dead.tries.map(({ status, error, firstBytes }) => [status, error, Buffer.from(firstBytes).toString()])).toEqual(
      [1, 2, 3].map(() => [500, 'status_500', 'broken']),
    );
  });

  test('that is dead is listed, redriven as an arrival, and delivered under its old id', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status: 422 });
    const { id } = await rig.submit();
    await rig.pass(1);
    const listed = await rig.service.list(
      ANYONE,
      { state: 'dead', group: 'g', key: undefined, error: 'status_422', since: undefined, until: undefined },
      10,
      '',
    );
    expect(listed).toMatchObject({ requests: [{ id }], next: '' });
    rig.behave = () => ({ status: 200 });
    expect(await rig.service.redrive(ANYONE, id)).toBeUndefined();
    await rig.pass(1);
    expect((await view(rig, id)).state).toBe('done');
    expect(await rig.service.redrive(ANYONE, id)).toMatchObject({ reason: 'conflict' });
  });

  test('is not sent before its time, and is dead at its deadline', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(100 * SECOND)]))]).start();
    const later = await rig.submit({ notBeforeMs: rig.nowMs + 10_000 });
    await rig.pass(9);
    expect(rig.seen.length).toBe(0);
    await rig.pass(1);
    expect(rig.seen.length).toBe(1);
    const late = await rig.submit({ deadlineMs: 20_000 });
    await rig.pass(21);
    expect(await view(rig, late.id)).toMatchObject({ state: 'dead', error: 'deadline', attempts: 0 });
    expect(await view(rig, later.id)).toMatchObject({ state: 'done' });
    expect(await rig.trySubmit({ notBeforeMs: rig.nowMs + 10_000, deadlineMs: 5_000 })).toMatchObject({ kind: 'refused', refusal: { reason: 'malformed' } });
  });

  test('is cancelled while it waits, and while it is on its way', async () => {
    const rig = await new DeferredRig([every5s]).start();
    rig.behave = () => ({ status: 0 });
    const [first, second] = [await rig.submit(), await rig.submit()];
    expect(await rig.service.cancel(ANYONE, second.id)).toEqual({ cancelled: true, aborted: false });
    expect(await rig.service.cancel(ANYONE, first.id)).toEqual({ cancelled: true, aborted: true });
    await rig.pass(10);
    expect(rig.seen.length).toBe(1);
    expect((await view(rig, first.id)).state).toBe('cancelled');
    expect(await rig.service.cancel(ANYONE, first.id)).toEqual({ cancelled: false, aborted: false });
  });

  test('with a known idempotency key gets the same ticket, and another payload is a conflict', async () => {
    const rig = await new DeferredRig([every5s]).start();
    const [first, same] = await Promise.all([rig.submit({ idempotencyKey: 'a' }), rig.submit({ idempotencyKey: 'a' })]);
    expect(same).toMatchObject({ id: first.id, existing: true });
    expect(await rig.trySubmit({ idempotencyKey: 'a', body: Buffer.from('other') })).toMatchObject({
      kind: 'refused',
      payloadDiffers: true,
      refusal: { reason: 'conflict' },
    });
    expect((await rig.submit({ idempotencyKey: 'b' })).id).not.toBe(first.id);
    await rig.pass(10);
    expect(await rig.submit({ idempotencyKey: 'a' })).toMatchObject({ id: first.id, existing: true });
    expect(rig.seen.length).toBe(2);
  });

  test('is known by its key also while its end is being stored', async () => {
    const rig = await new DeferredRig([open]).start();
    const commit = rig.store.commit.bind(rig.store);
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    rig.store.commit = async (batch) => {
      if (batch.some(({ kind }) => kind === 'end')) await held;
      return commit(batch);
    };
    const { id } = await rig.submit({ idempotencyKey: 'a' });
    await rig.pass(1);
    const [again, seen] = [rig.service.submit({ ...SUBMISSION, idempotencyKey: 'a' }), rig.service.get(ANYONE, id, 0)];
    await settled();
    release();
    expect(await again).toMatchObject({ id, existing: true });
    expect(await seen).toMatchObject({ state: 'done' });
    await rig.pass(1);
    expect(rig.seen.length).toBe(1);
  });

  test('is forgotten with its key when it is no longer kept', async () => {
    const rig = await new DeferredRig([open]).start();
    const { id } = await rig.submit({ idempotencyKey: 'a' });
    await rig.pass(3_601);
    const again = await rig.submit({ idempotencyKey: 'a' });
    expect(again.existing).toBe(false);
    expect(again.id).not.toBe(id);
    expect(await rig.service.get(ANYONE, id, 0)).toMatchObject({ reason: 'gone' });
  });

  test('survives a restart: what was armed counts as one attempt, and the order stays', async () => {
    const rig = await new DeferredRig([every5s]).start();
    rig.behave = () => ({ status: 0 });
    const tickets = [];
    for (const id of [1, 2, 3]) tickets.push(await rig.submit({ target: `/${id}` }));
    await settled();
    // The process dies: nothing is drained.
    const again = await new DeferredRig([every5s], { disk: rig.disk }).start();
    await again.pass(15);
    expect(again.seen.map(({ target, attempt }) => [target, attempt])).toEqual([
      ['/1', 2],
      ['/2', 1],
      ['/3', 1],
    ]);
    for (const { id } of tickets) expect((await view(again, id)).state).toBe('done');
  });

  test('counts what was armed also when the process dies again before it is sent again', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status: 0 });
    for (const id of [1, 2]) await rig.submit({ target: `/${id}` });
    await settled();
    expect(rig.seen.map(({ target, attempt }) => [target, attempt])).toEqual([
      ['/1', 1],
      ['/2', 1],
    ]);
    // The second process arms the first request only, in a register of its own.
    const second = new DeferredRig([every5s], { disk: rig.disk });
    second.behave = () => ({ status: 0 });
    await second.start();
    await settled();
    expect(second.seen.map(({ target, attempt }) => [target, attempt])).toEqual([['/1', 2]]);
    const third = await new DeferredRig([open], { disk: rig.disk }).start();
    await settled();
    expect(third.seen.map(({ target, attempt }) => [target, attempt])).toEqual([
      ['/1', 3],
      ['/2', 2],
    ]);
  });

  test('of an ordered key waits for the one before it, also while that is tried again; other keys pass', async () => {
    const rig = await new DeferredRig([open], {
      routes: [routeOf({ order: 'key', retry: { forMs: 60_000, firstMs: 1, maxMs: 1, delaysMs: [5_000], attemptsMax: undefined } })],
    }).start();
    let failures = 1;
    rig.behave = ({ target }) => (target === '/a1' && failures-- > 0 ? { status: 500 } : { status: 200 });
    for (const [key, target] of [
      ['a', '/a1'],
      ['a', '/a2'],
      ['b', '/b1'],
    ] as const)
      await rig.submit({ key, target });
    await rig.pass(1);
    expect(rig.seen.map(({ target }) => target)).toEqual(['/a1', '/b1']);
    await rig.pass(6);
    expect(rig.seen.map(({ target }) => target)).toEqual(['/a1', '/b1', '/a1', '/a2']);
  });

  test('keeps its key closed when it is dead and the route says hold, until it is redriven', async () => {
    const rig = await new DeferredRig([open], { routes: [routeOf({ order: 'key', onDead: 'hold' })] }).start();
    rig.behave = ({ target }) => ({ status: target === '/a1' ? 400 : 200 });
    const head = await rig.submit({ key: 'a', target: '/a1' });
    await rig.submit({ key: 'a', target: '/a2' });
    await rig.pass(5);
    expect(rig.seen.map(({ target }) => target)).toEqual(['/a1']);
    rig.behave = () => ({ status: 200 });
    await rig.service.redrive(ANYONE, head.id);
    await rig.pass(1);
    expect(rig.seen.map(({ target }) => target)).toEqual(['/a1', '/a1', '/a2']);
  });
});

test('a redriven request has all its retries again, and goes on counting its attempts', async () => {
  const delays = { forMs: 60_000, firstMs: 1, maxMs: 1, delaysMs: [1_000], attemptsMax: undefined };
  const rig = await new DeferredRig([open], { routes: [routeOf({ retry: delays })] }).start();
  rig.behave = () => ({ status: 500 });
  const { id } = await rig.submit();
  await rig.pass(5);
  expect(await rig.service.redrive(ANYONE, id)).toBeUndefined();
  await rig.pass(5);
  expect(rig.seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
  expect(await view(rig, id)).toMatchObject({ state: 'dead', attempts: 4 });
});

describe('a backend that is down', () => {
  test('is probed by one request, nobody spends an attempt, and nothing dies while it is away', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [concurrency(1)]))], {
      routes: [routeOf({ retry: { forMs: 86_400_000, firstMs: 1, maxMs: 1, delaysMs: Array.from({ length: 6 }, () => 10), attemptsMax: undefined } })],
    }).start();
    rig.behave = () => ({ fails: 503 });
    for (let id = 0; id < 50; id++) await rig.submit({ target: `/${id}` });
    await rig.pass(1);
    const before = rig.seen.length;
    expect(rig.events.some(({ kind }) => kind === 'backend_down')).toBe(true);
    await rig.pass(180);
    expect(rig.seen.length - before).toBeLessThanOrEqual(61);
    expect(rig.service.figures.ended.dead).toBe(0);
    rig.behave = () => ({ status: 200 });
    await rig.pass(30);
    expect(rig.service.figures.ended).toMatchObject({ done: 50, dead: 0 });
    expect(rig.events.some(({ kind }) => kind === 'backend_up')).toBe(true);
  });
});

test('a request that breaks every connection does not keep the others of its backend from being delivered', async () => {
  const rig = await new DeferredRig([open]).start();
  rig.behave = ({ target }) => (target === '/poison' ? { fails: 502 } : { status: 200 });
  await rig.submit({ target: '/poison' });
  await rig.pass(60);
  expect(rig.events.some(({ kind }) => kind === 'backend_down')).toBe(true);
  const tickets = [];
  for (let index = 0; index < 4; index++) tickets.push(await rig.submit({ target: `/good${index}` }));
  await rig.pass(10);
  for (const { id } of tickets) expect((await view(rig, id)).state).toBe('done');
});

test.each(['redrive', 'cancel'] as const)('a dead letter is never said to be gone while its %s is under way', async (change) => {
  const rig = await new DeferredRig([open]).start();
  rig.behave = () => ({ status: 400 });
  const { id } = await rig.submit();
  await rig.pass(1);
  await rig.admission.admission.pause('g', undefined, undefined);
  // The store has made the change, and its answer is on the way.
  const commit = rig.store.commit.bind(rig.store);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  rig.store.commit = async (batch) => {
    const done = await commit(batch);
    await held;
    return done;
  };
  const changed = change === 'redrive' ? rig.service.redrive(ANYONE, id) : rig.service.cancel(ANYONE, id);
  await settled();
  const seen = [rig.service.get(ANYONE, id, 0), rig.service.redrive(ANYONE, id), rig.service.cancel(ANYONE, id)] as const;
  await settled();
  release();
  expect(await changed).toEqual(change === 'redrive' ? undefined : { cancelled: true, aborted: false });
  expect(await seen[0]).toMatchObject({ state: expect.stringMatching(change === 'redrive' ? /pending|cancelled/ : /cancelled/) });
  expect(await seen[1]).toMatchObject({ reason: 'conflict' });
  expect(await seen[2]).toMatchObject({ cancelled: change === 'redrive' });
});

test('a dead letter that ten calls redrive at once is redriven once, and leaves no second place in line', async () => {
  const rig = await new DeferredRig([open]).start();
  rig.behave = () => ({ status: 400 });
  const { id } = await rig.submit();
  await rig.pass(1);
  await rig.admission.admission.pause('g', undefined, undefined);
  const answers = await Promise.all(Array.from({ length: 10 }, () => rig.service.redrive(ANYONE, id)));
  expect(answers.filter((answer) => answer === undefined).length).toBe(1);
  expect(rig.admission.waiting()).toBe(1);
  const everything = { state: undefined, group: undefined, key: undefined, error: undefined, since: undefined, until: undefined };
  expect(await Promise.all([1, 2].map(() => rig.service.redriveAll(ANYONE, everything, 100, '')))).toMatchObject([{ redriven: 0 }, { redriven: 0 }]);
});

test('a unit that no limit of the group counts is refused, with the units there are', async () => {
  const rig = await new DeferredRig([open]).start();
  expect(await rig.trySubmit({ costs: { requests: 1, tokns: 5 } })).toMatchObject({
    refusal: { reason: 'malformed', detail: expect.stringContaining('requests') },
  });
});

describe('attempts admitted together', () => {
  const bodies = [Buffer.alloc(200), Buffer.alloc(0), Buffer.alloc(60_000), Buffer.alloc(1), Buffer.alloc(70_000), Buffer.alloc(3)];

  test('start in the order of their admission, whatever is loaded first and however long their bodies are', async () => {
    const rig = await new DeferredRig([every5s]).start();
    const load = rig.store.load.bind(rig.store);
    rig.store.load = async (sequence, secret) => {
      for (let turn = 0; turn < 20 - 3 * sequence; turn++) await Promise.resolve();
      return load(sequence, secret);
    };
    await rig.admission.admission.pause('g', undefined, undefined);
    for (const [index, body] of bodies.entries()) await rig.submit({ target: `/${index}`, body });
    await rig.admission.admission.reconfigure([open]);
    await rig.admission.admission.resume('g', undefined);
    await rig.pass(1);
    expect(rig.started).toEqual(bodies.map((_, index) => `/${index}`));
  });

  test('hold no more bytes of bodies than allowed; a larger one goes alone, and none passes another', async () => {
    const rig = new DeferredRig([open]);
    rig.inFlightBytesMax = 65_000;
    await rig.start();
    rig.behave = () => ({ status: 200, takesMs: 1_000 });
    for (const [index, body] of bodies.entries()) await rig.submit({ target: `/${index}`, body });
    const seen = async (): Promise<readonly string[]> => {
      await settled();
      return rig.started.splice(0);
    };
    expect(await seen()).toEqual(['/0', '/1', '/2', '/3']);
    await rig.pass(1);
    expect(await seen()).toEqual(['/4']);
    await rig.pass(1);
    expect(await seen()).toEqual(['/5']);
  });

  test('that wait for bytes are neither armed nor lost when the process drains', async () => {
    const rig = new DeferredRig([open]);
    rig.inFlightBytesMax = 65_000;
    await rig.start();
    rig.behave = () => ({ status: 200, takesMs: 1_000 });
    for (const size of [60_000, 60_000]) await rig.submit({ body: Buffer.alloc(size) });
    const drained = rig.service.drain(5_000);
    await rig.pass(6);
    await drained;
    const again = await new DeferredRig([open], { disk: rig.disk }).start();
    await again.pass(1);
    expect(again.seen.map(({ attempt }) => attempt)).toEqual([1]);
  });
});

describe('lists and figures of pending requests', () => {
  const everything = { state: undefined, group: undefined, key: undefined, error: undefined, since: undefined, until: undefined };

  test('a page goes on where the one before ended, whatever ended or came meanwhile', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(3_600 * SECOND)]))]).start();
    const ids: string[] = [];
    for (let count = 0; count < 7; count++) ids.push((await rig.submit({ key: String(count) })).id);
    const page = async (token: string) => {
      const found = await rig.service.list(ANYONE, { ...everything, state: 'pending' }, 2, token);
      if ('reason' in found) throw new Error(found.reason);
      return { keys: found.requests.map(({ key }) => key), next: found.next };
    };
    const first = await page('');
    expect(first.keys).toEqual(['1', '2']);
    for (const index of [2, 3]) await rig.service.cancel(ANYONE, ids[index] as string);
    ids.push((await rig.submit({ key: '7' })).id);
    const second = await page(first.next);
    expect(second.keys).toEqual(['4', '5']);
    expect(await page(second.next)).toEqual({ keys: ['6', '7'], next: '' });
    expect(await rig.service.list(ANYONE, everything, 2, '-1')).toMatchObject({ reason: 'malformed' });
  });

  test('a page looks at 10,000 at most, and says where to go on', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(3_600 * SECOND)])), settingsOf(group('rare', [spacing(3_600 * SECOND)]))]).start();
    await Promise.all(Array.from({ length: 10_005 }, () => rig.service.submit(SUBMISSION)));
    // The first of a group goes at once.
    await rig.submit({ group: 'rare' });
    const { id } = await rig.submit({ group: 'rare' });
    const first = await rig.service.list(ANYONE, { ...everything, group: 'rare' }, 1, '');
    expect(first).toMatchObject({ requests: [], next: expect.stringMatching(/^\d+$/) });
    expect(await rig.service.list(ANYONE, { ...everything, group: 'rare' }, 1, 'next' in first ? first.next : '')).toMatchObject({ requests: [{ id }] });
    await rig.pass(60);
    const { groups } = rig.service.figures;
    expect([groups.get('g')?.pending, groups.get('rare')?.pending]).toEqual([10_004, 1]);
    expect(groups.get('rare')?.oldestMs).toBe(60_000);
  });
});

describe('what a stored request costs', () => {
  const tokens = rolling(1_000, 60 * SECOND, { name: 'tpm', unit: 'tokens' });
  const priced = (rule: { default?: number; required: boolean }) => settingsOf(group('g', [tokens]), { costs: new Map([['tokens', rule]]) });
  const used = (rig: DeferredRig) => rig.admission.admission.limitsFor('g', '').map((limit) => limit.used);

  test('is refused at submit where a unit that its group requires is not named', async () => {
    const rig = await new DeferredRig([priced({ required: true })]).start();
    expect(await rig.trySubmit()).toMatchObject({ refusal: { reason: 'malformed', detail: expect.stringContaining('tokens') } });
    expect(await rig.trySubmit({ costs: { requests: 1, tokens: 5 } })).toMatchObject({ kind: 'accepted' });
    await rig.pass(1);
    expect(used(rig)).toEqual([5]);
  });

  test('is the default of its group at the time of the submit, also after a reload that changed it', async () => {
    const rig = await new DeferredRig([priced({ default: 600, required: false })]).start();
    await rig.submit();
    await rig.submit();
    await rig.pass(1);
    expect(used(rig)).toEqual([600]);
    expect(await rig.admission.admission.reconfigure([priced({ default: 100, required: false })])).toEqual([]);
    await rig.pass(60);
    expect(rig.seen.length).toBe(2);
    expect(used(rig)).toEqual([600]);
  });

  test('is without a unit that a reload took away, and with the default of one that came', async () => {
    const rig = await new DeferredRig([priced({ default: 600, required: false })]).start();
    for (let count = 0; count < 2; count++) await rig.submit();
    await rig.pass(1);
    const pages = rolling(1_000, 60 * SECOND, { name: 'pages', unit: 'pages' });
    const after = settingsOf(group('g', [pages]), { costs: new Map([['pages', { default: 7, required: false }]]) });
    expect(await rig.admission.admission.reconfigure([after])).toEqual([]);
    await rig.submit();
    await rig.pass(60);
    expect(rig.seen.length).toBe(3);
    expect(rig.admission.admission.limitsFor('g', '').map(({ unit }) => unit)).toEqual(['pages']);
  });

  test('is refused at submit where it could never pass the limit of its key', async () => {
    const limit = rolling(1_000, 60 * SECOND, { name: 'tpm', unit: 'tokens', scope: 'key' });
    const rig = await new DeferredRig([settingsOf(group('g', [limit]))]).start();
    expect(await rig.trySubmit({ key: 'a', costs: { requests: 1, tokens: 1_001 } })).toMatchObject({ refusal: { reason: 'oversized', limit: 'tpm' } });
  });
});

describe('a store that fails', () => {
  test('refuses submits with a time to come back, goes on recording ends, and takes submits again when it works', async () => {
    const rig = await new DeferredRig([every5s]).start();
    const { id } = await rig.submit();
    const commit = rig.store.commit.bind(rig.store);
    let broken = true;
    rig.store.commit = (batch) => (broken ? Promise.reject(new Error('EIO')) : commit(batch));
    await rig.pass(0.1).catch(() => undefined);
    expect((await view(rig, id)).state).toBe('done');
    broken = false;
    expect((await rig.submit()).kind).toBe('accepted');
  });
});

describe('a store that cannot be read', () => {
  const filter = { state: 'dead', group: undefined, key: undefined, error: undefined, since: undefined, until: undefined } as const;

  test.each([
    ['a damaged record', new CorruptRecord('heads 1'), 'heads 1 is damaged'],
    ['a store that does not answer', new StoreUnavailable('failed', 'no'), 'it does not answer'],
    ['a fault of LMDB', Object.assign(new Error('MDB_CORRUPTED'), { code: -30_796 }), 'it does not answer'],
    ['a fault of the disk', Object.assign(new Error('i/o error'), { code: 'EIO' }), 'it does not answer'],
  ])('refuses as unstored, says why, and reports %s', async (_what, fault, why) => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(SECOND)]))]).start();
    await rig.submit();
    const { id } = await rig.submit();
    const { load, listEnded } = rig.store;
    rig.hasFaults = true;
    rig.store.load = () => Promise.reject(fault);
    rig.store.listEnded = () => Promise.reject(fault);
    const refusal = { reason: 'unstored', detail: expect.stringContaining(why), retryAt: expect.any(Number) };
    expect(await rig.service.get(ANYONE, id, 0)).toMatchObject(refusal);
    expect(await rig.service.cancel(ANYONE, id)).toMatchObject(refusal);
    expect(await rig.service.redrive(ANYONE, id)).toMatchObject(refusal);
    expect(await rig.service.list(ANYONE, filter, 10, '')).toMatchObject(refusal);
    expect(await rig.service.redriveAll(ANYONE, filter, 10, '')).toMatchObject(refusal);
    expect(rig.faults).toEqual(Array.from({ length: 5 }, () => fault));
    rig.store.load = load;
    rig.store.listEnded = listEnded;
    expect(await rig.service.get(ANYONE, id, 0)).toMatchObject({ state: 'pending' });
  });

  test('a fault of our own is no refusal', async () => {
    const rig = await new DeferredRig([settingsOf(group('g', [spacing(SECOND)]))]).start();
    const { id } = await rig.submit();
    rig.store.load = () => Promise.reject(new TypeError('x is not a function'));
    await expect(rig.service.get(ANYONE, id, 0)).rejects.toThrow('x is not a function');
  });
});
