import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Submission } from '../../../src/deferred/deferred.ts';
import { type DeferredServer, startDeferred } from '../deferred/server.ts';

/* Many requests in one call: NDJSON, an answer a line. */

let server: DeferredServer;

beforeEach(async () => {
  server = await startDeferred();
});
afterEach(() => server.stop());

interface LineAnswer {
  readonly line: number;
  readonly status: number;
  readonly id?: string;
  readonly problem?: { readonly reason: string; readonly detail: string };
}

async function batch(
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<{ status: number; type: string; lines: LineAnswer[]; text: string }> {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson', ...headers }, body: typeof body === 'string' ? body : Buffer.from(body) };
  const response = await fetch(`${server.api}/v1/requests`, init);
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  const lines =
    type === 'application/x-ndjson'
      ? text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as LineAnswer)
      : [];
  return { status: response.status, type, lines, text };
}

const line = (n: number, more: object = {}) => JSON.stringify({ path: `/erp/${n}`, ...more });
const targets = () => server.requests.all.map(({ submission }) => submission.target);

/** Lets submissions end by hand. */
function held(): { readonly targets: string[]; release(target: string): void; all(): void } {
  const waiting = new Map<string, () => void>();
  const seen: string[] = [];
  server.requests.hold = ({ target }: Submission) =>
    new Promise((resolve) => {
      seen.push(target);
      waiting.set(target, resolve);
    });
  return {
    targets: seen,
    release: (target) => waiting.get(target)?.(),
    all: () => {
      server.requests.hold = undefined;
      for (const resolve of waiting.values()) resolve();
    },
  };
}

describe('a batch of requests', () => {
  test('answers a line for each, in their order, and stores them in it', async () => {
    const { status, lines, text } = await batch([line(1), line(2), '', '  \r', `${line(3)}\r`].join('\n'));
    expect([status, text.endsWith('}\n')]).toEqual([200, true]);
    expect(lines).toEqual(
      [1, 2, 5].map((number) => ({ line: number, status: 202, id: expect.any(String), existing: false, location: expect.stringMatching(/^\/v1\/requests\//) })),
    );
    expect(targets()).toEqual(['/erp/1', '/erp/2', '/erp/3']);
  });

  test('a line that fails does so alone', async () => {
    server.requests.script = ({ target }) => (target === '/erp/5' ? { reason: 'unstored' } : undefined);
    const lines = [
      line(1),
      '{"path":',
      '[]',
      line(4, { colour: 1 }),
      line(5),
      line(6, { idempotencyKey: 'k' }),
      line(7, { idempotencyKey: 'k' }),
      line(8, { route: 'none' }),
      line(9),
    ];
    const bytes = Buffer.concat([Buffer.from(`${lines.join('\n')}\n`), Buffer.from([0x7b, 0xff, 0x7d, 0x0a])]);
    const answered = await batch(bytes);
    expect(answered.lines.map(({ line: number, status, problem }) => [number, status, problem?.reason])).toEqual([
      [1, 202, undefined],
      [2, 400, 'malformed'],
      [3, 400, 'malformed'],
      [4, 400, 'malformed'],
      [5, 503, 'unstored'],
      [6, 202, undefined],
      [7, 422, 'conflict'],
      [8, 404, 'unknown_group'],
      [9, 202, undefined],
      [10, 400, 'malformed'],
    ]);
  });

  test.each([
    ['nothing', '', 400, 'malformed'],
    ['empty lines', '\n \n', 400, 'malformed'],
    ['10,001 lines', '{}\n'.repeat(10_001), 413, 'too_large'],
    ['17 MiB', ' '.repeat(17 << 20), 413, 'too_large'],
  ])('of %s is refused whole', async (_name, body, status, reason) => {
    const answered = await batch(body);
    expect([answered.status, (JSON.parse(answered.text) as { reason: string }).reason]).toEqual([status, reason]);
    expect(server.requests.all).toEqual([]);
  });

  test('has no Idempotency-Key of its own', async () => {
    expect((await batch(line(1), { 'Idempotency-Key': '"a"' })).status).toBe(400);
  });

  test('a line above 2 MiB fails alone, one just below does not', async () => {
    const { lines } = await batch([line(1, { body: 'x'.repeat((2 << 20) + 1) }), line(2, { body: 'x'.repeat((2 << 20) - 100) }), line(3)].join('\n'));
    expect(lines.map(({ status }) => status)).toEqual([413, 202, 202]);
  });

  test('has at most 256 requests on their way to the store', async () => {
    const { lines } = await batch(Array.from({ length: 1_000 }, (_, n) => line(n)).join('\n'));
    expect([lines.length, lines.every(({ status }) => status === 202)]).toEqual([1_000, true]);
    const gate = held();
    const answered = batch(Array.from({ length: 300 }, (_, n) => line(n)).join('\n'));
    await expect.poll(() => gate.targets.length).toBe(256);
    gate.release('/erp/0');
    await expect.poll(() => gate.targets.length).toBe(257);
    gate.all();
    expect((await answered).lines).toHaveLength(300);
    expect(server.requests.underWayMax).toBe(256);
  });

  test('answers what is stored while others are still on their way, and in order', async () => {
    const gate = held();
    const port = Number(new URL(server.api).port);
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const body = [line(1), line(2), line(3)].join('\n');
    socket.write(`POST /v1/requests HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await expect.poll(() => gate.targets.length).toBe(3);
    gate.release('/erp/2');
    gate.release('/erp/1');
    await expect.poll(() => [...text.matchAll(/"line":(\d)/g)].map(([, n]) => n)).toEqual(['1', '2']);
    gate.all();
    await expect.poll(() => text.endsWith('0\r\n\r\n')).toBe(true);
    socket.destroy();
  });

  test('a request with a large body is stored by itself, so that none behind it overtakes it', async () => {
    const gate = held();
    const answered = batch([line(1), line(2, { body: 'x'.repeat(70_000) }), line(3)].join('\n'));
    await expect.poll(() => gate.targets).toEqual(['/erp/1']);
    gate.release('/erp/1');
    await expect.poll(() => gate.targets).toEqual(['/erp/1', '/erp/2']);
    gate.release('/erp/2');
    await expect.poll(() => gate.targets).toEqual(['/erp/1', '/erp/2', '/erp/3']);
    gate.all();
    expect((await answered).lines).toHaveLength(3);
  });

  test('what was not yet taken when its caller leaves is dropped', async () => {
    const gate = held();
    const left = new AbortController();
    const body = Array.from({ length: 300 }, (_, n) => line(n)).join('\n');
    const answered = fetch(`${server.api}/v1/requests`, { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' }, body, signal: left.signal });
    await answered.then(() => undefined);
    await expect.poll(() => gate.targets.length).toBe(256);
    left.abort();
    // Its answers find no reader from now on.
    await expect.poll(async () => fetch(`${server.api}/v1/requests/none`).then(({ status }) => status)).toBe(404);
    gate.all();
    await expect.poll(() => server.requests.underWay).toBe(0);
    expect(server.requests.all).toHaveLength(256);
  });
});
