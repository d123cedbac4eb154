import { BlockList } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { callbackUrl, isRefusedAddress } from '../../src/deferred/callback-target.ts';
import { createCallbackTransport } from '../../src/deferred/callback-transport.ts';
import type { CallbackPolicy } from '../../src/deferred/deferred-route.ts';
import { MemoryDisk } from '../../src/deferred/stores/memory.ts';
import { beginVerification } from '../../src/deferred/verification.ts';
import { Recorder } from '../support/fakes/recorder.ts';
import { DeferredProxyRig, until } from './proxy-rig.ts';

const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

const KEY = Buffer.alloc(24, 3);
const ENV = { A: `whsec_${KEY.toString('base64')}` };

async function receiver(): Promise<Recorder> {
  const recorder = await Recorder.start();
  stops.push(() => recorder.stop());
  return recorder;
}

async function started(disk = new MemoryDisk(), more = ''): Promise<DeferredProxyRig> {
  const rig = await DeferredProxyRig.start(
    `backends: { shop: { urls: [ BACKEND ] } }
groups: { erp: { limits: [ { name: open, window: 100/1s } ] } }
routes: [ { backend: shop, group: erp, mode: deferred, callback: { hosts: [ 127.0.0.1, localhost ], http: true, addresses: [ 127.0.0.0/8 ], secrets: { env: A }, retry: { attempts: 3 } }${more} } ]\n`,
    { env: ENV, disk },
  );
  stops.push(() => rig.stop());
  return rig;
}

