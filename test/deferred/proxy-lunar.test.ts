import { expect, test } from 'vitest';
import { proxyRig } from '../proxy/listener/rig.ts';

test('a client of the asynchronous queue of Lunar submits, asks at Location until there is an answer, and gets it as it was', async () => {
  let answer = (): void => {};
  const rig = await proxyRig(
    `backends: { shop: { urls: [ BACKEND ] } }
groups: { erp: { limits: [ { name: open, window: 100/1s } ] } }
routes: [ { backend: shop, group: erp, mode: deferred, match: { path: /async }, answer: { shape: lunar } }, { backend: shop } ]\n`,
    (_request, socket) => {
      answer = () => socket.write('HTTP/1.1 418 X\r\nX-Kind: tea\r\nContent-Length: 3\r\n\r\ntea');
    },
  );
  try {
    const { status, headers } = await rig.ask({ method: 'POST', path: '/async' });
    const location = headers.location ?? '';
    expect([status, headers['x-lunar-enqueued']]).toEqual([202, 'true']);
    const pending = await rig.ask({ path: location });
    expect([pending.status, pending.headers.location, pending.headers['x-lunar-enqueued']]).toEqual([202, location, 'true']);
    while (rig.backend.seen.length === 0) await new Promise((resolve) => void setImmediate(resolve));
    answer();
    const done = await rig.ask({ path: location, headers: { Prefer: 'wait=10' } });
    expect([done.status, done.headers['x-kind'], done.body]).toEqual([418, 'tea', 'tea']);
    expect((await rig.ask({ path: '/retrieve' })).status).toBe(400);
    expect((await rig.ask({ path: '/retrieve?sequence_id=1-0000000000000000' })).status).toBe(404);
  } finally {
    await rig.stop();
  }
});
