import { afterEach, describe, expect, test } from 'vitest';
import type { AdmissionService } from '../../src/admission/admission.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import type { CostRule } from '../../src/proxy/route.ts';
import { concurrency, rate, rolling } from '../core/specs.ts';
import { FACTS, type ForwardRig, type ForwardRigOptions, forwardRigged, groupOf, quiet, routeOf } from './forward-rig.ts';

let all: ForwardRig;

async function open(options: ForwardRigOptions = {}): Promise<ForwardRig> {
  all = await forwardRigged(options);
  return all;
}

const SLOT = groupOf([concurrency(1)]);
const ONE_A_SECOND = groupOf([rate(1, SECOND)]);

afterEach(async () => {
  expect(all.faults).toEqual([]);
  await quiet();
  expect(all.clean).toBe(true);
});

describe('the life of a request', () => {
  test('acquired, sent, answered, released', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent({ method: 'POST', target: '/x?y=1', headers: ['Host', 'shop', 'X-One', '1'], body: 'abc' });
    expect([played.attempts.length, all.leases]).toEqual([1, 1]);
    const { last } = played;
    expect([last.request.method, last.request.target, await last.body()]).toEqual(['POST', '/x?y=1', 'abc']);
    expect([last.header('x-one'), last.header('sluice-attempt')]).toEqual(['1', '1']);
    expect(BigInt(last.header('sluice-fence') ?? 0)).toBeGreaterThan(1n << 40n);
    expect(last.header('sluice-fence-floor')).toBe(last.header('sluice-fence'));
    last.answer(201, ['X-Two', '2', 'Connection', 'close', 'Sluice-Fence', 'x'], 'done');
    await quiet();
    expect([caller.head?.status, caller.body, caller.told, all.leases]).toEqual([201, 'done', 1, 0]);
    expect(caller.head?.headers.slice(0, 4)).toEqual(['X-Two', '2', 'Via', '1.1 sluice']);
    expect(caller.header('server-timing')).toMatch(/^queue;dur=/);
  });

  test('one that waits is sent when its turn comes, and told how long it waited; a release wakes it', async () => {
    const { played } = await open({ settings: [SLOT] });
    const first = await all.sent();
    const second = await all.sent();
    expect(played.attempts).toHaveLength(1);
    await all.pass(2);
    played.last.answer(200);
    await quiet();
    expect(played.attempts).toHaveLength(2);
    played.last.answer(200);
    expect([first.head?.status, second.head?.status, second.header('server-timing')]).toEqual([200, 200, 'queue;dur=2000']);
  });

  test('one that is refused never reaches a backend', async () => {
    const { played } = await open({ settings: [SLOT] });
    const first = await all.sent();
    const second = await all.sent({ wait: 3 * SECOND, method: 'POST', body: 'abc' });
    const third = await all.sent({ wait: 0 });
    expect(third.refused).toBe('expired');
    await all.pass(3);
    expect([second.refused, second.told, played.attempts.length]).toEqual(['expired', 1, 1]);
    played.last.answer(200);
    expect(first.told).toBe(1);
  });

  test('a route without a group passes straight through', async () => {
    const { played } = await open({ settings: [SLOT] });
    const { admission: _, ...bare } = routeOf();
    const caller = await all.sent({ method: 'POST', body: 'abc' }, { ...bare, admission: undefined });
    expect([await played.last.body(), played.last.header('sluice-fence')]).toEqual(['abc', undefined]);
    played.last.answer(200);
    expect([caller.told, caller.header('server-timing')]).toEqual([1, undefined]);
  });

  test('keys, classes and costs come from the request', async () => {
    const settings = groupOf([rolling(10, MINUTE, { unit: 'tokens', scope: 'key' })], { priority: { classes: new Map([['urgent', 1]]), default: 9 } });
    const { played } = await open({ settings: [settings] });
    played.script = (attempt) => attempt.answer(200);
    const costs: readonly CostRule[] = [{ unit: 'tokens', ask: { from: 'query', name: 'n' }, fallback: 1, settle: undefined }];
    const route = routeOf({ costs, key: { from: 'path', name: 'tenant' }, priorityClass: { from: 'header', name: 'x-group' }, classes: new Set(['urgent']) });
    const send = (tenant: string, n: number) =>
      all.sent({ target: `/?n=${n}`, wait: 0, facts: { ...FACTS, params: new Map([['tenant', tenant]]) }, headers: ['X-GROUP', 'urgent'] }, route);
    expect([(await send('a', 9)).refused, (await send('a', 2)).refused, (await send('b', 9)).refused]).toEqual([undefined, 'infeasible', undefined]);
    expect((await send('a', 99)).refused).toBe('oversized');
    expect((await send('x'.repeat(257), 1)).refused).toBe('malformed');
  });

  test('in shadow everybody passes, and is told what would have held it', async () => {
    const { played } = await open({ settings: [groupOf([rate(1, MINUTE, 1, { name: 'rpm' })], {}, { enforce: false })] });
    played.script = (attempt) => attempt.answer(200);
    const [first, second] = [await all.sent(), await all.sent()];
    expect([first.header('sluice-shadow'), second.header('sluice-shadow')]).toEqual([undefined, 'rpm']);
  });

  test('who is admitted outside the limit in an outage is told so', async () => {
    const admission = (gates: AdmissionService): AdmissionService => {
      const acquire: AdmissionService['acquire'] = (ask, done) =>
        gates.acquire(ask, (outcome) => done(outcome.kind === 'admitted' ? { ...outcome, degraded: 'share' } : outcome));
      return { acquire } as AdmissionService;
    };
    const { played } = await open({ admission });
    played.script = (attempt) => attempt.answer(200);
    expect((await all.sent()).header('sluice-degraded')).toBe('share');
  });

  test('closing waits for the last one', async () => {
    const { played, forwarding } = await open();
    await all.sent();
    let closed = false;
    const closing = forwarding.close().then(() => {
      closed = true;
    });
    await quiet();
    expect([closed, played.closed]).toEqual([false, false]);
    played.last.answer(200);
    await closing;
    expect(played.closed).toBe(true);
  });

  test('a field that cannot be forwarded is refused, and costs nothing', async () => {
    const { played } = await open({ settings: [groupOf([rate(1, MINUTE)])] });
    expect((await all.sent({ headers: ['X', 'a\nb'] })).refused).toBe('malformed');
    await all.sent({ wait: 0 });
    played.last.answer(200);
    expect(played.attempts).toHaveLength(1);
  });
});

