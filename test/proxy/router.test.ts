import { describe, expect, test } from 'vitest';
import { createRouter, type RequestHead, type RouteMatch, type Router, type RoutingTarget } from '../../src/proxy/router.ts';

function match(parts: Partial<RouteMatch>): RouteMatch {
  return { host: undefined, path: undefined, exactCase: false, exactSlash: false, methods: undefined, headers: new Map(), ...parts };
}

/** A route to a backend, under a group unless `free`. */
function route(parts: Partial<RouteMatch>, free = false, backend = 'shop'): RoutingTarget {
  const exact = free ? { exactCase: true, exactSlash: true } : {};
  return { match: match({ ...exact, ...parts }), route: { backend, admission: free ? undefined : ({} as NonNullable<RoutingTarget['route']['admission']>) } };
}

function routerOf(...routes: readonly RoutingTarget[]): Router<RoutingTarget> {
  return createRouter(routes, true);
}

function facts(method: string, path: string, headers: Readonly<Record<string, string>> = {}): RequestHead {
  return { method, path, host: headers['host'], header: (name) => headers[name] };
}

/** The names that a pattern finds in a path; undefined: it does not fit, or the path is ambiguous. */
function found(pattern: string, path: string, parts: Partial<RouteMatch> = {}, refusesAmbiguous = true): Readonly<Record<string, string>> | undefined {
  const routed = createRouter([route({ path: pattern, ...parts })], refusesAmbiguous)(facts('GET', path));
  return routed?.kind === 'routed' ? Object.fromEntries(routed.names) : undefined;
}

describe('a path pattern', () => {
  const fitting: readonly (readonly [pattern: string, path: string, names: Readonly<Record<string, string>>])[] = [
    ['/', '/', {}],
    ['/a/b', '/a/b', {}],
    ['/a/', '/a/', {}],
    ['/resource/{id}', '/resource/7', { id: '7' }],
    ['/resource/{id}', '/resource/a%20c', { id: 'a c' }],
    ['/resource/{id}', '/resource/caf%C3%A9', { id: 'café' }],
    ['/resource/*', '/resource/caf%E9', {}],
    ['/café/x', '/caf%c3%a9/x', {}],
    ['/не%20x', '/%D0%BD%D0%B5%20x', {}],
    ['/users/@me', '/users/%40me', {}],
    // Case and a slash at the end do not count.
    ['/a/b', '/a/B', {}],
    ['/a', '/a/', {}],
    ['/a/', '/a', {}],
    ['/resource/{id}', '/Resource/7/', { id: '7' }],
    ['/v1/chat/*', '/v1/chat', {}],
    ['/users/k', '/users/%E2%84%AA', {}],
    ['/{a}/x/{b}', '/1/x/2', { a: '1', b: '2' }],
    ['/a/*/c', '/a/b/c', {}],
    ['/v1/chat/*', '/v1/chat/completions/x', {}],
    ['/v1/chat/*', '/v1/chat/', {}],
    ['/*', '/', {}],
    ['/*', '/x/y', {}],
    // What would slip past the limits of a route.
    ['/v1/chat', '/v1//chat', {}],
    ['/v1/chat', '/v1/%63hat', {}],
    ['/v1/*', '/v1/./chat', {}],
    ['/v1/*', '/v1/x/../chat', {}],
    ['/v1/*', '/v1/chat;x=1', {}],
    ['/v1/*', '/v1/.well-known/x', {}],
  ];
  test.each(fitting)('%s takes %s', (pattern, path, names) => {
    expect(found(pattern, path)).toEqual(names);
  });

  const others: readonly (readonly [pattern: string, path: string])[] = [
    ['/a/b', '/a'],
    ['/a/b', '/a/b/c'],
    ['/resource/{id}', '/resource/'],
    ['/resource/{id}', '/resource/a/b'],
    ['/v1/chat/*', '/v1/chatter'],
    // Not all servers find the same behind them.
    ['/public/*', '/public/../admin'],
    ['/public/*', '/admin/../public/x'],
    ['/public/*', '/public/..;/admin'],
    ['/public/*', '/public//../../admin'],
    ['/public/*', '//public/x'],
    ['/v1/chat', '/v1/./chat'],
    ['/resource/{id}', '/resource/7;x=1'],
    ['/resource/{id}', '/resource/caf%E9'],
    ['/a', '*'],
  ];
  test.each(others)('%s does not take %s', (pattern, path) => {
    expect(found(pattern, path)).toBeUndefined();
  });
});

test.each([
  '/a%2Fb',
  '/a%2fb',
  '/a%5Cb',
  '/a\\b',
  '/a%00',
  '/a%0A',
  '/a%7f',
  '/a/%2e%2e/b',
  '/a/%2e/b',
  '/a/.%2E/b',
  '/a/%2e%2e;x/b',
  '/%',
  '/%zz',
  '/100%',
  '/a%c0%afb',
  '/%e0%80%af',
])('%s is refused whatever the routes are, unless ambiguous paths are matched', (path) => {
  expect(routerOf(route({ path: '/*' }))(facts('GET', path))).toMatchObject({ kind: 'ambiguous' });
  expect(found('/*', path, {}, false)).toEqual({});
});

