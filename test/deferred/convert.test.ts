import { afterEach, expect, test } from 'vitest';
import { StoreUnavailable } from '../../src/deferred/store.ts';
import type { Answered } from '../proxy/listener/rig.ts';
import { type DeferredProxyOptions, DeferredProxyRig, until } from './proxy-rig.ts';

/* `Prefer: respond-async, wait=N`: held as a live request up to N seconds, then stored, in its place. */

const rigs: DeferredProxyRig[] = [];

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.stop();
});

async function started(group = 'limits: [ { name: pace, spacing: 5s } ]', route = '', options: DeferredProxyOptions = {}): Promise<DeferredProxyRig> {
  const rig = await DeferredProxyRig.start(
    `backends: { shop: { urls: [ BACKEND ] } }\ngroups: { erp: { ${group} } }\nroutes: [ { backend: shop, group: erp, respondAsync: true, ${route} } ]\n`,
    options,
  );
  rigs.push(rig);
  return rig;
}

const idOf = ({ body }: Answered): string => (JSON.parse(body) as { id: string }).id;
const LATER = { Prefer: 'respond-async, wait=2' };

/** A request that stands in line, as `waiting`-th. */
async function inLine(
  rig: DeferredProxyRig,
  path: string,
  waiting: number,
  headers: Readonly<Record<string, string>> = {},
  body?: string,
): Promise<{ answer: Promise<Answered> }> {
  const answer = rig.ask({ path, headers, ...(body === undefined ? {} : { method: 'POST', body }) });
  answer.catch(() => undefined);
  await until(() => rig.admission.waiting('erp') === waiting);
  return { answer };
}

test('a request that is admitted in time is answered by its backend', async () => {
  const rig = await started();
  const answer = await rig.ask({ path: '/live', headers: LATER });
  expect([answer.status, answer.body, answer.headers['preference-applied']]).toEqual([200, 'ok', undefined]);
  expect(rig.disk.reserved).toBe(1);
});

