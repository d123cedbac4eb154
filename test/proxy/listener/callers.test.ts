import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Who calls, under whose key; routes that change; costs from bodies; backends that push back. */

let rig: ProxyRig;
afterEach(() => rig?.stop());

const hash = (key: string) => createHash('sha256').update(key).digest('hex');
const bearer = (key: string) => ({ 'sluice-authorization': `Bearer ${key}` });
const NOW = { prefer: 'wait=0' };

describe('credentials', () => {
  const CONFIG = `auth: { keys: [ { name: acme, sha256: ${hash('k-acme')}, groups: [ keyed ] }, { name: other, sha256: ${hash('k-other')}, groups: [ elsewhere ] } ] }
backends: { shop: { urls: [ BACKEND ] } }
groups: { keyed: { limits: [ { name: one, spacing: 1h, scope: key } ] }, elsewhere: {} }
routes:
  - { match: { path: /keyed }, group: keyed, key: caller, backend: shop }
  - { match: { path: /open }, group: keyed, backend: shop }
`;

  test('are demanded where the key is the caller, held to what they may name, and never sent on', async () => {
    rig = await proxyRig(CONFIG);
    expect(await rig.ask({ path: '/keyed' })).toMatchObject({ status: 401, headers: { 'sluice-reason': 'unauthenticated' } });
    expect(await rig.ask({ path: '/keyed', headers: bearer('wrong') })).toMatchObject({ status: 401 });
    expect(await rig.ask({ path: '/keyed', headers: { authorization: 'Bearer k-acme' } })).toMatchObject({ status: 401 });
    expect(await rig.ask({ path: '/keyed', headers: bearer('k-other') })).toMatchObject({ status: 403, headers: { 'sluice-reason': 'forbidden' } });
    expect(rig.backend.seen).toEqual([]);
    expect(await rig.ask({ path: '/keyed', headers: { ...bearer('k-acme'), authorization: 'Bearer of-the-backend' } })).toMatchObject({ status: 200 });
    expect(rig.backend.seen[0]?.head).toContain('authorization: Bearer of-the-backend');
    expect(rig.backend.seen[0]?.head).not.toContain('k-acme');
    expect(await rig.ask({ path: '/keyed', headers: { ...bearer('k-acme'), ...NOW } })).toMatchObject({ status: 429 });
  });

  test('are not needed elsewhere; one that is shown and unknown is refused', async () => {
    rig = await proxyRig(CONFIG);
    expect(await rig.ask({ path: '/open' })).toMatchObject({ status: 200 });
    expect(await rig.ask({ path: '/open', headers: bearer('wrong') })).toMatchObject({ status: 401 });
  });
});

test('keys come from a header, the path, the query and the address, each with a limit of its own', async () => {
  rig = await proxyRig(`backends: { shop: { urls: [ BACKEND ] } }
groups: { keyed: { limits: [ { name: one, spacing: 1h, scope: key } ] } }
routes:
  - { match: { path: '/p/{tenant}' }, group: keyed, key: path tenant, backend: shop }
  - { match: { path: /q }, group: keyed, key: query t, backend: shop }
  - { match: { path: /ip }, group: keyed, key: client-ip, backend: shop, trustedProxies: [ 127.0.0.0/8 ] }
  - { match: { path: /h }, group: keyed, key: header X-T, backend: shop }
`);
  const status = async (path: string, headers: Readonly<Record<string, string>> = {}) => (await rig.ask({ path, headers: { ...headers, ...NOW } })).status;
  expect([await status('/p/a'), await status('/p/%61'), await status('/p/b')]).toEqual([200, 429, 200]);
  expect([await status('/q?t=c'), await status('/q?x=1&t=c&t=d'), await status('/q?t=d')]).toEqual([200, 429, 200]);
  expect([await status('/ip', { 'x-forwarded-for': '5.5.5.5' }), await status('/ip', { 'x-forwarded-for': '6.6.6.6, 5.5.5.5' }), await status('/ip')]).toEqual([
    200, 429, 200,
  ]);
  expect([await status('/h', { 'x-t': 'e' }), await status('/h', { 'X-T': 'e' }), await status('/h', { 'x-t': 'f' })]).toEqual([200, 429, 200]);
});

test('tokens are asked for by the body and settled by the answer, plain and as events', async () => {
  let plain = true;
  rig = await proxyRig(
    `backends: { llm: { urls: [ BACKEND ] } }
groups: { llm: { limits: [ { name: tpm, window: 1000/1h, unit: tokens } ], ttl: { default: 0 } } }
routes: [ { match: { path: /v1/chat/* }, group: llm, costs: { tokens: { ask: json max_tokens, default: 900, settle: json usage.total_tokens } }, backend: llm } ]
`,
    (_request, socket) => {
      const json = '{"usage":{"total_tokens":100}}';
      const body = plain ? json : `data: {"delta":"x"}\n\ndata: ${json}\n\ndata: [DONE]\n\n`;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${plain ? 'application/json' : 'text/event-stream'}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    },
  );
  const chat = (body: string) => rig.ask({ method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body });
  const used = async (): Promise<number> => Number((await rig.group('llm')).limits[0]?.used);
  expect((await chat('{"max_tokens":800}')).status).toBe(200);
  expect(await used()).toBe(100);
  plain = false;
  expect((await chat('{"max_tokens":800}')).status).toBe(200);
  expect(await used()).toBe(200);
  expect((await chat('{"max_tokens":2000}')).status).toBe(400);
  expect((await chat('{"max_tokens":801}')).status).toBe(429);
  expect((await chat('{"nothing":1}')).status).toBe(429);
  expect(await used()).toBe(200);
});

test('a backend that pushes back is given its pause, and the request is sent again', async () => {
  let times = 0;
  rig = await proxyRig(
    `backends: { shop: { urls: [ BACKEND ] } }\ngroups: { a: {} }\nroutes: [ { match: { path: /* }, group: a, backend: shop } ]\n`,
    (_request, socket) => {
      if (++times === 1) socket.write('HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno');
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    },
  );
  const answer = await rig.ask();
  expect(answer).toMatchObject({ status: 200, headers: { 'sluice-attempts': '2' } });
  expect(answer.took).toBeGreaterThan(990);
  const metrics = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  expect(metrics).toContain('sluice_forward_attempts_total{backend="shop",outcome="answered"} 2');
  expect(metrics).toContain('sluice_forward_pushbacks_total{backend="shop",replayed="true"} 1');
  expect(metrics).toContain('sluice_forward_seconds_count{backend="shop"} 2');
  expect(rig.backend.seen.map(({ headers }) => headers.find(([name]) => name === 'Sluice-Attempt')?.[1])).toEqual(['1', '2']);
});