test('where ambiguous paths are matched, RFC 3986 alone counts', () => {
  expect(found('/resource/{id}', '/resource/a%2Fb', {}, false)).toEqual({ id: 'a/b' });
  expect(found('/v1/chat', '/v1/x/%2e%2E/chat', {}, false)).toEqual({});
  expect(found('/resource/{id}', '/resource/caf%E9', {}, false)).toEqual({ id: 'café' });
  // Dot segments go before slashes are merged (RFC 3986 5.2.4).
  expect(found('/a/b', '/a//../b', {}, false)).toEqual({});
  expect(found('/b', '/a//../b', {}, false)).toBeUndefined();
  expect(found('/b', '/../../b', {}, false)).toEqual({});
  expect(found('/resource/{id}', '/resource/7;x=1', {}, false)).toEqual({ id: '7;x=1' });
  expect(found('/public/*', '/public/../admin', {}, false)).toBeUndefined();
});

test('where case or slash is exact it counts', () => {
  expect(found('/a/b', '/a/B', { exactCase: true })).toBeUndefined();
  expect(found('/a/b', '/a/b/', { exactCase: true })).toEqual({});
  expect(found('/a/b', '/a/b/', { exactSlash: true })).toBeUndefined();
  expect(found('/a/', '/a', { exactSlash: true })).toBeUndefined();
  expect(found('/a/*', '/a', { exactSlash: true })).toBeUndefined();
  expect(found('/a/*', '/A/', { exactSlash: true })).toEqual({});
});

test('a spelling that is harmless takes the route it is charged to', () => {
  const limited = route({ path: '/v1/chat' });
  const rest = route({ path: '/*' }, true);
  const router = routerOf(limited, rest);
  // A server that does not merge or decode finds what is free to reach anyway.
  for (const path of ['/v1//chat', '//v1/chat', '/v1/%63hat']) expect(router(facts('GET', path))).toMatchObject({ route: limited });
  for (const path of ['/v1/x%20y', '/v1/x//y', '/.well-known/x', '/x;y']) expect(router(facts('GET', path))).toMatchObject({ route: rest });
  // `new URL` takes x for the host.
  for (const path of ['//x/v1/chat', '/x/..;/v1/chat', '/v1/chat;x=1']) expect(router(facts('GET', path))).toMatchObject({ kind: 'ambiguous' });
  // Free there, but not at this backend.
  const elsewhere = routerOf(limited, route({ path: '/*' }, true, 'other'));
  expect(elsewhere(facts('GET', '/v1/%63hat'))).toMatchObject({ kind: 'ambiguous' });
});

test('what passes free takes its own spelling alone', () => {
  const health = route({ path: '/health' }, true);
  const limited = route({ path: '/*' });
  const router = routerOf(health, limited);
  expect(router(facts('GET', '/health'))).toMatchObject({ route: health });
  for (const path of ['/health/', '/HEALTH']) expect(router(facts('GET', path))).toMatchObject({ route: limited });
  for (const path of ['//health', '/%68ealth', '/health;x']) expect(router(facts('GET', path))).not.toMatchObject({ route: health });
});

test('GET covers HEAD, and HEAD alone is HEAD', () => {
  const get = routerOf(route({ methods: ['GET'] }));
  expect(get(facts('HEAD', '/'))).toBeDefined();
  expect(get(facts('POST', '/'))).toBeUndefined();
  const head = routerOf(route({ methods: ['HEAD'] }));
  expect(head(facts('GET', '/'))).toBeUndefined();
});

test('hosts are compared without case, port and final dot, unless the port is asked for', () => {
  const takes = (pattern: string, host: string) => routerOf(route({ host: pattern }))(facts('GET', '/', { host })) !== undefined;
  expect(takes('api.example.com', 'API.example.com:8000')).toBe(true);
  expect(takes('api.example.com', 'api.example.com.')).toBe(true);
  expect(takes('api.example.com', 'api.example.com.evil')).toBe(false);
  expect(takes('api.example.com:1', 'api.example.com:2')).toBe(false);
  expect(takes('api.example.com:1', 'api.example.com:1')).toBe(true);
  expect(takes('*.example.com', 'a.b.example.com')).toBe(true);
  expect(takes('*.example.com', 'example.com')).toBe(false);
  expect(takes('*.example.com', '.example.com')).toBe(false);
});

test('LN-D1: a header is found however it is spelled', () => {
  const router = routerOf(route({ headers: new Map([['X-Group', 'production']]) }));
  expect(router(facts('GET', '/', { 'x-group': 'production' }))).toBeDefined();
  expect(router(facts('GET', '/', { 'x-group': 'staging' }))).toBeUndefined();
  expect(router(facts('GET', '/'))).toBeUndefined();
});

test('the first route that fits takes the request', () => {
  const first = route({ path: '/a/*', methods: ['POST'] });
  const second = route({ path: '/a/*' });
  const router = routerOf(first, second);
  expect(router(facts('POST', '/a/b'))).toMatchObject({ route: first });
  expect(router(facts('GET', '/a/b'))).toMatchObject({ route: second });
  expect(router(facts('GET', '/b'))).toBeUndefined();
});
