import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';

function load(text: string): Config | readonly string[] {
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  return loaded.kind === 'config' ? loaded.config : loaded.mistakes.map(formatError);
}

function read(text: string): Config {
  const config = load(text);
  if (!('groups' in config)) throw new Error(config.join('\n'));
  return config;
}

const BASE =
  'listen: { proxy: 8000 }\nbackends: { shop: { urls: [ http://10.0.0.1:7780 ] } }\ngroups: { erp: { limits: [ { name: l, window: 9/1s, unit: t } ], priority: { classes: { production: 1 } } } }\n';

/** The mistakes of a file whose route is on line 4. */
function mistakes(route: string): readonly string[] {
  const config = load(`${BASE}routes: [ ${route} ]\n`);
  return 'groups' in config ? [] : config;
}

test('a backend that says nothing but where it is has every default of docs/semantics.md', () => {
  expect(read(`${BASE}routes: [ { backend: shop } ]`).backends.get('shop')).toEqual({
    urls: ['http://10.0.0.1:7780'],
    timeout: { connect: 2 * SECOND, firstByte: 60 * SECOND, idle: 60 * SECOND },
    concurrency: undefined,
    queue: { requests: 10_000, wait: 30 * SECOND },
    onAbort: 'cancel',
    ca: undefined,
    resolve: 30 * SECOND,
    ejection: { failures: 5, for: 10 * SECOND },
  });
});

test('a route that says nothing but its backend takes every request, and lets it straight through', () => {
  expect(read(`${BASE}routes: [ { backend: shop } ]`).routes).toMatchObject([
    {
      match: { host: undefined, path: undefined, case: undefined, slash: undefined, methods: undefined, header: new Map() },
      backend: 'shop',
      group: undefined,
      key: undefined,
      class: undefined,
      costs: new Map(),
      body: { max: 64 * 2 ** 20, memory: 2 ** 16, receive: 5 * MINUTE, rate: 256 },
      charge: 'body',
      attempts: 3,
      trustedProxies: [],
      refusal: undefined,
      mode: 'forward',
      respondAsync: false,
    },
  ]);
});

test('the routes of docs/semantics.md are read', () => {
  const { routes } = read(
    `listen: { proxy: 8000 }
backends:
  shop: { urls: [ http://10.0.0.1:7780, http://10.0.0.2:7780 ], timeout: { connect: 2s, firstByte: 60s, idle: 60s }, concurrency: 20, onAbort: finish }
  llm: { urls: [ "https://api.example.com" ], ca: ca.pem }
groups:
  resource: { limits: [ { name: tpm, window: 100/60s, unit: tokens } ], priority: { classes: { production: 1 } } }
  llm: { limits: [ { name: tpm, window: 100/60s, unit: tokens } ] }
routes:
  - { match: { host: API.example.com, path: '/resource/{id}', methods: [ GET, POST ] }, group: resource, key: header X-Tenant, class: header X-Group, backend: shop }
  - { match: { path: '/v1/chat/*' }, group: llm, key: caller, costs: { tokens: { ask: json max_tokens, default: 2000, settle: json usage.total_tokens } }, backend: llm }
  - { match: { header: { X-Kind: "*" } }, group: resource, key: path id, class: production, costs: { tokens: 4 }, backend: shop, trustedProxies: [ 10.0.0.0/8, "fd00::/8", 127.0.0.1 ] }
`.replace('key: path id', 'key: client-ip'),
  );
  expect(routes[0]).toMatchObject({
    match: { host: 'api.example.com', path: '/resource/{id}', methods: ['GET', 'POST'] },
    key: { from: 'header', name: 'x-tenant' },
    class: { from: 'header', name: 'x-group' },
  });
  expect(routes[1]?.costs.get('tokens')).toEqual({ ask: { from: 'json', path: ['max_tokens'] }, default: 2000, settle: ['usage', 'total_tokens'] });
  expect(routes[2]).toMatchObject({
    key: { from: 'client_ip' },
    class: { from: 'value', value: 'production' },
    trustedProxies: [
      { address: '10.0.0.0', bits: 8, family: 'ipv4' },
      { address: 'fd00::', bits: 8, family: 'ipv6' },
      { address: '127.0.0.1', bits: 32, family: 'ipv4' },
    ],
  });
  expect(routes[2]?.costs.get('tokens')?.ask).toEqual({ from: 'value', value: 4 });
});