describe('a bug', () => {
  const bug = new Error('bug');
  const throws = (): never => {
    throw bug;
  };

  test('of the forwarder ends its request as a fault, and leaves nothing behind', async () => {
    const { played } = await open({ settings: [SLOT] });
    played.script = throws;
    const bodied = await all.sent({ method: 'POST', body: 'abc' });
    const bare = await all.sent();
    expect([bodied.refused, bodied.told, bare.refused, bare.told, all.faults]).toEqual(['fault', 1, 'fault', 1, [bug, bug]]);
    all.faults.length = 0;
    expect(all.clean).toBe(true);
  });

  test('of admission too', async () => {
    await open({ settings: [SLOT] });
    const { acquire } = all.rig.admission;
    all.rig.admission.acquire = throws;
    const caller = await all.sent({ method: 'POST', body: 'abc' });
    all.rig.admission.acquire = acquire;
    expect([caller.refused, caller.told, all.faults]).toEqual(['fault', 1, [bug]]);
    all.faults.length = 0;
  });
});

describe('bodies', () => {
  test('a slow sender holds no capacity: it is charged when its body is there', async () => {
    const { played } = await open({ settings: [SLOT] });
    const slow = await all.sent({ method: 'POST', body: 'open' });
    slow.sender.write('half');
    await quiet();
    expect([all.leases, slow.wanted]).toEqual([0, 1]);
    const quick = await all.sent();
    played.last.answer(200);
    slow.sender.end('-done');
    await quiet();
    expect(await played.last.body()).toBe('half-done');
    played.last.answer(200);
    expect([quick.told, slow.told]).toEqual([1, 1]);
  });

  test('too slow is given up, too large refused, before anything is charged', async () => {
    const { played } = await open({ settings: [groupOf([rate(1, MINUTE)])] });
    const slow = await all.sent({ method: 'POST', body: 'open' });
    await all.pass(5);
    expect(slow.refused).toBe('slow');
    const route = routeOf({}, { hold: { ...routeOf().hold, bodyBytesMax: 5 } });
    const announced = await all.sent({ method: 'POST', body: 'open', length: 6 }, route);
    expect([announced.refused, announced.wanted]).toEqual(['too_large', 0]);
    const found = await all.sent({ method: 'POST', body: 'open' }, route);
    found.sender.write('123456');
    await quiet();
    expect([found.refused, played.attempts.length]).toEqual(['too_large', 0]);
    await all.sent({ wait: 0, method: 'POST', body: '12345' }, route);
    played.last.answer(200);
  });

  test('charged on headers, it streams through as it comes', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent({ method: 'POST', body: 'open' }, routeOf({ charge: 'headers' }));
    expect([played.attempts.length, all.leases]).toEqual([1, 1]);
    const arrived = played.last.body();
    caller.sender.write('a');
    await quiet();
    expect(all.forwarding.held.memory).toBe(0);
    caller.sender.end('b');
    expect(await arrived).toBe('ab');
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('charged on headers and waiting, what comes meanwhile is held', async () => {
    const { played } = await open({ settings: [SLOT] });
    await all.sent();
    const caller = await all.sent({ method: 'POST', body: 'open' }, routeOf({ charge: 'headers' }));
    caller.sender.write('a');
    await quiet();
    expect(all.forwarding.held.memory).toBe(1);
    played.last.answer(200);
    await quiet();
    const arrived = played.last.body();
    caller.sender.end('b');
    expect(await arrived).toBe('ab');
    played.last.answer(200);
  });

  test('a sender that fails while its body streams is told why, and its slot is free', async () => {
    const { played } = await open({ settings: [SLOT] });
    const route = routeOf({ charge: 'headers' }, { hold: { ...routeOf().hold, bodyBytesMax: 5 } });
    const caller = await all.sent({ method: 'POST', body: 'open' }, route);
    const { last } = played;
    const arrived = last.body();
    arrived.catch(() => last.fail('sender'));
    caller.sender.write('123456');
    await quiet();
    expect([caller.refused, caller.told, all.leases]).toEqual(['too_large', 1, 0]);
  });

  test('is held no longer than another attempt may need it', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent({ method: 'PUT', body: 'abc' });
    expect([await played.last.body(), all.forwarding.held.memory]).toEqual(['abc', 3]);
    played.last.inform(103);
    expect(all.forwarding.held.memory).toBe(3);
    played.last.head(200);
    expect(all.forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
    played.last.end();
    expect([caller.told, caller.information.length]).toEqual([1, 1]);
  });

  test('a JSON body says what it asks for, the answer what it cost', async () => {
    const { played } = await open({ settings: [groupOf([rolling(100, MINUTE, { unit: 'tokens' })])] });
    const costs: readonly CostRule[] = [{ unit: 'tokens', ask: { from: 'json', path: ['max_tokens'] }, fallback: 50, settle: ['usage', 'total_tokens'] }];
    const send = (body: string, wait = 0) => all.sent({ method: 'POST', body, wait }, routeOf({ costs, charge: 'headers' }));
    await send('{"max_tokens": 80}');
    expect(all.rig.used()).toBe(80);
    played.last.answer(200, ['Content-Type', 'application/json'], '{"usage":{"total_tokens":30}}');
    await quiet();
    expect(all.rig.used()).toBe(30);
    await send('no json');
    expect(all.rig.used()).toBe(80);
    played.last.answer(200, ['Content-Type', 'text/plain'], 'no json');
    await quiet();
    expect(all.rig.used()).toBe(80);
    expect(all.events.filter(({ kind }) => kind === 'cost_missing')).toEqual([
      { kind: 'cost_missing', route: 'routes[0]', unit: 'tokens', stage: 'ask' },
      { kind: 'cost_missing', route: 'routes[0]', unit: 'tokens', stage: 'settle' },
    ]);
  });
});

describe('a lease', () => {
  test('is renewed while the backend works', async () => {
    const { played } = await open({ settings: [SLOT] });
    const first = await all.sent();
    await all.pass(300);
    expect(all.leases).toBe(1);
    played.last.answer(200);
    expect(first.told).toBe(1);
  });

  test('that is revoked ends the request', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent();
    const leases = all.rig.admission.leases('g', { size: 10, token: '' });
    if ('reason' in leases) throw new Error('no leases');
    await all.rig.admission.revokeLease('g', leases.items[0]?.id ?? '');
    await all.pass(30);
    expect([played.last.aborted?.message, caller.none]).toMatchObject(['The lease was lost: fenced.', { kind: 'failed', status: 502 }]);
  });
});

