import { describe, expect, test } from 'vitest';
import { comparable, createRouter, type RequestHead, type RouteMatch } from '../../src/forward/routing.ts';

function match(parts: Partial<RouteMatch>): RouteMatch {
  return { host: undefined, path: undefined, methods: undefined, headers: new Map(), ...parts };
}

function facts(method: string, path: string, headers: Readonly<Record<string, string>> = {}): RequestHead {
  return { method, path, host: headers['host'], header: (name) => headers[name] };
}

/** The names that a pattern finds in a path; undefined: it does not fit. */
function found(pattern: string, path: string): Readonly<Record<string, string>> | undefined {
  const routed = createRouter([{ match: match({ path: pattern }) }])(facts('GET', path));
  return routed && Object.fromEntries(routed.names);
}

describe('a path pattern', () => {
  const fitting: readonly (readonly [pattern: string, path: string, names: Readonly<Record<string, string>>])[] = [
    ['/', '/', {}],
    ['/a/b', '/a/b', {}],
    ['/a/', '/a/', {}],
    ['/resource/{id}', '/resource/7', { id: '7' }],
    ['/resource/{id}', '/resource/a%2Fb%20c', { id: 'a/b c' }],
    ['/resource/{id}', '/resource/%ff', { id: '%FF' }],
    ['/{a}/x/{b}', '/1/x/2', { a: '1', b: '2' }],
    ['/a/*/c', '/a/b/c', {}],
    ['/v1/chat/*', '/v1/chat/completions/x', {}],
    ['/v1/chat/*', '/v1/chat/', {}],
    ['/*', '/', {}],
    ['/*', '/x/y', {}],
    // What would slip past the limits of a route.
    ['/v1/chat', '/v1//chat', {}],
    ['/v1/chat', '/v1/%63hat', {}],
    ['/v1/chat', '/v1/./chat', {}],
    ['/v1/chat', '/v1/x/../chat', {}],
    ['/v1/chat', '/v1/x/%2e%2E/chat', {}],
  ];
  test.each(fitting)('%s takes %s', (pattern, path, names) => {
    expect(found(pattern, path)).toEqual(names);
  });

  const others: readonly (readonly [pattern: string, path: string])[] = [
    ['/a/b', '/a'],
    ['/a/b', '/a/b/'],
    ['/a/b', '/a/B'],
    ['/a', '/a/'],
    ['/resource/{id}', '/resource/'],
    ['/resource/{id}', '/resource/a/b'],
    ['/v1/chat/*', '/v1/chat'],
    ['/v1/chat/*', '/v1/chatter'],
    ['/public/*', '/public/../admin'],
    ['/a', '*'],
  ];
  test.each(others)('%s does not take %s', (pattern, path) => {
    expect(found(pattern, path)).toBeUndefined();
  });
});

test('a path is compared without dots, doubled slashes and needless escapes', () => {
  expect(comparable('/a/b')).toBe('/a/b');
  expect(comparable('/a/..')).toBe('/');
  expect(comparable('/../../a//')).toBe('/a/');
  expect(comparable('/%7euser/%2f')).toBe('/~user/%2F');
});

test('hosts are compared without case, port and final dot, unless the port is asked for', () => {
  const takes = (pattern: string, host: string) => createRouter([{ match: match({ host: pattern }) }])(facts('GET', '/', { host })) !== undefined;
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
  const router = createRouter([{ match: match({ headers: new Map([['X-Group', 'production']]) }) }]);
  expect(router(facts('GET', '/', { 'x-group': 'production' }))).toBeDefined();
  expect(router(facts('GET', '/', { 'x-group': 'staging' }))).toBeUndefined();
  expect(router(facts('GET', '/'))).toBeUndefined();
});

test('the first route that fits takes the request', () => {
  const first = { match: match({ path: '/a/*', methods: ['POST'] }), name: 'posts' };
  const second = { match: match({ path: '/a/*' }), name: 'others' };
  const router = createRouter([first, second]);
  expect(router(facts('POST', '/a/b'))?.route).toBe(first);
  expect(router(facts('GET', '/a/b'))?.route).toBe(second);
  expect(router(facts('GET', '/b'))).toBeUndefined();
});
