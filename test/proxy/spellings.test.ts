import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createRouter, type RoutingTarget } from '../../src/proxy/router.ts';

/*
 * What real servers make of spellings of paths, against what routing makes of them. `spellings.json` was recorded on a raw
 * socket from servers that have handlers for `/v1/chat`, `/llm/…`, `/resource/ID` and `/public/…` (each in the usual words of
 * its framework: `app.all` and `app.use`, `location`, `HandleFunc`, `add_url_rule`; `new URL(url, base)` decodes the pathname
 * it finds), and one that answers `other` to the rest. A number is the status of a server that refuses or redirects.
 */

interface Table {
  readonly servers: readonly string[];
  /** What each server said, in their order. */
  readonly paths: Readonly<Record<string, readonly string[]>>;
}

const { servers, paths } = JSON.parse(readFileSync(new URL('spellings.json', import.meta.url), 'utf8')) as Table;

function route(path: string, name: string | undefined): RoutingTarget & { readonly name: string | undefined } {
  const exact = name === undefined;
  const match = { host: undefined, path, exactCase: exact, exactSlash: exact, methods: undefined, headers: new Map<string, string>() };
  return { name, match, route: { backend: 'shop', admission: exact ? undefined : ({} as NonNullable<RoutingTarget['route']['admission']>) } };
}

/** What routing says: the limited resource that is charged, `free`, or `refused`. */
function judged(routes: readonly ReturnType<typeof route>[], path: string): string {
  const at = path.indexOf('?');
  const routed = createRouter(routes, true)({ method: 'GET', path: at < 0 ? path : path.slice(0, at), host: 'h', header: () => undefined });
  if (routed === undefined || routed.kind === 'ambiguous') return 'refused';
  if (routed.route.name === undefined) return 'free';
  const id = routed.names.get('id');
  return id === undefined ? routed.route.name : `${routed.route.name} ${id}`;
}

/** Not of a request that begins with `/`: the listener refuses it before. */
const spellings = Object.entries(paths).filter(([path]) => path.startsWith('/'));

const served = (said: string): boolean => !/^(\d{3}|closed)$/.test(said);

/** A server tells an id by its escapes; nginx by its bytes. */
function named(said: string, server: string): string {
  if (!said.startsWith('resource ')) return said;
  const bytes = server.startsWith('nginx')
    ? said
    : said.replaceAll(/%([0-9A-Fa-f]{2})/g, (_escape, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  const text = Buffer.from(bytes, 'latin1').toString('utf8');
  return text.includes('\ufffd') ? bytes : text;
}

describe('limited routes before one for all else that is free', () => {
  const routes = [route('/v1/chat', 'chat'), route('/llm/*', 'llm'), route('/resource/{id}', 'resource'), route('/*', undefined)];

  test.each(spellings)('%s reaches no limited resource that it is not charged to', (path, said) => {
    const own = judged(routes, path);
    const wrong = servers.filter((server, i) => {
      const reached = named(said[i] ?? '', server);
      return served(reached) && reached !== 'other' && reached !== 'public' && own !== 'refused' && own !== reached;
    });
    expect(wrong).toEqual([]);
  });
});

describe('a free route before a limited one for all else', () => {
  const routes = [route('/public/*', undefined), route('/*', 'rest')];

  test.each(spellings)('%s reaches nothing but what is public for free', (path, said) => {
    const beyond = servers.filter((_server, i) => served(said[i] ?? '') && said[i] !== 'public');
    if (judged(routes, path) === 'free') expect(beyond).toEqual([]);
  });
});

test('plain spellings are charged or free, and none of them is refused', () => {
  const routes = [route('/v1/chat', 'chat'), route('/llm/*', 'llm'), route('/resource/{id}', 'resource'), route('/*', undefined)];
  const plain = [
    '/v1/chat',
    '/v1/chat/',
    '/V1/Chat',
    '/v1/%63hat',
    '/v1//chat',
    '/llm',
    '/llm/x',
    '/resource/5',
    '/resource/caf%C3%A9',
    '/public/a',
    '/x%20y',
    '/x;y',
  ];
  expect(plain.map((path) => judged(routes, path))).toEqual([
    'chat',
    'chat',
    'chat',
    'chat',
    'chat',
    'llm',
    'llm',
    'resource 5',
    'resource café',
    'free',
    'free',
    'free',
  ]);
});

test('the table has the servers it should, and each of them found the plain path', () => {
  for (const name of ['express 5', 'express 4', 'fastify 5', 'go ', 'werkzeug', 'wsgiref', 'nginx', 'new URL']) {
    const at = servers.findIndex((server) => server.startsWith(name));
    expect(paths['/v1/chat']?.[at], name).toBe('chat');
  }
  expect(spellings.length).toBeGreaterThan(130);
});
