import { afterEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* A whole server: a request that the backend pushed back goes first when the pause ends. */

let rig: ProxyRig;
afterEach(() => rig.stop());

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { one: { limits: [ { name: slots, concurrency: 1 } ], pushback: { scope: group, max: 10s } } }
routes: [ { match: { path: '/*' }, group: one, backend: shop } ]
`;

test('A is pushed back with B and C behind it: nobody goes while the pause lasts, then A, B, C', async () => {
  let push = (): void => {};
  rig = await proxyRig(CONFIG, (_request, socket) => {
    push = () => void socket.write('HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n');
  });
  const { backend } = rig;
  const a = rig.ask({ path: '/a' });
  await backend.until(() => backend.seen.length === 1);
  const b = rig.ask({ path: '/b' });
  await rig.shows('one', { waiting: 1 });
  const c = rig.ask({ path: '/c' });
  await rig.shows('one', { waiting: 2 });
  backend.respond = (_request, socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  const pushed = performance.now();
  push();
  expect((await Promise.all([a, b, c])).map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(backend.seen.map(({ target }) => target)).toEqual(['/a', '/a', '/b', '/c']);
  expect((backend.seen[1]?.at ?? 0) - pushed).toBeGreaterThan(990);
  // A place is no caller's to name.
  const named = await rig.ask({ path: '/d', headers: { 'sluice-since': '0', since: '0' } });
  expect(named.status).toBe(200);
  expect(backend.seen.at(-1)?.head).not.toContain('sluice-since');
});
