import { afterEach, describe, expect, test } from 'vitest';
import { createAuth } from '../../src/api/auth.ts';
import { submitRoutesOf } from '../../src/api/deferred/submit-routes.ts';
import { engineProblem } from '../../src/api/problem.ts';
import { Rest } from '../../src/api/rest/handler.ts';
import { selectEngine } from '../../src/http/select-engine.ts';
import type { Respond } from '../support/fakes/recorder.ts';
import { type DeferredProxyOptions, DeferredProxyRig } from './proxy-rig.ts';

/* Plain HTTP over real deferred requests: real routes, service, store in memory, forwarding, and a backend on loopback. */

const CONFIG = `
backends: { shop: { urls: [ BACKEND ] } }
groups: { g: { limits: [ { name: slots, concurrency: 100 } ], priority: { classes: { urgent: 1 } } } }
routes:
  - { name: orders, match: { host: shop.example.com, path: '/orders/*' }, group: g, key: header x-tenant, backend: shop, mode: deferred, retry: { delays: [ 1s ] } }
  - { name: other, match: { path: '/*' }, group: g, backend: shop }
`;

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function start(
  options: DeferredProxyOptions = {},
): Promise<{ rig: DeferredProxyRig; ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> }> {
  const rig = await DeferredProxyRig.start(CONFIG, options);
  const onError = (error: unknown): void => {
    throw error;
  };
  const routes = submitRoutesOf(rig.routes.proxy);
  const deferred = { requests: rig.service, routes: () => routes, submitBytesMax: 16 << 20 };
  const rest = new Rest({ admission: rig.admission.admission, auth: createAuth([]), onError, operators: true, refusalOf: () => undefined, deferred });
  const { make } = await selectEngine('node', { clientCa: false });
  const engine = make(
    { bodyBytesMax: 16 << 20, receiveMsMax: 10_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem: engineProblem },
    (request, reply) => rest.handle(request, reply),
  );
  const { port } = await engine.listen('127.0.0.1', 0);
  opened.push(() => rig.stop());
  opened.push(() => engine.close(0));
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> => {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, ...sent, headers: { ...type, ...headers }, redirect: 'manual' });
    const text = await response.text();
    const isJson = /json$/.test(response.headers.get('content-type') ?? '') && !text.includes('}\n{');
    return { status: response.status, headers: response.headers, text, json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} };
  };
  return { rig, ask };
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

describe('plain HTTP over stored requests', () => {
  test('a request is stored, delivered as it was described, and its response read', async () => {
    const { rig, ask } = await start({ respond: answers(() => [201, 'made']) });
    const fields = { path: '/orders/7?a=1', method: 'PUT', headers: { 'X-Tenant': 'acme', 'X-Many': ['a', 'b'] }, body: 'hello' };
    const { status, json } = await ask('POST', '/v1/requests', fields, { 'Idempotency-Key': '"k"' });
    expect(status).toBe(202);
    const id = String(json['id']);
    const [seen] = await rig.seen(1);
    expect(seen).toMatchObject({ method: 'PUT', target: '/orders/7?a=1' });
    expect(seen?.body.toString()).toBe('hello');
    const fieldsSeen = Object.fromEntries((seen?.headers ?? []).map(([name, value]) => [name.toLowerCase(), value]));
    expect(fieldsSeen).toMatchObject({ host: 'shop.example.com', 'x-tenant': 'acme', 'idempotency-key': '"k"', 'sluice-attempt': '1', 'content-length': '5' });
    await rig.ended(id);
    const done = await ask('GET', `/v1/requests/${id}`);
    expect([done.status, done.headers.get('location'), done.json['state'], done.json['key']]).toEqual([303, `/v1/requests/${id}/response`, 'done', 'acme']);
    const response = await ask('GET', `/v1/requests/${id}/response`);
    expect([response.status, response.headers.get('x-made'), response.text]).toEqual([201, 'a', 'made']);
    expect((await ask('POST', '/v1/requests', fields, { 'Idempotency-Key': '"k"' })).json).toMatchObject({
      id,
      existing: true,
      expiresAt: expect.stringMatching(/Z$/),
    });
    expect((await ask('POST', '/v1/requests', { ...fields, body: 'other' }, { 'Idempotency-Key': '"k"' })).status).toBe(422);
  });

  test('a route that stores nothing takes no submission, nor does another host', async () => {
    const { ask } = await start();
    expect(await ask('POST', '/v1/requests', { path: '/else' })).toMatchObject({ status: 404, json: { reason: 'unknown_group' } });
    expect((await ask('POST', '/v1/requests', { path: '/orders/1', host: 'evil.example.com' })).status).toBe(404);
  });

  test('a dead letter is listed, explained with every attempt, and redriven', async () => {
    let healthy = false;
    const { rig, ask } = await start({ respond: answers(() => (healthy ? [200, 'ok'] : [500, 'broken'])) });
    const id = String((await ask('POST', '/v1/requests', { path: '/orders/1' })).json['id']);
    await rig.seen(1);
    await rig.pass(2);
    await rig.seen(2);
    await rig.ended(id);
    const { json } = await ask('GET', '/v1/requests?state=dead&group=g');
    expect(json['requests']).toMatchObject([{ id, state: 'dead', attempts: 2 }]);
    const shown = await ask('GET', `/v1/requests/${id}?response=state`);
    expect(shown.json['tries']).toMatchObject([
      { number: 1, status: 500, error: 'status_500', firstBytes: 'broken' },
      { number: 2, status: 500, error: 'status_500', firstBytes: 'broken' },
    ]);
    healthy = true;
    expect((await ask('POST', '/v1/requests/redrive', { group: 'g', max: 10 })).json).toEqual({ redriven: 1, nextPageToken: '' });
    expect(await rig.ended(id)).toMatchObject({ state: 'done' });
    expect((await ask('POST', `/v1/requests/${id}/redrive`, {})).status).toBe(409);
  });

  test('a batch is delivered; a cancelled request is not', async () => {
    const { rig, ask } = await start();
    const later = String((await ask('POST', '/v1/requests', { path: '/orders/later', notBefore: new Date(rig.nowMs + 60_000).toISOString() })).json['id']);
    const lines = [1, 2, 3].map((n) => JSON.stringify({ path: `/orders/${n}`, key: 'a' }));
    const batch = await ask('POST', '/v1/requests', `${lines.join('\n')}\n{}\n`, { 'Content-Type': 'application/x-ndjson' });
    expect(
      batch.text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { status: number }).status),
    ).toEqual([202, 202, 202, 400]);
    expect((await rig.seen(3)).map(({ target }) => target)).toEqual(['/orders/1', '/orders/2', '/orders/3']);
    expect((await ask('GET', `/v1/requests/${later}`)).json).toMatchObject({ state: 'pending', notBefore: expect.stringMatching(/Z$/) });
    expect((await ask('DELETE', `/v1/requests/${later}`)).json).toEqual({ cancelled: true, aborted: false });
    await rig.pass(120);
    expect(rig.backend.seen).toHaveLength(3);
    expect((await ask('GET', `/v1/requests/${later}`)).json).toMatchObject({ state: 'cancelled' });
  });
});

function answers(say: () => readonly [status: number, body: string]): Respond {
  return (_request, socket) => {
    const [status, body] = say();
    socket.write(`HTTP/1.1 ${status} Said\r\nX-Made: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };
}