const idOf = (body: string): string => (JSON.parse(body) as { id: string }).id;
const answers =
  (status: number): Recorder['respond'] =>
  (_request, socket) =>
    void socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nok`);

async function state(rig: DeferredProxyRig, id: string): Promise<string> {
  return (await rig.ended(id)).callback;
}

describe('a callback', () => {
  test('reports the end with the answer, signed as Standard Webhooks, once it is on disk', async () => {
    const [rig, hook] = [await started(), await receiver()];
    rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 201 X\r\nX-Made: yes\r\nContent-Length: 4\r\n\r\nmade');
    const { status, body } = await rig.ask({ method: 'POST', path: '/a', headers: { 'Sluice-Callback': `${hook.url}/done?x=1` }, body: 'hi' });
    expect(status).toBe(202);
    const id = idOf(body);
    await until(() => hook.seen.some(({ whole }) => whole));
    const [seen] = hook.seen;
    expect([seen?.method, seen?.target]).toEqual(['POST', '/done?x=1']);
    const begun = beginVerification({ sender: 'standardWebhooks', keys: [KEY], toleranceMs: 5_000, hmac: undefined }, (seen?.headers ?? []).flat(), rig.nowMs);
    if (typeof begun === 'string') throw new Error(begun);
    begun.update(seen?.body ?? Buffer.alloc(0));
    expect(begun.passes()).toBe(true);
    const event = JSON.parse(seen?.body.toString() ?? '') as { type: string; data: { response: { headers: unknown[]; body: string } } };
    expect(event).toMatchObject({ type: 'request.done', data: { id, state: 'done', group: 'erp', attempts: 1, response: { status: 201, truncated: false } } });
    expect([Buffer.from(event.data.response.body, 'base64').toString(), event.data.response.headers]).toEqual([
      'made',
      expect.arrayContaining([['X-Made', 'yes']]),
    ]);
    await until(async () => (await state(rig, id)) === 'done');
    expect(rig.faults).toEqual([]);
  });

  test('reports a dead letter too, is sent again with the same id until it is taken, and spends no permit of the group', async () => {
    const [rig, hook] = [await started(), await receiver()];
    rig.backend.respond = answers(400);
    hook.respond = answers(500);
    const { body } = await rig.ask({ method: 'POST', headers: { 'Sluice-Callback': hook.url } });
    const id = idOf(body);
    await until(() => hook.seen.length === 1);
    await until(() => [...rig.disk.rows.values()].some(({ dueAt }) => dueAt > 0));
    hook.respond = answers(200);
    await rig.pass(6);
    await until(() => hook.seen.length === 2);
    await until(async () => (await state(rig, id)) === 'done');
    const ids = hook.seen.map(({ headers }) => headers.find(([name]) => name === 'webhook-id')?.[1]);
    expect([new Set(ids).size, JSON.parse(hook.seen[1]?.body.toString() ?? '')]).toEqual([1, expect.objectContaining({ type: 'request.dead' })]);
    expect(rig.backend.seen.length).toBe(1);
  });

  test('that is never taken is a dead letter of its own, and goes out again when it is redriven', async () => {
    const [rig, hook] = [await started(), await receiver()];
    hook.respond = answers(302);
    const { body } = await rig.ask({ method: 'POST', headers: { 'Sluice-Callback': hook.url } });
    const id = idOf(body);
    for (let n = 1; n <= 3; n++) {
      await until(() => hook.seen.length === n);
      if (n < 3) await until(() => [...rig.disk.rows.values()].some(({ attempts }) => attempts === n));
      await rig.pass(15);
    }
    await until(async () => (await state(rig, id)) === 'dead');
    const anyone = { caller: '', all: true, groups: undefined, key: undefined };
    const listed = await rig.service.list(
      anyone,
      { state: 'dead', group: 'erp', key: undefined, error: 'status_302', since: undefined, until: undefined },
      10,
      '',
    );
    if ('reason' in listed) throw new Error(listed.reason);
    hook.respond = answers(200);
    expect(await rig.service.redrive(anyone, listed.requests[0]?.id ?? '')).toBeUndefined();
    await until(async () => (await state(rig, id)) === 'done');
  });

  test('outlives a crash between the end and its sending (C6): it is in the commit of the end', async () => {
    const disk = new MemoryDisk();
    const [rig, hook] = [await started(disk), await receiver()];
    hook.respond = () => {};
    let together = false;
    const commit = rig.store.commit.bind(rig.store);
    rig.store.commit = (batch) => {
      const kinds = batch.map((change) => (change.kind === 'submit' && change.row.callbackOf !== 0 ? 'callback' : change.kind));
      if (kinds.includes('end')) together = kinds.includes('callback');
      return commit(batch);
    };
    await rig.ask({ method: 'POST', headers: { 'Sluice-Callback': hook.url } });
    await until(() => hook.seen.length === 1);
    expect([together, disk.rows.size, disk.ended.size]).toEqual([true, 1, 1]);
    // The process dies here: nothing is drained before another reads what is on its disk.
    hook.respond = answers(200);
    await started(disk);
    await until(() => hook.seen.length === 2);
    await until(() => disk.rows.size === 0);
    expect(new Set(hook.seen.map(({ headers }) => headers.find(([name]) => name === 'webhook-id')?.[1])).size).toBe(1);
  });

  test('is stored with its end while the store is full for submits', async () => {
    const [rig, hook] = [await started(), await receiver()];
    let release = (): void => {};
    rig.backend.respond = (_request, socket) => {
      release = () => socket.write('HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n');
    };
    const { body } = await rig.ask({ method: 'POST', headers: { 'Sluice-Callback': hook.url } });
    await rig.seen(1);
    Object.defineProperty(rig.store, 'space', { value: { bytes: 1, bytesMax: 1 } });
    release();
    await until(() => hook.seen.length === 1);
    await until(async () => (await state(rig, idOf(body))) === 'done');
  });

  test('to a host that the route does not allow, or where none is allowed, is refused before the request is stored', async () => {
    const rig = await started();
    const send = async (url: string) => (await rig.ask({ method: 'POST', headers: { 'Sluice-Callback': url } })).status;
    expect([
      await send('http://elsewhere.example/'),
      await send('ftp://localhost/'),
      await send('http://user:pass@localhost/'),
      await send('nonsense'),
    ]).toEqual([403, 400, 400, 400]);
    expect(rig.disk.rows.size + rig.disk.ended.size).toBe(0);
  });
});

const policy = (more: Partial<CallbackPolicy> = {}): CallbackPolicy => ({
  hosts: ['*'],
  plainHttp: true,
  addresses: new BlockList(),
  sign: () => [],
  timeoutMs: 1_000,
  retry: { forMs: 0, firstMs: 1, maxMs: 1, delaysMs: undefined, attemptsMax: undefined },
  ...more,
});

describe('a target', () => {
  test('that is a private address, in any way of writing one, is refused', () => {
    const refused = [
      '127.0.0.1',
      '2130706433',
      '0x7f.1',
      '0177.0.0.1',
      '127.1',
      '10.1.2.3',
      '172.31.0.1',
      '192.168.0.1',
      '100.64.0.1',
      '169.254.169.254',
      '0.0.0.0',
      '224.0.0.1',
      '255.255.255.255',
    ];
    const sixes = [
      '::',
      '::1',
      '::ffff:10.0.0.1',
      '::10.0.0.1',
      '64:ff9b::a00:1',
      '2002:a00:1::',
      '2001:0:4136:e378::',
      'fc00::1',
      'fd00:ec2::254',
      'fe80::1',
      'ff02::1',
      '2001:db8::1',
    ];
    for (const host of [...refused, ...sixes.map((each) => `[${each}]`)])
      expect([host, callbackUrl(`http://${host}/`, policy())]).toEqual([host, expect.objectContaining({ reason: 'forbidden' })]);
    for (const host of ['93.184.215.14', '172.32.0.1', '100.128.0.1', '[2606:4700::1111]'])
      expect(callbackUrl(`http://${host}/`, policy())).toBeInstanceOf(URL);
    const allowed = new BlockList();
    allowed.addSubnet('10.1.0.0', 16);
    expect([isRefusedAddress('10.1.2.3', allowed), isRefusedAddress('10.2.2.3', allowed), isRefusedAddress('fe80::1%eth0', allowed)]).toEqual([
      false,
      true,
      true,
    ]);
  });

  test('is a host of the route: a name, names below it, with a port only where it counts', () => {
    const fits = (hosts: readonly string[], url: string) => callbackUrl(url, policy({ hosts })) instanceof URL;
    expect(fits(['hooks.example.com'], 'https://hooks.example.com:8443/a')).toBe(true);
    expect(fits(['hooks.example.com'], 'https://HOOKS.example.com./a')).toBe(true);
    expect(fits(['hooks.example.com'], 'https://a.hooks.example.com/')).toBe(false);
    expect(fits(['*.example.com'], 'https://a.b.example.com/')).toBe(true);
    expect(fits(['*.example.com'], 'https://example.com/')).toBe(false);
    expect(fits(['*.example.com'], 'https://badexample.com/')).toBe(false);
    expect([fits(['a.example:8443'], 'https://a.example:8443/'), fits(['a.example:8443'], 'https://a.example/')]).toEqual([true, false]);
    expect(callbackUrl('http://a.example/', policy({ plainHttp: false }))).toMatchObject({ reason: 'forbidden' });
    expect(callbackUrl('https://a.example/', undefined)).toMatchObject({ reason: 'forbidden' });
  });

  test('is resolved once, refused if any of its addresses is private, and that address is dialled', async () => {
    const hook = await receiver();
    const port = new URL(hook.url).port;
    const asked: string[] = [];
    const found = [{ address: '127.0.0.1', family: 4 }];
    const transport = createCallbackTransport((hostname) => {
      asked.push(hostname);
      return Promise.resolve(found);
    });
    const loopback = new BlockList();
    loopback.addSubnet('127.0.0.0', 8);
    const ask = {
      url: new URL(`http://hooks.example:${port}/in`),
      headers: [],
      body: Buffer.from('{}'),
      addresses: loopback,
      signal: new AbortController().signal,
    };
    expect((await transport(ask)).outcome).toEqual({ kind: 'answered', status: 200, retryAfterMs: undefined });
    expect([asked, hook.seen[0]?.headers.find(([name]) => name === 'Host')?.[1]]).toEqual([['hooks.example'], `hooks.example:${port}`]);
    found.unshift({ address: '93.184.215.14', family: 4 });
    found.push({ address: '10.0.0.1', family: 4 });
    expect((await transport(ask)).outcome).toEqual({ kind: 'failed', error: 'private_address' });
    expect((await transport({ ...ask, addresses: new BlockList() })).outcome).toEqual({ kind: 'failed', error: 'private_address' });
    expect(hook.seen.length).toBe(1);
  });

  test('that answers without end is read no further than what an attempt shows, and one that never answers ends with its time', async () => {
    const hook = await receiver();
    hook.respond = (_request, socket) => void socket.write(`HTTP/1.1 200 X\r\n\r\n${'x'.repeat(100_000)}`);
    const loopback = new BlockList();
    loopback.addSubnet('127.0.0.0', 8);
    const over = new AbortController();
    const ask = { url: new URL(hook.url), headers: [], body: Buffer.from('{}'), addresses: loopback, signal: over.signal };
    expect((await createCallbackTransport()(ask)).firstBytes.byteLength).toBe(256);
    hook.respond = () => over.abort();
    expect((await createCallbackTransport()(ask)).outcome).toEqual({ kind: 'failed', error: 'timeout' });
  });
});
