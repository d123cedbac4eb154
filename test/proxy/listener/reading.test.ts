import { connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type DeferredServer, keyFor, startDeferred } from '../../api/deferred/server.ts';

/* Deferred requests read on the proxy, at `/.sluice/requests/`. */

let server: DeferredServer;
afterEach(() => server.stop());

const RESPONSE = { status: 200, headers: ['Content-Type', 'text/html', 'Set-Cookie', 's=1', 'X-Made', 'a'], body: Buffer.from('<p>made'), truncated: false };

async function read(path: string, init: RequestInit = {}): Promise<{ status: number; headers: Headers; text: string }> {
  const response = await fetch(server.proxy + path, { redirect: 'manual', ...init });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

async function ticket(caller?: string): Promise<string> {
  const headers = { 'Content-Type': 'application/json', ...(caller && { Authorization: `Bearer ${caller}` }) };
  const answer = await fetch(`${server.api}/v1/requests`, { method: 'POST', headers, body: '{"path":"/erp/1"}' });
  return ((await answer.json()) as { id: string }).id;
}

describe('the own path of the proxy', () => {
  test('shows a request, waits for its end, and redirects to its response there', async () => {
    server = await startDeferred();
    const id = await ticket();
    const pending = await read(`/.sluice/requests/${id}`);
    expect([pending.status, pending.headers.get('retry-after'), (JSON.parse(pending.text) as { state: string }).state]).toEqual([200, '1', 'pending']);
    const waits = read(`/.sluice/requests/${id}`, { headers: { Prefer: 'wait=30' } });
    await expect.poll(() => server.requests.waiting).toBe(1);
    server.requests.change(id, { state: 'done', attempts: 1, response: RESPONSE });
    const done = await waits;
    expect([done.status, done.headers.get('location'), done.headers.get('preference-applied')]).toEqual([303, `/.sluice/requests/${id}/response`, 'wait=30']);
    const response = await read(`/.sluice/requests/${id}/response`);
    // The address is the backend's own to its callers.
    expect([response.status, response.text, response.headers.get('set-cookie'), response.headers.get('content-security-policy')]).toEqual([
      200,
      '<p>made',
      's=1',
      null,
    ]);
  });

  test.each([
    ['/.sluice/requests/', 404],
    ['/.sluice/requests/1-0', 404],
    ['/.sluice/requests/1-0/cancel', 404],
    ['/.sluice/requests/%ff', 404],
    ['/.sluice/other', 404],
  ])('answers %s with %i', async (path, status) => {
    server = await startDeferred();
    const answered = await read(path);
    expect([answered.status, answered.headers.get('content-type')]).toEqual([status, 'application/problem+json']);
  });

  test('takes GET and HEAD without a body only, and serves on on the same connection', async () => {
    server = await startDeferred();
    const id = await ticket();
    expect((await read(`/.sluice/requests/${id}`, { method: 'DELETE' })).status).toBe(405);
    expect((await read(`/.sluice/requests/${id}`, { method: 'POST', body: 'x' })).headers.get('allow')).toBe('GET, HEAD');
    const socket = connect(Number(new URL(server.proxy).port), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const head = `HEAD /.sluice/requests/${id} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const get = `GET /.sluice/requests/${id} HTTP/1.1\r\nHost: a\r\n\r\n`;
    socket.write(head + get + get);
    await expect.poll(() => text.split('HTTP/1.1 200').length).toBe(4);
    expect(text.split('"state":"pending"').length).toBe(3);
    socket.destroy();
  });

  test('a caller that leaves ends its wait; a drain answers those who wait', async () => {
    server = await startDeferred();
    const id = await ticket();
    const left = new AbortController();
    const gone = read(`/.sluice/requests/${id}`, { headers: { Prefer: 'wait=60' }, signal: left.signal }).catch(() => 'left');
    await expect.poll(() => server.requests.waiting).toBe(1);
    left.abort();
    expect(await gone).toBe('left');
    await expect.poll(() => server.requests.waiting).toBe(0);
    const waits = read(`/.sluice/requests/${id}`, { headers: { Prefer: 'wait=60' } });
    await expect.poll(() => server.requests.waiting).toBe(1);
    await server.stop(10_000);
    expect((await waits).status).toBe(200);
  });

  test('with credentials a caller sees what its own submitted, and without one what was submitted without', async () => {
    server = await startDeferred({ keys: [keyFor('one', {}), keyFor('two', {}), keyFor('boss', { can: ['read'] })] });
    const id = await ticket('one');
    const as = async (name?: string): Promise<number> =>
      (await read(`/.sluice/requests/${id}`, { headers: name === undefined ? {} : { 'Sluice-Authorization': `Bearer ${name}` } })).status;
    expect([await as('one'), await as('two'), await as('boss'), await as(), await as('nobody')]).toEqual([200, 404, 200, 404, 401]);
    // As a route of the proxy stores it for a caller without a credential.
    const found = server.requests.all[0];
    if (found !== undefined) Object.assign(found.submission, { caller: '' });
    expect([await as('one'), await as()]).toEqual([404, 200]);
  });
});
