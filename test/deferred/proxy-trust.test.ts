import { createHmac } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { beginVerification } from '../../src/deferred/verification.ts';
import { type DeferredProxyOptions, DeferredProxyRig } from './proxy-rig.ts';

const rigs: DeferredProxyRig[] = [];

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.stop();
});

async function started(route: string, options: DeferredProxyOptions = {}): Promise<DeferredProxyRig> {
  const rig = await DeferredProxyRig.start(
    `backends: { shop: { urls: [ BACKEND ] } }\ngroups: { erp: { limits: [ { name: open, window: 100/1s } ] } }\nroutes: [ { backend: shop, group: erp, mode: deferred, ${route} } ]\n`,
    options,
  );
  rigs.push(rig);
  return rig;
}

const idOf = (body: string): string => (JSON.parse(body) as { id: string }).id;
const KEYS = [Buffer.alloc(24, 1), Buffer.alloc(32, 2)] as const;
const ENV = { A: `whsec_${KEYS[0].toString('base64')}`, B: `whsec_${KEYS[1].toString('base64')}`, HUSH: 'hush' };

test('a request that its sender did not sign is refused with 401 before anything is stored, whatever its size', async () => {
  const rig = await started('verify: { shopify: { env: HUSH } }', { env: ENV });
  for (const size of [10, 200_000]) {
    const body = Buffer.alloc(size, 'x');
    const signed = createHmac('sha256', 'hush').update(body).digest('base64');
    const send = (signature: string | undefined, sent = body) =>
      rig.ask({ method: 'POST', headers: signature === undefined ? {} : { 'X-Shopify-Hmac-Sha256': signature }, body: sent });
    const refused = [await send(undefined), await send('AAAA'), await send(signed, Buffer.from(body).fill('y', size - 1))];
    expect(refused.map(({ status, headers }) => [status, headers['sluice-reason']])).toEqual(refused.map(() => [401, 'unauthenticated']));
    expect([rig.disk.rows.size + rig.disk.ended.size, rig.disk.uploads.size]).toEqual([size === 10 ? 0 : 1, 0]);
    const taken = await send(signed);
    expect(taken.status).toBe(202);
    expect((await rig.ended(idOf(taken.body))).state).toBe('done');
  }
  expect(rig.backend.seen.map(({ body }) => body.byteLength)).toEqual([10, 200_000]);
  expect(rig.forwarding.held.bodies).toBe(0);
});

test('a signed request that is sent again after its window is refused', async () => {
  const rig = await started('verify: { stripe: { env: HUSH }, tolerance: 1m }', { env: ENV });
  const at = Math.floor(rig.nowMs / 1000);
  const signature = createHmac('sha256', 'hush').update(`${at}.{}`).digest('hex');
  const send = () => rig.ask({ method: 'POST', headers: { 'Stripe-Signature': `t=${at},v1=${signature}` }, body: '{}' });
  expect((await send()).status).toBe(202);
  await rig.pass(61);
  expect((await send()).status).toBe(401);
});

test('every attempt is signed anew, with the time of the attempt, by both secrets, over the bytes that are sent', async () => {
  const rig = await started('sign: { secrets: [ { env: A }, { env: B } ] }, retry: { delays: [ 1h ] }', { env: ENV });
  let status = 500;
  rig.backend.respond = (_request, socket) => void socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`);
  const body = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256));
  // What a provider signed itself is for the provider's own receiver.
  const { body: ticket } = await rig.ask({ method: 'POST', headers: { 'webhook-id': 'theirs', 'webhook-signature': 'v1,AAAA' }, body });
  await rig.seen(1);
  status = 200;
  await rig.pass(3_600);
  const [first, second] = await rig.seen(2);
  const id = idOf(ticket);
  for (const each of [first, second]) {
    const fields = (each?.headers ?? []).flat();
    const nowMs = each === first ? rig.nowMs - 3_600_000 : rig.nowMs;
    for (const key of KEYS) {
      const begun = beginVerification({ sender: 'standardWebhooks', keys: [key], toleranceMs: 5_000, hmac: undefined }, fields, nowMs);
      if (typeof begun === 'string') throw new Error(begun);
      begun.update(each?.body ?? Buffer.alloc(0));
      expect(begun.passes()).toBe(true);
    }
    expect(each?.headers.filter(([name]) => name === 'webhook-id')).toEqual([['webhook-id', id]]);
  }
  expect((await rig.ended(id)).state).toBe('done');
});
