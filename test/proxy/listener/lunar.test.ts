import { afterEach, describe, expect, test, vi } from 'vitest';
import { until } from '../../support/fakes/until.ts';
import { FLOW, lunar, lunarSuite, REMEDY, runs, statuses } from './lunar.suite.ts';
import { type Answered, type ProxyRig, proxyRig } from './rig.ts';

/* Lunar's own scenarios before a backend in Node, and its defects, in real time on a whole server. */

describe('before a backend in Node', () => lunarSuite());

let rig: ProxyRig;
afterEach(async () => {
  vi.useRealTimers();
  await rig?.stop();
});

const many = (count: number, parts: (index: number) => Parameters<ProxyRig['ask']>[0]): Promise<readonly Answered[]> =>
  Promise.all(Array.from({ length: count }, (_each, index) => rig.ask(parts(index))));
const resource = () => ({ path: '/resource/7' });
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(runs)('run %i: what Lunar does wrong is right here:', () => {
  test('LN-D1: the priority of X-Group applies however the name is spelled', async () => {
    rig = await proxyRig(lunar(REMEDY, ['window: 2/1s', 'window: 1/1s'], ['default: 2.2s', 'default: 60s']));
    await rig.ask(resource());
    await rig.paused('resource', true);
    const low = rig.ask({ path: '/resource/low', headers: { 'X-GROUP': 'staging' } });
    await rig.shows('resource', { waiting: 1 });
    const high = rig.ask({ path: '/resource/high', headers: { 'x-group': 'production' } });
    await rig.shows('resource', { waiting: 2 });
    await rig.paused('resource', false);
    await Promise.all([low, high]);
    expect(rig.backend.seen.map(({ target }) => target)).toEqual(['/resource/7', '/resource/high', '/resource/low']);
  });

  test('LN-D2: A to H at two per window go in the order A B C D E F G H', async () => {
    rig = await proxyRig(lunar(REMEDY, ['default: 2.2s', 'default: 60s']));
    const answers: Promise<Answered>[] = [];
    for (const [index, name] of [...'ABCDEFGH'].entries()) {
      answers.push(rig.ask({ path: `/resource/${name}` }));
      if (index < 2) await answers[index];
      else await rig.shows('resource', { waiting: index - 1 });
      if (index === 1) await rig.paused('resource', true);
    }
    await rig.paused('resource', false);
    await Promise.all(answers);
    expect(rig.backend.seen.map(({ target }) => target.at(-1)).join('')).toBe('ABCDEFGH');
  });

  test('LN-D3: with quota free nobody waits', async () => {
    rig = await proxyRig(lunar(REMEDY, ['window: 2/1s', 'window: 1000/10s']));
    for (let each = 0; each < 50; each++) await rig.ask(resource());
    expect(await rig.metric('sluice_wait_seconds_count{group="resource"}')).toBe(50);
    expect(await rig.metric('sluice_wait_seconds_sum{group="resource"}')).toBe(0);
  });

  test('LN-D6: a slot is used again at once: twenty go one after the other while no timer of the server fires', async () => {
    const held: (() => void)[] = [];
    rig = await proxyRig(
      lunar(
        REMEDY,
        ['{ name: window, window: 2/1s }', '{ name: slots, concurrency: 1 }'],
        ['requests: 10', 'requests: 100'],
        ['default: 2.2s', 'default: 60s'],
      ),
      (_request, socket) => void held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
    );
    const answers = many(20, resource);
    await rig.shows('resource', { waiting: 19, leases: 1 });
    vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval'] });
    for (let each = 0; each < 20; each++) {
      await rig.backend.until(() => held.length > each);
      held[each]?.();
    }
    expect(statuses(await answers)).toEqual(Array.from({ length: 20 }, () => 200));
    expect(rig.backend.seen).toHaveLength(20);
  });

  test('LN-D7: no arrival passes a waiter when a window opens', async () => {
    rig = await proxyRig(lunar(REMEDY, ['window: 2/1s', 'window: 1/50ms'], ['requests: 10', 'requests: 1000'], ['default: 2.2s', 'default: 60s']));
    const answers: Promise<Answered>[] = [];
    // One every 20 ms against one every 50: arrivals come all the time, also when a window opens.
    for (let each = 0; each < 30; each++) {
      answers.push(rig.ask({ path: `/resource/${String(each).padStart(2, '0')}` }));
      await pause(20);
    }
    await Promise.all(answers);
    const order = rig.backend.seen.map(({ target }) => target);
    expect(order).toEqual([...order].sort());
  });

  test('LN-D9: those whose wait timeout ends leave at once, also under more urgent ones without end; more than the bound never wait', async () => {
    rig = await proxyRig(lunar(REMEDY, ['window: 2/1s', 'window: 1/50ms'], ['requests: 10', 'requests: 20'], ['default: 2.2s', 'default: 300ms']));
    const asked: Promise<Answered>[] = [];
    const low = Array.from({ length: 10 }, () => rig.ask({ path: '/resource/low', headers: { 'x-group': 'staging' } }));
    // More at once than may wait.
    asked.push(...Array.from({ length: 60 }, () => rig.ask({ path: '/resource/high', headers: { 'x-group': 'production' } })));
    for (let each = 0; each < 40; each++) {
      asked.push(...Array.from({ length: 5 }, () => rig.ask({ path: '/resource/high', headers: { 'x-group': 'production' } })));
      const { waiting } = await rig.group('resource');
      expect(waiting).toBeLessThanOrEqual(20);
      await pause(20);
    }
    const flooded = performance.now();
    for (const { status, at } of await Promise.all(low)) if (status === 429) expect(at).toBeLessThan(flooded);
    const all = await Promise.all(asked);
    const shed = all.filter(({ headers }) => headers['sluice-reason'] === 'shed');
    expect(shed.length).toBeGreaterThan(20);
    expect((await rig.group('resource')).waiting).toBe(0);
  });

  test('LN-D16: keys have a bound, are forgotten when idle, and a request without the header has the empty one', async () => {
    rig = await proxyRig(`backends: { api: { urls: [ BACKEND ] } }
groups: { keyed: { limits: [ { name: slots, concurrency: 1, scope: key } ], backlog: { keys: 3 }, ttl: { default: 0 } } }
routes: [ { match: { path: /* }, group: keyed, key: header X-Tenant, backend: api } ]
`);
    const answer = rig.backend.respond;
    const held: (() => void)[] = [];
    rig.backend.respond = (request, socket) => void held.push(() => answer(request, socket));
    const first = [rig.ask(), ...['a', 'b'].map((tenant) => rig.ask({ headers: { 'x-tenant': tenant } }))];
    await rig.shows('keyed', { leases: 3 });
    expect(await rig.ask({ headers: { 'x-tenant': 'c' } })).toMatchObject({ status: 429, headers: { 'sluice-reason': 'shed' } });
    expect(await rig.ask({ headers: { 'X-TENANT': 'a' } })).toMatchObject({ status: 429 });
    for (const go of held) go();
    expect(statuses(await Promise.all(first))).toEqual([200, 200, 200]);
    rig.backend.respond = answer;
    for (const tenant of ['c', 'd', 'e', 'f']) expect((await rig.ask({ headers: { 'x-tenant': tenant } })).status).toBe(200);
  });

  test('LN-D17: who runs longer than a lease keeps its slot', async () => {
    const held: (() => void)[] = [];
    rig = await proxyRig(
      `backends: { api: { urls: [ BACKEND ] } }
groups: { one: { limits: [ { name: slots, concurrency: 1 } ], ttl: { default: 60s }, lease: { default: 3s } } }
routes: [ { match: { path: /* }, group: one, backend: api } ]
`,
      (_request, socket) => void held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
    );
    const answers = many(2, () => ({}));
    // Renewed after each third of its life: it has lived for more than one.
    await until('the lease to be renewed four times', async () => (await rig.metric('sluice_renewed_total{group="one"}')) >= 4 || held.length > 1);
    expect(held).toHaveLength(1);
    held[0]?.();
    await rig.backend.until(() => held.length === 2);
    held[1]?.();
    expect(statuses(await answers)).toEqual([200, 200]);
  });
});

test('seed 002: the flow refuses in the words of its user', async () => {
  rig = await proxyRig(lunar(FLOW, ['window: 100/60s', 'window: 1/60s'], ['default: 10s', 'default: 0']));
  const headers = { host: 'api.example.com' };
  expect(await rig.ask({ headers })).toMatchObject({ status: 200 });
  expect(await rig.ask({ headers })).toMatchObject({
    status: 429,
    body: 'Too many requests. Please try again later.',
    headers: { 'content-type': 'text/plain' },
  });
  expect(await rig.ask({ headers: { host: 'other.example.com' } })).toMatchObject({ status: 404 });
});
