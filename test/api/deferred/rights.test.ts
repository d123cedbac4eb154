import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { restRequestsRunner } from '../../protocol/rest-requests-runner.ts';
import { grpcRunner, wholeRunner } from '../../protocol/runners.ts';
import type { Answer, Runner } from '../../protocol/table.ts';
import { type DeferredServer, keyFor, startDeferred } from './server.ts';

/* Who may submit, see, cancel, list and redrive: the same over every protocol. */

const CREDENTIALS = {
  all: { can: ['acquire', 'read', 'manage'] },
  asker: { can: ['acquire'], groups: ['slots'] },
  reader: { can: ['read'], groups: ['slots'] },
  manager: { can: ['manage'], groups: ['slots'] },
  tenant: { can: ['acquire', 'read', 'manage'], groups: ['slots'], key: 'acme', classes: ['urgent'] },
  other: { can: ['acquire', 'read', 'manage'], groups: ['open'] },
} as const;
type Name = keyof typeof CREDENTIALS;
const NAMES = Object.keys(CREDENTIALS) as Name[];

const PROTOCOLS: Readonly<Record<string, (server: DeferredServer, name: Name) => Runner>> = {
  'plain HTTP': (server, name) => restRequestsRunner(server.api, `Bearer ${name}`),
  'plain HTTP on admin': (server, name) => restRequestsRunner(server.admin, `Bearer ${name}`),
  'Connect JSON': (server, name) => wholeRunner(server.api, 'Connect JSON', `Bearer ${name}`),
  'gRPC-Web': (server, name) => wholeRunner(server.api, 'gRPC-Web', `Bearer ${name}`),
  gRPC: (server, name) => grpcRunner(server.grpc, `Bearer ${name}`),
};

const said = (answer: Answer): string => (answer.ok ? 'passes' : (answer.reason ?? answer.message));

