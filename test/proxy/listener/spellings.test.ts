import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Limits and the spellings of what they guard, through a whole server, with the routes of docs/forward.md and one for all else behind them. */

const ROUTES = `backends: { shop: { urls: [ BACKEND ] } }
groups:
  resource: { limits: [ { name: hour, window: 1/1h } ], ttl: { default: 0s } }
  llm: { limits: [ { name: hour, window: 1/1h } ], ttl: { default: 0s } }
routes:
  - { match: { host: api.example.com, path: '/resource/{id}', methods: [ GET, POST ] }, group: resource, backend: shop }
  - { match: { path: '/llm/*' }, group: llm, backend: shop }
  - { match: { path: '/*' }, backend: shop }
`;

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(ROUTES);
  await rig.ask({ path: '/resource/5', headers: { host: 'api.example.com' } });
  await rig.ask({ path: '/llm/x' });
});
afterAll(() => rig.stop());

/** The status of a request written as it is. */
async function statusOf(head: string): Promise<number> {
  const wire = await rig.wire();
  wire.write(`${head}\r\nConnection: close\r\n\r\n`);
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(await wire.untilClosed())?.[1]);
}

const LIMITED = [
  'GET /resource/5',
  'GET /resource/5/',
  'GET /RESOURCE/5',
  'HEAD /resource/5',
  'POST /resource/5',
  'GET /%72esource/5',
  'GET /resource//5',
  'GET /llm',
  'GET /llm/y',
  'GET /LLM/y',
  'GET /llm/x;y',
];
test.each(LIMITED)('%s is held to the limit', async (line) => {
  expect(await statusOf(`${line} HTTP/1.1\r\nHost: api.example.com`)).toBe(429);
});

const AMBIGUOUS = [
  '/resource/5;x=1',
  '/resource%2F5',
  '/resource\\5',
  '/resource/5%00',
  '/llm/../x',
  '/llm/%2e%2e/x',
  '/x/..;/llm/x',
  '//h/llm/x',
  '/x\\..\\llm\\x',
];
test.each(AMBIGUOUS)('GET %s is refused, and the backend sees nothing', async (path) => {
  const before = rig.backend.seen.length;
  expect(await statusOf(`GET ${path} HTTP/1.1\r\nHost: api.example.com`)).toBe(400);
  expect(rig.backend.seen.length).toBe(before);
});

const HOSTS = ['api.example.com', 'API.EXAMPLE.COM', 'api.example.com.', 'api.example.com:80', 'api.example.com:', 'api.example.com.:8000'];
test.each(HOSTS)('the Host %s is held to the limit', async (host) => {
  expect(await statusOf(`GET /resource/5 HTTP/1.1\r\nHost: ${host}`)).toBe(429);
  expect(await statusOf(`GET http://${host}/resource/5 HTTP/1.1\r\nHost: ${host}`)).toBe(429);
});

const NO_HOSTS = [
  'user@api.example.com',
  'api.example.com..',
  '.api.example.com',
  'api.example.com:x',
  'api.example.com:99999',
  'api.example.com/x',
  'api%2eexample.com',
];
test.each(NO_HOSTS)('the Host %s is refused', async (host) => {
  expect(await statusOf(`GET /resource/5 HTTP/1.1\r\nHost: ${host}`)).toBe(400);
});

test('a websocket by another spelling is held to the limit or refused', async () => {
  const upgrade = 'HTTP/1.1\r\nHost: api.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade';
  for (const [path, status] of [
    ['/resource/5/', 429],
    ['/LLM/x', 429],
    ['/llm/../x', 400],
    ['/resource%2F5', 400],
  ] as const) {
    const wire = await rig.wire();
    wire.write(`GET ${path} ${upgrade}\r\n\r\n`);
    expect(await wire.until((received) => received.includes('\r\n\r\n')), path).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  }
});

test('with case and slash exact, and ambiguous paths matched, RFC 3986 alone counts', async () => {
  const strict = await proxyRig(
    `http: { engine: node, ambiguousPaths: match }\n${ROUTES.replace("path: '/llm/*'", "path: '/llm/*', case: exact, slash: exact")}`,
  );
  try {
    expect((await strict.ask({ path: '/llm/x' })).status).toBe(200);
    for (const path of ['/LLM/x', '/llm', '/llm%2Fx', '/x;y']) expect((await strict.ask({ path })).status, path).toBe(200);
    for (const path of ['/llm/', '/x/../llm/x']) expect((await strict.ask({ path })).status, path).toBe(429);
  } finally {
    await strict.stop();
  }
});