describe('failures', () => {
  test('nothing was sent: another URL at once, whatever the method, with the same permit', async () => {
    const { played } = await open({ settings: [ONE_A_SECOND] });
    const caller = await all.sent({ method: 'POST', body: 'abc', wait: 0 });
    played.last.fail('connect', false);
    expect(played.attempts.map(({ url }) => url)).toEqual([0, 1]);
    expect(await played.last.body()).toBe('abc');
    played.last.answer(200);
    expect([caller.head?.status, caller.header('sluice-attempts')]).toEqual([200, '2']);
  });

  test('no URL can be reached: 503, and the permit goes back', async () => {
    const { played } = await open({ settings: [groupOf([rate(1, MINUTE)])] });
    const caller = await all.sent();
    played.last.fail('connect', false);
    played.last.fail('connect', false);
    expect([caller.none, played.attempts.length]).toMatchObject([{ kind: 'failed', status: 503, attempts: 2 }, 2]);
    await all.sent({ wait: 0 });
    expect(played.attempts).toHaveLength(3);
    played.last.answer(200);
  });

  test.each([
    ['GET', [], 3],
    ['PUT', [], 3],
    ['DELETE', [], 3],
    ['POST', [], 1],
    ['PATCH', [], 1],
    ['POST', ['Idempotency-Key', '"abc"'], 3],
    ['POST', ['Idempotency-Key', ''], 1],
  ])('%s %j that may have arrived is sent %i times in all', async (method, headers, times) => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent({ method, headers, body: 'abc' });
    for (let i = 0; i < times; i++) {
      expect(played.attempts).toHaveLength(i + 1);
      expect([played.last.header('sluice-attempt'), await played.last.body()]).toEqual([String(i + 1), 'abc']);
      played.last.fail('reset');
      await quiet();
    }
    expect([played.attempts.length, caller.none, caller.told]).toMatchObject([times, { kind: 'failed', status: 502, attempts: times }, 1]);
  });

  test('each time it is sent it is charged', async () => {
    const { played } = await open({ settings: [ONE_A_SECOND] });
    const caller = await all.sent();
    played.last.fail('reset');
    await quiet();
    expect(played.attempts).toHaveLength(1);
    await all.pass(1);
    expect(played.attempts).toHaveLength(2);
    played.last.answer(200);
    expect([caller.head?.status, caller.header('sluice-attempts')]).toEqual([200, '2']);
  });

  test('a body that was passed on as it came is sent once', async () => {
    const { played } = await open();
    const caller = await all.sent({ method: 'PUT', body: 'open' }, routeOf({ charge: 'headers' }));
    const arrived = played.last.body();
    caller.sender.end('abc');
    await arrived;
    played.last.fail('reset');
    expect([played.attempts.length, caller.none]).toMatchObject([1, { kind: 'failed', status: 502 }]);
  });

  test.each([
    ['first_byte', 504],
    ['idle', 504],
    ['reset', 502],
  ] as const)('%s after the request was sent: %i', async (why, status) => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent({ method: 'POST' });
    played.last.fail(why);
    expect([caller.none, caller.told]).toMatchObject([{ kind: 'failed', status }, 1]);
  });

  test('an answer that breaks off is cut, and never sent again', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent();
    played.last.head(200);
    played.last.data('ab');
    played.last.break();
    expect([caller.body, caller.broken?.message, caller.told, played.attempts.length]).toEqual(['ab', 'broken', 1, 1]);
  });

  test('an answer with a field that breaks out of its line reaches nobody', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await all.sent();
    played.last.answer(200, ['X', 'a\nb']);
    expect([caller.head, caller.none, played.last.aborted !== undefined]).toMatchObject([undefined, { kind: 'failed', status: 502 }, true]);
  });

  test('a URL that keeps failing is left alone for a while', async () => {
    const { played } = await open();
    played.script = (attempt) => (attempt.url === 0 ? attempt.fail('connect', false) : attempt.answer(200));
    for (let i = 0; i < 20; i++) await all.sent();
    expect(played.attempts.filter(({ url }) => url === 0)).toHaveLength(5);
    expect(all.events.filter(({ kind }) => kind === 'ejected')).toEqual([{ kind: 'ejected', backend: 'shop', url: 'http://a' }]);
  });

  test('over its concurrency requests wait with their permits, first in, first out', async () => {
    const { played } = await open({ settings: [groupOf([concurrency(9)])], backend: { concurrency: 1 } });
    for (let i = 0; i < 4; i++) await all.sent({ target: `/${i}` });
    expect([played.attempts.map(({ request }) => request.target), all.leases]).toEqual([['/0', '/1'], 4]);
    for (let i = 0; i < 4; i++) played.attempts[i]?.answer(200);
    await quiet();
    expect(played.attempts.map(({ request }) => request.target)).toEqual(['/0', '/1', '/2', '/3']);
  });
});