test('a request that is not admitted in time becomes a stored one, before live callers that came later', async () => {
  const rig = await started();
  await rig.ask({ path: '/first' });
  const later = await inLine(rig, '/later', 1, LATER, 'hello');
  const live = await inLine(rig, '/live', 2);
  await rig.pass(1);
  expect(rig.disk.rows.size).toBe(0);
  await rig.pass(1);
  const answer = await later.answer;
  expect([answer.status, answer.headers['preference-applied'], answer.headers.location]).toEqual([202, 'respond-async', `/.sluice/requests/${idOf(answer)}`]);
  await rig.pass(3);
  expect((await rig.seen(2)).map(({ target }) => target)).toEqual(['/first', '/later']);
  expect(rig.backend.seen[1]?.body.toString()).toBe('hello');
  expect(await rig.ended(idOf(answer))).toMatchObject({ state: 'done', attempts: 1 });
  await rig.pass(5);
  expect((await live.answer).status).toBe(200);
  expect(rig.forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
  expect(rig.faults).toEqual([]);
});

test('a request that is admitted while it is being stored keeps the permit, and its first attempt begins after the commit', async () => {
  const rig = await started();
  await rig.ask({ path: '/first' });
  const later = await inLine(rig, '/later', 1, LATER);
  const live = await inLine(rig, '/live', 2);
  const commit = rig.store.commit.bind(rig.store);
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  rig.store.commit = async (batch) => {
    if (batch.some(({ kind }) => kind === 'submit')) await held;
    return commit(batch);
  };
  await rig.pass(4);
  expect(rig.disk.rows.size).toBe(0);
  // Its turn comes: the permit waits for the commit.
  await rig.pass(1);
  expect([rig.backend.seen.length, rig.admission.waiting('erp')]).toEqual([1, 1]);
  release();
  const answer = await later.answer;
  expect(answer.status).toBe(202);
  const [, second] = await rig.seen(2);
  expect([second?.target, second?.headers]).toEqual(['/later', expect.arrayContaining([['Sluice-Attempt', '1']])]);
  expect(await rig.ended(idOf(answer))).toMatchObject({ state: 'done', attempts: 1 });
  // Nothing was spent twice: the next one goes 5 s after it.
  await rig.pass(5);
  expect((await live.answer).status).toBe(200);
});

test('a request for which there is no room in line, or no hope in time, is stored at once', async () => {
  const full = await started('limits: [ { name: pace, spacing: 5s } ], backlog: { requests: 0 }');
  await full.ask({ path: '/first' });
  expect((await full.ask({ path: '/later', headers: LATER })).status).toBe(202);
  expect((await full.ask({ path: '/live' })).status).toBe(429);
  const hopeless = await started('limits: [ { name: pace, spacing: 1h } ]');
  await hopeless.ask({ path: '/first' });
  const answer = await hopeless.ask({ path: '/later', headers: LATER });
  expect(answer.status).toBe(202);
  await hopeless.pass(3_600);
  expect((await hopeless.ended(idOf(answer))).state).toBe('done');
});

test('the class of a live request is kept over a restart: it goes before the backlog', async () => {
  const rig = await started('limits: [ { name: pace, spacing: 5s } ], priority: { classes: { gold: 1 } }', 'class: header x-class');
  await rig.ask({ path: '/first' });
  const [gold, usual] = [await inLine(rig, '/gold', 1, { ...LATER, 'X-Class': 'gold' }), await inLine(rig, '/usual', 2, LATER)];
  await rig.pass(2);
  expect([(await gold.answer).status, (await usual.answer).status]).toEqual([202, 202]);
  expect([...rig.disk.rows.values()].map(({ priority }) => priority).sort()).toEqual([1, 999]);
  expect((await rig.ask({ path: '/stored', headers: { Prefer: 'respond-async' } })).status).toBe(202);
  expect([...rig.disk.rows.values()].map(({ priority }) => priority).at(-1)).toBe(1_000);
});

test('a store that takes nothing answers 503, and the place in line is free', async () => {
  const rig = await started();
  await rig.ask({ path: '/first' });
  const later = await inLine(rig, '/later', 1, LATER);
  rig.store.commit = () => Promise.reject(new StoreUnavailable('full', 'full'));
  await rig.pass(2);
  const answer = await later.answer;
  expect([answer.status, answer.headers['sluice-reason']]).toEqual([503, 'unstored']);
  expect(rig.admission.waiting('erp')).toBe(0);
});

test('a caller that leaves before its time has nothing stored', async () => {
  const rig = await started();
  await rig.ask({ path: '/first' });
  const before = new AbortController();
  rig.ask({ path: '/before', headers: LATER, signal: before.signal }).catch(() => undefined);
  await until(() => rig.admission.waiting('erp') === 1);
  before.abort();
  await until(() => rig.admission.waiting('erp') === 0);
  await rig.pass(2);
  expect(rig.disk.rows.size).toBe(0);
});

test('a body that is still on its way when the time is over is awaited, then stored', async () => {
  const rig = await started();
  const wire = await rig.wire();
  wire.write(`POST /slow HTTP/1.1\r\nHost: a\r\nPrefer: respond-async, wait=2\r\nContent-Length: 10\r\n\r\nhello`);
  await until(() => rig.forwarding.held.bodies === 1);
  await rig.pass(2);
  expect(rig.disk.rows.size).toBe(0);
  wire.write('there');
  expect(await wire.until((all) => all.includes('\r\n\r\n'))).toMatch(/^HTTP\/1.1 202 /);
  expect((await rig.seen(1))[0]?.body.toString()).toBe('hellothere');
});

test('a backend that pushed back before is counted in the attempts of the stored request', async () => {
  const rig = await started('limits: [ { name: slots, concurrency: 1 } ], pushback: { scope: group, max: 1m }');
  rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 429 X\r\nRetry-After: 4\r\nContent-Length: 0\r\n\r\n');
  const asked = rig.ask({ path: '/pushed', headers: LATER });
  await rig.seen(1);
  await until(() => rig.admission.waiting('erp') === 1);
  rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n');
  await rig.pass(2);
  const answer = await asked;
  expect([answer.status, rig.backend.seen.length]).toEqual([202, 1]);
  await rig.pass(3);
  expect((await rig.seen(2))[1]?.headers).toContainEqual(['Sluice-Attempt', '2']);
  expect(await rig.ended(idOf(answer))).toMatchObject({ state: 'done', attempts: 2 });
});
