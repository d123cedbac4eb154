import { afterEach, expect, test } from 'vitest';
import { createAuth } from '../../src/api/auth.ts';
import { engineProblem } from '../../src/api/problem.ts';
import { Rest } from '../../src/api/rest/handler.ts';
import { PRIORITY_DEFERRED } from '../../src/core/group.ts';
import { SECOND } from '../../src/core/time.ts';
import { selectEngine } from '../../src/http/select-engine.ts';
import { DeferredProxyRig, until } from './proxy-rig.ts';

/* Permits, forwards and stored requests on one group, over real HTTP, on a clock that moves when it is told to: so that admissions are judged to the microsecond. */

const LIMIT = 10;
const EVERY = 5;
const AFTER_S = 2;
const [PERMITS, FORWARDS, STORED] = [60, 60, 25];
const CONFIG = `
deferred: { floor: { after: ${AFTER_S}s, every: ${EVERY} } }
backends: { shop: { urls: [ BACKEND ] } }
groups: { mix: { limits: [ { name: rolling, window: ${LIMIT}/1s } ] } }
routes:
  - { match: { path: '/live/*' }, group: mix, backend: shop }
  - { match: { path: '/later/*' }, group: mix, backend: shop, mode: deferred }
`;

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

test('together they never pass the limit; live callers lose 1 in `every` once stored requests are overdue, and no more; the floor is kept', async () => {
  const rig = await DeferredProxyRig.start(CONFIG);
  ends.push(() => rig.stop());
  const api = await apiOf(rig);
  const waiting = (count: number): Promise<void> => until(() => rig.admission.waiting('mix') === count);
  const answers: Promise<number>[] = [];
  // Who comes first is admitted at once; all others stand in line before time passes.
  for (let index = 0; index < PERMITS; index++) {
    answers.push(fetch(`${api}/v1/groups/mix/acquire?ttl=10m`, { method: 'POST' }).then(({ status }) => status));
    answers.push(rig.ask({ path: `/live/${index}` }).then(({ status }) => status));
  }
  await waiting(PERMITS + FORWARDS - LIMIT);
  for (let index = 0; index < STORED; index++) expect((await rig.ask({ method: 'POST', path: `/later/${index}` })).status).toBe(202);
  await waiting(PERMITS + FORWARDS - LIMIT + STORED);
  const acceptedAt = rig.admission.clock.now();
  for (let step = 0; step < 400 && rig.admission.waiting('mix') > 0; step++) await rig.pass(0.05);
  expect(new Set(await Promise.all(answers))).toEqual(new Set([200]));
  await rig.seen(FORWARDS + STORED);

  const admitted = rig.admission.events.flatMap((event) =>
    event.kind === 'admitted' ? [{ at: event.permit.grantedAt, stored: event.priority === PRIORITY_DEFERRED }] : [],
  );
  expect(admitted.length).toBe(PERMITS + FORWARDS + STORED);
  for (const { at } of admitted) expect(admitted.filter((other) => other.at >= at && other.at < at + SECOND).length).toBeLessThanOrEqual(LIMIT);
  const firstOverdue = acceptedAt + AFTER_S * SECOND;
  expect(admitted.filter(({ at, stored }) => stored && at < firstOverdue)).toEqual([]);
  const [first, last] = [admitted.findIndex(({ stored }) => stored), admitted.findLastIndex(({ stored }) => stored)];
  const liveLast = admitted.findLastIndex(({ stored }) => !stored);
  for (let at = first; at + EVERY <= Math.min(last, liveLast); at++) expect(admitted.slice(at, at + EVERY).filter(({ stored }) => stored).length).toBe(1);
  for (const [index, { at }] of admitted.filter(({ stored }) => stored).entries()) {
    const bound = firstOverdue + ((index + 1) * EVERY * SECOND) / LIMIT + SECOND;
    expect(at).toBeLessThanOrEqual(bound);
  }
});

/** Plain HTTP on a port of its own. */
async function apiOf(rig: DeferredProxyRig): Promise<string> {
  const onError = (error: unknown): void => void rig.faults.push(error);
  const rest = new Rest({ admission: rig.admission.admission, auth: createAuth([]), onError, operators: true, refusalOf: () => undefined });
  const { make } = await selectEngine('node', { clientCa: false });
  const ways = { bodyBytesMax: 1 << 20, receiveMsMax: 10_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem: engineProblem };
  const engine = make(ways, (request, reply) => rest.handle(request, reply));
  const { port } = await engine.listen('127.0.0.1', 0);
  ends.push(() => engine.close(0));
  return `http://127.0.0.1:${port}`;
}
