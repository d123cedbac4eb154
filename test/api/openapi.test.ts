import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openApiDocument } from '../../src/api/openapi/document.ts';
import { OPERATIONS } from '../../src/api/openapi/operations.ts';
import { REFUSAL_STATUS } from '../../src/api/refusal-status.ts';
import { PATHS, type RestCall } from '../../src/api/rest/routes.ts';
import { commentsFile } from '../../tools/proto-comments.ts';
import { type DeferredServer, startDeferred } from './deferred/server.ts';

/* The description of the plain HTTP API against the code: it names no path, field or status that the code does not have, and leaves none out. */

interface Operation {
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: { readonly properties?: Readonly<Record<string, unknown>> } }>> };
  readonly responses: Readonly<Record<string, unknown>>;
}

interface Described {
  readonly path: string;
  readonly method: string;
  readonly call: RestCall;
  readonly operation: Operation;
  readonly query: readonly string[];
  readonly body: readonly string[] | undefined;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { readonly version: string };
const document = openApiDocument(version) as { readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>; readonly components: object };
const described: readonly Described[] = PATHS.flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, call]) => {
    const operation = document.paths[path]?.[method.toLowerCase()] as Operation;
    const query = operation.parameters.filter((each) => each.in === 'query').map(({ name }) => name);
    const properties = operation.requestBody?.content['application/json']?.schema.properties;
    return { path, method, call, operation, query, body: properties && Object.keys(properties) };
  }),
);
/** Every field that any call has. */
const NAMES = [...new Set(described.flatMap(({ query, body = [] }) => [...query, ...body]))].filter((name) => name !== 'response');
/** What a call says of a field that it does not have. */
const UNKNOWN = /No field `|There is no field `/;
/** Calls that read nothing but their path. */
const PATH_ONLY: readonly RestCall[] = ['Again', 'CancelRequest', 'GetResponse', 'GetRequest'];

let server: DeferredServer;

beforeAll(async () => {
  server = await startDeferred();
});

afterAll(() => server.stop());

async function send({ path, method }: Described, query: string, body?: object): Promise<{ readonly status: number; readonly detail: string }> {
  const url = server.admin + path.replaceAll(/\{(\w+)\}/g, (_, name: string) => (name === 'group' ? 'slots' : 'x')) + query;
  const headers = { 'Sluice-Operator': '1', Prefer: 'wait=0', ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) };
  const answer = await fetch(url, { method, headers, redirect: 'manual', ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  const { detail } = text.startsWith('{') ? (JSON.parse(text) as { detail?: unknown }) : { detail: '' };
  return { status: answer.status, detail: typeof detail === 'string' ? detail : '' };
}

/** A field as a member of the body that holds nothing of use. */
const member = (name: string): object => ({ [name]: name === 'costs' || name === 'limits' ? {} : 'x' });
/** The same in the query; maps are told in parts of their own. */
const inQuery = (name: string): string => `?${name}=x`;

describe('docs/openapi.json', () => {
  test('is what the code says, and the comments in it are those of the protocol; else `npm run gen`', () => {
    expect(readFileSync(`${root}docs/openapi.json`, 'utf8')).toBe(`${JSON.stringify(document, undefined, 2)}\n`);
    const image = execFileSync('node_modules/.bin/buf', ['build', '-o', '-#format=json'], { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 });
    const written = readFileSync(`${root}src/api/openapi/comments.ts`, 'utf8');
    expect(written.replaceAll(/\s+/g, ' ')).toBe(commentsFile(image).replaceAll(/\s+/g, ' '));
  });

  test('is served on the address of operators only', async () => {
    const answer = await fetch(`${server.admin}/openapi.json`);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.json()).toMatchObject({ openapi: '3.1.0', info: { version: '0' } });
    expect((await fetch(`${server.admin}/openapi.json`, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(`${server.api}/openapi.json`)).status).toBe(404);
  });

  test('has every path and method that is served, and no other', async () => {
    expect(Object.keys(document.paths).sort()).toEqual(PATHS.map(([path]) => path).sort());
    for (const [path, methods] of PATHS) {
      const named = Object.keys(document.paths[path] ?? {}).filter((key) => key !== 'parameters');
      expect(named.sort()).toEqual(
        Object.keys(methods)
          .map((method) => method.toLowerCase())
          .sort(),
      );
      const { status } = await send({ path, method: 'PUT' } as Described, '');
      expect([path, status]).toEqual([path, 405]);
    }
  });

  test('every reference in it leads to a schema', () => {
    const text = JSON.stringify(document);
    const named = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name = '']) => name);
    const { schemas } = document.components as { readonly schemas: object };
    expect(named.filter((name) => !Object.hasOwn(schemas, name))).toEqual([]);
    expect(Object.keys(schemas).filter((name) => !named.includes(name))).toEqual([]);
  });
});

describe('fields of the description', () => {
  test('each is known to its call, in the query and in the body', async () => {
    const wrong: string[] = [];
    for (const each of described) {
      for (const name of each.query) if (UNKNOWN.test((await send(each, inQuery(name))).detail)) wrong.push(`${each.call} ?${name}`);
      for (const name of each.body ?? []) if (UNKNOWN.test((await send(each, '', member(name))).detail)) wrong.push(`${each.call} ${name}`);
    }
    expect(wrong).toEqual([]);
  });

  test('a field that is not there is refused by its call', async () => {
    const wrong: string[] = [];
    for (const each of described.filter(({ call }) => !PATH_ONLY.includes(call))) {
      const inPath = [...each.path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
      const others = [...NAMES, 'zzz'].filter((name) => !inPath.includes(name) && !each.query.includes(name) && each.body?.includes(name) !== true);
      // In a query costs are told as `cost`.
      for (const name of others.filter((other) => other !== 'cost' && !(other === 'costs' && each.query.includes('cost')))) {
        const { detail } =
          each.call === 'Submit'
            ? await send(each, '', member(name))
            : await send(each, each.body === undefined ? inQuery(name) : '', each.body && member(name));
        if (!UNKNOWN.test(detail)) wrong.push(`${each.call} ${name}: ${detail}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('statuses of the description', () => {
  test('each refusal of a call has one, and each is of a refusal, of the listener, or of success', () => {
    const OF_LISTENER = [408, 411, 414, 415, 421, 431, 503];
    const SUCCESS = [200, 202, 303, 422];
    for (const { call, operation } of described) {
      const reasons = ['malformed', 'unauthenticated', 'forbidden', 'too_large', 'fault', ...OPERATIONS[call].reasons] as const;
      const refused = reasons.map((reason) => REFUSAL_STATUS[reason].http);
      const statuses = Object.keys(operation.responses)
        .filter((key) => key !== 'default')
        .map(Number);
      expect(refused.filter((status) => !statuses.includes(status))).toEqual([]);
      expect(statuses.filter((status) => ![...refused, ...OF_LISTENER, ...SUCCESS].includes(status))).toEqual([]);
    }
  });

  test('whatever a call answers has one', async () => {
    const wrong: string[] = [];
    for (const each of described) {
      for (const query of ['', '?zzz=1', ...each.query.map(inQuery)]) {
        const { status } = await send(each, query);
        if (!Object.hasOwn(each.operation.responses, status) && !Object.hasOwn(each.operation.responses, 'default'))
          wrong.push(`${each.call} ${query}: ${status}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