describe('a route is refused, with its place:', () => {
  const cases: readonly (readonly [name: string, route: string, says: string])[] = [
    ['an unknown backend', '{ backend: shp }', 'routes[0].backend: there is no backend "shp". Did you mean shop?'],
    ['no backend', '{ group: erp }', 'routes[0]: backend is missing'],
    ['an unknown group', '{ backend: shop, group: erq }', 'routes[0].group: there is no group "erq". Did you mean erp?'],
    ['an unknown class', '{ backend: shop, group: erp, class: staging }', 'routes[0].class: there is no class "staging"'],
    ['a key without a group', '{ backend: shop, key: caller }', 'routes[0].key: key has no meaning without a group'],
    ['costs without a group', '{ backend: shop, costs: { tokens: 1 } }', 'routes[0].costs: costs have no meaning without a group'],
    ['a key from nowhere', '{ backend: shop, group: erp, key: cookie x }', 'routes[0].key: "cookie x" says of nothing where it is'],
    ['a key that is no key', '{ backend: shop, group: erp, key: value a b }', 'routes[0].key: "value a b" says of nothing where it is'],
    ['a header that frames', '{ backend: shop, dropHeaders: [ Host ] }', 'routes[0].dropHeaders[0]: "Host" is not a header that can be dropped'],
    ['every header', '{ backend: shop, dropHeaders: [ "*" ] }', 'routes[0].dropHeaders[0]: "*" is not a header that can be dropped'],
    ['a name that the path does not have', '{ backend: shop, group: erp, key: path id, match: { path: /a } }', 'routes[0].key: match.path has no {id}'],
    ['a relative path', '{ backend: shop, match: { path: a/b } }', 'routes[0].match.path: "a/b" is not a path pattern'],
    ['a path with a query', '{ backend: shop, match: { path: "/a?b" } }', 'is not a path pattern'],
    ['a name in half a segment', '{ backend: shop, match: { path: "/a{b}" } }', 'is not a path pattern'],
    ['a name twice', '{ backend: shop, match: { path: "/{a}/{a}" } }', 'is not a path pattern'],
    ['a method in small letters', '{ backend: shop, match: { methods: [ get ] } }', 'routes[0].match.methods[0]: "get" is not a method'],
    ['CONNECT', '{ backend: shop, match: { methods: [ CONNECT ] } }', '"CONNECT" is not a method'],
    ['a host with a path', '{ backend: shop, match: { host: a/b } }', 'routes[0].match.host: "a/b" is not a host'],
    ['a range that is none', '{ backend: shop, trustedProxies: [ 10.0.0.0/33 ] }', 'routes[0].trustedProxies[0]: "10.0.0.0/33" is not an address'],
    [
      'a cost of the body charged on headers',
      '{ backend: shop, group: erp, charge: headers, costs: { t: json a } }',
      'a cost in the body is not known on headers',
    ],
    ['a mode that there is not', '{ backend: shop, mode: later }', 'routes[0].mode: "later" is none of the words'],
  ];
  test.each(cases)('%s', (_name, route, says) => {
    expect(mistakes(route)).toHaveLength(1);
    expect(mistakes(route)[0]).toContain('f.yaml:4:');
    expect(mistakes(route)[0]).toContain(says);
  });
});

describe('a backend is refused:', () => {
  const cases: readonly (readonly [name: string, backend: string, says: string])[] = [
    ['without URLs', '{ urls: [] }', 'a backend without URLs'],
    ['with a path', '{ urls: [ http://a/b ] }', '"http://a/b" is not the address of a backend'],
    ['with credentials, which are not repeated', '{ urls: [ "http://user:secret@a" ] }', 'this URL is not the address of a backend'],
    ['with a query', '{ urls: [ "http://a?b" ] }', 'is not the address of a backend'],
    ['of another scheme', '{ urls: [ file://a ] }', 'is not the address of a backend'],
    ['with a port beyond all', '{ urls: [ http://a:70000 ] }', 'is not the address of a backend'],
    ['with a URL twice', '{ urls: [ http://a, http://a/ ] }', 'this URL stands twice'],
    ['with ca and without TLS', '{ urls: [ http://a ], ca: x }', 'ca has no meaning without TLS'],
  ];
  test.each(cases)('%s', (_name, backend, says) => {
    const found = load(`listen: { proxy: 8000 }\nbackends: { a: ${backend} }\nroutes: [ { backend: a } ]\n`);
    expect('groups' in found ? [] : found).toEqual([expect.stringContaining(says)]);
    expect(String(found)).not.toContain('secret');
  });
});

test('a proxy without routes, and routes without a proxy, are refused', () => {
  expect(load('listen: { proxy: 8000 }')).toEqual([expect.stringContaining('a proxy without routes would answer 404 to every request')]);
  expect(load(`${BASE.replace('listen: { proxy: 8000 }', '')}routes: [ { backend: shop } ]`)).toEqual([expect.stringContaining('routes without a listener')]);
});

describe('a route whose path the one before it takes in another spelling', () => {
  const two = (first: string, second: string) => load(`${BASE}routes: [ { ${first} }, { ${second} } ]\n`);
  const limited = (path: string, more = '') => `match: { path: ${path}${more} }, group: erp, backend: shop`;

  test.each([
    ['/Files/x', '/files/x', ''],
    ['/files', '/files/', ''],
    ['/files/', '/FILES', ''],
    ['/files', '/files/', ', case: exact'],
    ['/Files', '/files', ', slash: exact'],
  ])('%s then %s is a mistake', (first, second, more) => {
    expect(two(limited(first, more), limited(second))).toEqual([expect.stringContaining('routes[0] takes')]);
  });

  test.each([
    ['/Files', '/files', ', case: exact'],
    ['/files', '/files/', ', slash: exact'],
    ['/files', '/files/x', ''],
    ['/files', '/files/', ', methods: [ GET ]'],
  ])('%s then %s is none%s', (first, second, more) => {
    expect(two(limited(first, more), limited(second))).toHaveProperty('groups');
  });

  test('is none where the first has no group', () => {
    expect(two('match: { path: /Files }, backend: shop', limited('/files'))).toHaveProperty('groups');
  });
});
