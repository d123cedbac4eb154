import { afterEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

let rig: ProxyRig;
afterEach(() => rig?.stop());

test('with charge: headers a sender who expects 100-continue and is refused on arrival is not asked for its body', async () => {
  rig = await proxyRig(
    'backends: { shop: { urls: [ BACKEND ] } }\ngroups: { slots: { limits: [ { name: slots, concurrency: 1 } ] } }\nroutes: [ { group: slots, backend: shop, charge: headers } ]\n',
    () => {},
  );
  const first = await rig.wire();
  first.write('GET /first HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  const second = await rig.wire();
  second.write('POST /second HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\nPrefer: wait=0\r\n\r\n');
  expect(await second.untilClosed()).toMatch(/^HTTP\/1\.1 429 /);
  expect(rig.backend.seen).toHaveLength(1);
});

test('Prefer: wait bounds the hold', async () => {
  rig = await proxyRig(
    'backends: { shop: { urls: [ BACKEND ] } }\ngroups: { slots: { limits: [ { name: slots, concurrency: 1 } ], ttl: { default: 30s } } }\nroutes: [ { group: slots, backend: shop } ]\n',
    () => {},
  );
  const first = await rig.wire();
  first.write('GET /first HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  const refused = await rig.ask({ headers: { prefer: 'respond-async, wait=1' } });
  expect(refused).toMatchObject({ status: 429, headers: { 'sluice-reason': 'expired' } });
  expect(refused.took).toBeGreaterThan(990);
  // Its group would have it wait for 30 s.
  expect(refused.took).toBeLessThan(25_000);
});
