import { afterEach, describe, expect, test } from 'vitest';
import { type DeferredProxyOptions, DeferredProxyRig, until } from './proxy-rig.ts';

const rigs: DeferredProxyRig[] = [];

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.stop();
});

async function started(route: string, options: DeferredProxyOptions = {}, limits = '{ name: pace, spacing: 5s }'): Promise<DeferredProxyRig> {
  const rig = await DeferredProxyRig.start(
    `backends: { shop: { urls: [ BACKEND ] } }\ngroups: { erp: { limits: [ ${limits} ] } }\nroutes: [ { backend: shop, group: erp, ${route} } ]\n`,
    options,
  );
  rigs.push(rig);
  return rig;
}

const id = (body: string): string => (JSON.parse(body) as { id: string }).id;

describe('a deferred route', () => {
  test('holds a submission to what its credential may name, and stores nothing else', async () => {
    const rig = await started('mode: deferred, match: { path: "/x/*" }, key: header x-key');
    rig.scope = (ask) => (ask.key === 'B' ? { reason: 'forbidden' } : { ...ask, key: 'A' });
    expect((await rig.ask({ method: 'POST', path: '/x/1', headers: { 'X-Key': 'B' } })).status).toBe(403);
    expect((await rig.ask({ method: 'POST', path: '/x/2' })).status).toBe(202);
    expect([...rig.disk.rows.values()].map(({ key }) => key).concat([...rig.disk.ended.values()].map(({ row }) => row.key))).toEqual(['A']);
  });

  test('answers 202 once the request is stored, and the backend sees the same request later', async () => {
    const rig = await started('mode: deferred, match: { path: "/x/*" }');
    const body = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 31) % 256));
    const first = await rig.ask({ method: 'POST', path: '/x/first' });
    const answer = await rig.ask({
      method: 'PUT',
      path: '/x/y?a=1&a=2',
      headers: {
        'X-Repeated': ['one', 'two'],
        'Content-Type': 'image/png',
        Connection: 'close, X-Hop',
        'X-Hop': 'gone',
        'Sluice-Fence': '9',
        Host: 'shop.example',
      },
      body,
    });
    expect([first.status, answer.status]).toEqual([202, 202]);
    const { id: ticket, location } = JSON.parse(answer.body) as { id: string; location: string };
    expect(answer.headers).toMatchObject({ location, 'cache-control': 'no-store', 'sluice-request-id': ticket });
    expect(location).toBe(`/.sluice/requests/${ticket}`);
    await rig.pass(5);
    const seen = (await rig.seen(2))[1];
    expect([seen?.method, seen?.target, seen?.body.equals(body)]).toEqual(['PUT', '/x/y?a=1&a=2', true]);
    const headers = seen?.headers.map(([name, value]) => `${name}: ${value}`) ?? [];
    expect(headers).toEqual(
      expect.arrayContaining([
        'X-Repeated: one',
        'X-Repeated: two',
        'Content-Type: image/png',
        'host: shop.example',
        'Sluice-Attempt: 1',
        `Sluice-Request-Id: ${ticket}`,
      ]),
    );
    expect(headers.filter((each) => /^(x-hop|sluice-fence):/i.test(each))).toEqual([]);
    expect(headers.find((each) => each.startsWith('Idempotency-Key'))).toBe(`Idempotency-Key: "${ticket}"`);
    expect(headers.find((each) => each.startsWith('X-Forwarded-For'))).toBe('X-Forwarded-For: 127.0.0.1');
    expect(headers.filter((each) => /^(via|traceparent|forwarded):/i.test(each)).length).toBe(3);
    expect(await rig.ended(ticket)).toMatchObject({ state: 'done', attempts: 1, response: { status: 200 } });
    expect(rig.faults).toEqual([]);
  });

  test('takes any method and path, and answers 200 at once without a body where it says so (reQue)', async () => {
    const rig = await started('mode: deferred, answer: { status: 200, shape: empty }', {}, '{ name: open, window: 100/1s }');
    for (const method of ['GET', 'POST', 'PATCH', 'DELETE', 'OPTIONS']) {
      const answer = await rig.ask({ method, path: `/any/${method}` });
      expect([answer.status, answer.body, answer.headers.location]).toEqual([200, '', undefined]);
    }
    expect((await rig.ask({ method: 'HEAD', path: '/any/HEAD' })).status).toBe(200);
    const seen = await rig.seen(6);
    expect(seen.map(({ target }) => target).sort()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST'].map((method) => `/any/${method}`));
  });

  test('answers as the asynchronous queue of Lunar does where it says so', async () => {
    const rig = await started('mode: deferred, answer: { shape: lunar }');
    const answer = await rig.ask({ method: 'POST', path: '/' });
    expect(answer.status).toBe(202);
    expect(answer.headers['x-lunar-enqueued']).toBe('true');
    expect(answer.headers.location).toMatch(/^\/retrieve\?sequence_id=[0-9a-z]+-[0-9a-f]{16}$/);
    expect(Object.keys(JSON.parse(answer.body) as object)).toEqual(['msg']);
  });

  test('stores a body of the maximum, and refuses one byte more with 413 whether it is announced or not, storing nothing', async () => {
    const rig = await started('mode: deferred, body: { max: 100000B }');
    expect((await rig.ask({ method: 'POST', body: Buffer.alloc(100_000) })).status).toBe(202);
    expect((await rig.ask({ method: 'POST', body: Buffer.alloc(100_001) })).status).toBe(413);
    const wire = await rig.wire();
    wire.write(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${`${(50_001).toString(16)}\r\n${'x'.repeat(50_001)}\r\n`.repeat(2)}0\r\n\r\n`);
    expect(await wire.until((all) => all.includes('\r\n\r\n'))).toMatch(/^HTTP\/1.1 413 /);
    expect([rig.disk.rows.size + rig.disk.ended.size, rig.disk.uploads.size]).toEqual([1, 0]);
    expect(rig.forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
    expect(rig.faults).toEqual([]);
  });

  test('stores nothing of a request whose sender leaves before its body has come', async () => {
    const rig = await started('mode: deferred');
    for (const length of [1_000, 1_000_000]) {
      const wire = await rig.wire();
      wire.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(length / 2)}`);
      await until(() => rig.forwarding.held.bodies === 1);
      wire.destroy();
      await until(() => rig.forwarding.held.bodies === 0);
    }
    await until(() => rig.disk.uploads.size === 0);
    expect(rig.disk.rows.size + rig.disk.ended.size).toBe(0);
    expect(rig.faults).toEqual([]);
  });

  test('RQ-8: answers 503 with Retry-After while the store is full, and takes requests again when there is room', async () => {
    const rig = await started('mode: deferred', { bytesMax: 5_000 });
    const statuses = [];
    for (let n = 0; n < 6; n++) statuses.push(await rig.ask({ method: 'POST', body: Buffer.alloc(1_000) }));
    const full = statuses.at(-1);
    expect(full?.status).toBe(503);
    expect(Number(full?.headers['retry-after'])).toBeGreaterThan(0);
    expect(full?.headers['sluice-reason']).toBe('unstored');
    const stored = statuses.filter(({ status }) => status === 202).length;
    for (let n = 0; n < stored; n++) {
      await rig.pass(5);
      await rig.seen(n + 1);
    }
    for (const { status, body } of statuses) if (status === 202) await rig.ended(id(body));
    expect((await rig.ask({ method: 'POST', body: Buffer.alloc(1_000) })).status).toBe(202);
  });

  test('gives the same ticket for the same Idempotency-Key and request, and 422 for another body', async () => {
    const rig = await started('mode: deferred');
    const send = (body: string, key = '"k-1"') => rig.ask({ method: 'POST', headers: { 'Idempotency-Key': key }, body });
    const [first, same, other, bare] = [await send('a'), await send('a'), await send('b'), await send('a', 'k-1')];
    expect([first.status, same.status, other.status, bare.status]).toEqual([202, 202, 422, 202]);
    expect([id(same.body), id(bare.body)]).toEqual([id(first.body), id(first.body)]);
    expect(JSON.parse(same.body)).toMatchObject({ existing: true });
    expect((await send('a', '""')).status).toBe(400);
    expect((await rig.seen(1))[0]?.headers.find(([name]) => name.toLowerCase() === 'idempotency-key')?.[1]).toBe('"k-1"');
  });

  test('gives a known delivery its first ticket whatever it carries, and sends it anew once it is dead', async () => {
    const rig = await started('mode: deferred, dedupe: header x-shopify-webhook-id', {}, '{ name: open, window: 100/1s }');
    let status = 422;
    rig.backend.respond = (_request, socket) => void socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`);
    const send = (body: string) => rig.ask({ method: 'POST', headers: { 'X-Shopify-Webhook-Id': 'w1' }, body });
    const first = id((await send('a')).body);
    expect((await rig.ended(first)).state).toBe('dead');
    status = 200;
    const second = id((await send('b')).body);
    expect(second).not.toBe(first);
    expect((await rig.ended(second)).state).toBe('done');
    expect(id((await send('c')).body)).toBe(second);
    expect((await rig.seen(2)).length).toBe(2);
  });

  test('takes what narrows a request from its fields, which the backend never sees', async () => {
    const rig = await started('mode: deferred');
    rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n');
    const headers = { 'Sluice-Delay': '30s', 'Sluice-Deadline': '10m', 'Sluice-Timeout': '2s', 'Sluice-Retries': '1' };
    const { body } = await rig.ask({ method: 'POST', headers });
    await rig.pass(29);
    expect(rig.backend.seen.length).toBe(0);
    await rig.pass(2);
    const [seen] = await rig.seen(1);
    expect(seen?.head).not.toMatch(/sluice-(delay|deadline|timeout|retries)/i);
    expect(await rig.ended(id(body))).toMatchObject({ state: 'dead', attempts: 1, error: 'status_500' });
    for (const wrong of [
      { 'Sluice-Delay': 'soon' },
      { 'Sluice-Deadline': '1ms' },
      { 'Sluice-Retries': '0' },
      { 'Sluice-Retries': ['1', '2'] },
      { 'Sluice-Timeout': '-1s' },
    ])
      expect((await rig.ask({ method: 'POST', headers: wrong })).status).toBe(400);
    const late = { 'Sluice-Delay': '1h', 'Sluice-Deadline': '10m' };
    expect((await rig.ask({ method: 'POST', headers: late })).status).toBe(400);
  });

  test('costs what a live request costs: what its route says, and what its group says of units that are not named', async () => {
    const rig = await DeferredProxyRig.start(
      `backends: { shop: { urls: [ BACKEND ] } }
groups: { erp: { limits: [ { name: tokens, window: 1000/1h, unit: tokens }, { name: pages, window: 1000/1h, unit: pages } ], costs: { pages: { default: 7 } } } }
routes: [ { backend: shop, group: erp, mode: deferred, costs: { tokens: json usage.ask } } ]\n`,
    );
    rigs.push(rig);
    const { body } = await rig.ask({ method: 'POST', body: JSON.stringify({ usage: { ask: 400 } }) });
    await rig.ended(id(body));
    const group = rig.admission.admission.group('erp');
    expect('reason' in group ? [] : group.limits.map(({ name, used }) => [name, used])).toEqual([
      ['tokens', 400],
      ['pages', 7],
    ]);
  });

  test('refuses an upgrade to websocket, which cannot be stored', async () => {
    const rig = await started('mode: deferred');
    const wire = await rig.wire();
    wire.write(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    expect(await wire.until((all) => all.includes('\r\n\r\n'))).toMatch(/^HTTP\/1.1 501 /);
  });
});

describe('a forward route with respondAsync', () => {
  test('stores a request at once for a caller that prefers it, says so, and forwards all others', async () => {
    const rig = await started('respondAsync: true', {}, '{ name: open, window: 100/1s }');
    const live = await rig.ask({ path: '/live' });
    expect([live.status, live.body]).toEqual([200, 'ok']);
    const stored = await rig.ask({ path: '/later', headers: { Prefer: 'respond-async' } });
    expect(stored.status).toBe(202);
    expect(stored.headers['preference-applied']).toBe('respond-async');
    expect(await rig.ended(id(stored.body))).toMatchObject({ state: 'done' });
  });

  test('forwards a request where the route does not allow it, whatever its caller prefers', async () => {
    const rig = await started('match: { path: "/*" }', {}, '{ name: open, window: 100/1s }');
    const answer = await rig.ask({ path: '/live', headers: { Prefer: 'respond-async' } });
    expect([answer.status, answer.headers['preference-applied']]).toEqual([200, undefined]);
  });
});
