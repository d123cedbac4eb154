import type { Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* A whole server: as many requests are at the backend as it turns out to bear. */

let rig: ProxyRig;
afterEach(() => rig.stop());

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { one: { limits: [ { name: slots, concurrency: { max: 8, adapt: aimd, initial: 4, backoff: 50% } } ] } }
routes: [ { match: { path: '/*' }, group: one, backend: shop } ]
`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

test('one more after a round of answers, half as many after a 503, and nobody is cut', async () => {
  const working: Socket[] = [];
  rig = await proxyRig(CONFIG, (_request, socket) => void working.push(socket));
  const answer = (count: number, text: string): void => {
    for (const socket of working.splice(0, count)) socket.write(text);
  };
  const capacity = async (): Promise<number | undefined> => ((await rig.group('one')).limits[0] as { readonly capacity?: number } | undefined)?.capacity;
  const asked = Array.from({ length: 12 }, (_, index) => rig.ask({ path: `/${index}` }));
  await rig.shows('one', { leases: 4, waiting: 8 });
  expect(await capacity()).toBe(4);
  await rig.backend.until(() => working.length === 4);
  answer(4, OK);
  await rig.shows('one', { leases: 5, waiting: 3 });
  expect(await capacity()).toBe(5);
  const metrics = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  expect(metrics).toContain('sluice_limit_capacity{group="one",limit="slots",unit="requests"} 5');
  await rig.backend.until(() => working.length === 5);
  answer(1, 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n');
  await rig.shows('one', { leases: 4, waiting: 3 });
  expect(await capacity()).toBe(2);
  expect(rig.backend.seen).toHaveLength(9);
  answer(1, OK);
  await rig.shows('one', { leases: 3, waiting: 3 });
  expect(rig.backend.seen).toHaveLength(9);
  // The second of a round of two: three may go.
  answer(1, OK);
  await rig.shows('one', { leases: 3, waiting: 2 });
  answer(3, OK);
  await rig.backend.until(() => rig.backend.seen.length === 12);
  await rig.backend.until(() => working.length > 0);
  rig.backend.respond = (_request, socket) => void socket.write(OK);
  answer(working.length, OK);
  expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([...Array(11).fill(200), 503]);
});