describe.each(Object.keys(PROTOCOLS))('over %s', (protocol) => {
  let server: DeferredServer;
  const runners = new Map<Name, Runner>();
  beforeAll(async () => {
    server = await startDeferred({ keys: NAMES.map((name) => keyFor(name, CREDENTIALS[name])) });
    for (const name of NAMES) runners.set(name, (PROTOCOLS[protocol] as (typeof PROTOCOLS)[string])(server, name));
  });
  afterAll(async () => {
    for (const runner of runners.values()) await runner.close();
    await server.stop();
  });
  const call = (name: Name, method: string, fields: object): Promise<Answer> => (runners.get(name) as Runner).call(method, fields as Record<string, unknown>);

  test('a credential submits where it may acquire, and finds out nothing of other groups and routes', async () => {
    const asks: Readonly<Record<string, object>> = {
      slots: { path: '/erp/1', group: 'slots' },
      'slots/acme': { path: '/erp/1', key: 'acme' },
      'slots/zeta': { path: '/erp/1', headers: [{ name: 'x-tenant', value: 'zeta' }] },
      urgent: { path: '/erp/1', priorityClass: 'urgent' },
      calm: { path: '/erp/1', priorityClass: 'calm' },
      'route erp': { path: '/erp/1', route: 'erp' },
      open: { path: '/hooks/1', group: 'open' },
      'route hooks': { path: '/hooks/1', route: 'hooks' },
      'by path': { path: '/hooks/1' },
      'route none': { path: '/erp/1', route: 'none' },
      'group none': { path: '/erp/1', group: 'none' },
    };
    const lines: string[] = [];
    for (const name of NAMES) {
      const found = new Map<string, string[]>();
      for (const [what, fields] of Object.entries(asks)) {
        const answer = said(await call(name, 'Submit', fields));
        found.set(answer, [...(found.get(answer) ?? []), what]);
      }
      for (const [answer, places] of found) lines.push(`${name} ${answer}: ${places.join(', ')}`);
    }
    expect(lines.join('\n')).toMatchInlineSnapshot(`
      "all passes: slots, slots/acme, slots/zeta, urgent, calm, route erp, open, route hooks, by path
      all UNKNOWN_GROUP: route none, group none
      asker passes: slots, slots/acme, slots/zeta, urgent, calm, route erp
      asker FORBIDDEN: open, route hooks, route none, group none
      asker UNKNOWN_GROUP: by path
      reader FORBIDDEN: slots, slots/acme, slots/zeta, urgent, calm, route erp, open, route hooks, by path, route none, group none
      manager FORBIDDEN: slots, slots/acme, slots/zeta, urgent, calm, route erp, open, route hooks, by path, route none, group none
      tenant passes: slots, slots/acme, urgent, route erp
      tenant FORBIDDEN: slots/zeta, calm, open, route hooks, route none, group none
      tenant UNKNOWN_GROUP: by path
      other FORBIDDEN: slots, route erp, route none, group none
      other UNKNOWN_GROUP: slots/acme, slots/zeta, urgent, calm
      other passes: open, route hooks, by path"
    `);
    expect(server.requests.all.filter(({ submission }) => submission.caller === 'tenant').every(({ submission }) => submission.key === 'acme')).toBe(true);
  });

  test('a request is seen and cancelled by its own credential, and by read and manage in their groups and key', async () => {
    const lines: string[] = [];
    for (const [owner, fields] of [
      ['asker', { path: '/erp/2', key: 'zeta' }],
      ['tenant', { path: '/erp/2' }],
      ['other', { path: '/hooks/2' }],
    ] as const) {
      const submitted = await call(owner, 'Submit', fields);
      const id = submitted.ok ? submitted.fields['id'] : '';
      for (const name of NAMES) {
        const [seen, cancelled] = [said(await call(name, 'GetRequest', { id })), said(await call(name, 'CancelRequest', { id }))];
        lines.push(`of ${owner}, ${name}: see ${seen}, cancel ${cancelled}`);
      }
    }
    expect(lines.join('\n')).toMatchInlineSnapshot(`
      "of asker, all: see passes, cancel passes
      of asker, asker: see passes, cancel passes
      of asker, reader: see passes, cancel FORBIDDEN
      of asker, manager: see passes, cancel passes
      of asker, tenant: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of asker, other: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of tenant, all: see passes, cancel passes
      of tenant, asker: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of tenant, reader: see passes, cancel FORBIDDEN
      of tenant, manager: see passes, cancel passes
      of tenant, tenant: see passes, cancel passes
      of tenant, other: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of other, all: see passes, cancel passes
      of other, asker: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of other, reader: see UNKNOWN_REQUEST, cancel FORBIDDEN
      of other, manager: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of other, tenant: see UNKNOWN_REQUEST, cancel UNKNOWN_REQUEST
      of other, other: see passes, cancel passes"
    `);
  });

  test('lists and redrives are of read and manage, in their groups and key', async () => {
    const ids: unknown[] = [];
    for (const [name, fields] of [
      ['asker', { path: '/erp/3', key: 'zeta' }],
      ['tenant', { path: '/erp/3' }],
      ['other', { path: '/hooks/3' }],
    ] as const) {
      const submitted = await call(name, 'Submit', fields);
      const id = submitted.ok ? String(submitted.fields['id']) : '';
      ids.push(id);
      server.requests.change(id, { state: 'dead', error: 'timeout' });
    }
    const lines: string[] = [];
    for (const name of NAMES) {
      const all = await call(name, 'ListRequests', { state: 'REQUEST_STATE_DEAD' });
      const listed = all.ok ? ((all.fields['requests'] ?? []) as { id: string }[]).map(({ id }) => ids.indexOf(id)).join('+') : said(all);
      const ofGroup = said(await call(name, 'ListRequests', { group: 'slots' }));
      const ofKey = said(await call(name, 'ListRequests', { group: 'slots', key: 'zeta' }));
      const one = [];
      for (const id of ids) {
        const answer = said(await call(name, 'Redrive', { id }));
        one.push(answer);
        if (answer === 'passes') server.requests.change(String(id), { state: 'dead' });
      }
      const many = await call(name, 'Redrive', { max: 10 });
      for (const id of ids) server.requests.change(String(id), { state: 'dead' });
      lines.push(
        `${name}: list ${listed}, of slots ${ofGroup}, of zeta ${ofKey}; redrive ${one.join(' ')}, many ${many.ok ? many.fields['redriven'] : said(many)}`,
      );
    }
    expect(lines.join('\n')).toMatchInlineSnapshot(`
      "all: list 0+1+2, of slots passes, of zeta passes; redrive passes passes passes, many 3
      asker: list FORBIDDEN, of slots FORBIDDEN, of zeta FORBIDDEN; redrive FORBIDDEN FORBIDDEN FORBIDDEN, many FORBIDDEN
      reader: list 0+1, of slots passes, of zeta passes; redrive FORBIDDEN FORBIDDEN FORBIDDEN, many FORBIDDEN
      manager: list 0+1, of slots passes, of zeta passes; redrive passes passes UNKNOWN_REQUEST, many 2
      tenant: list 1, of slots passes, of zeta FORBIDDEN; redrive UNKNOWN_REQUEST passes UNKNOWN_REQUEST, many 1
      other: list 2, of slots FORBIDDEN, of zeta FORBIDDEN; redrive UNKNOWN_REQUEST UNKNOWN_REQUEST passes, many 1"
    `);
  });
});

test('without a credential nothing is answered where there are any', async () => {
  const server = await startDeferred({ keys: [keyFor('all', {})] });
  for (const [method, path] of [
    ['POST', '/v1/requests'],
    ['GET', '/v1/requests/1-0'],
    ['GET', '/v1/requests/1-0/response'],
    ['DELETE', '/v1/requests/1-0'],
    ['GET', '/v1/requests'],
    ['POST', '/v1/requests/redrive'],
  ] as const)
    expect((await fetch(server.api + path, { method })).status).toBe(401);
  await server.stop();
});
