import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../faults/fleet.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';
import { RequestsBackend } from './requests-backend.ts';

/* Deferred requests of two replicas over three nats-servers, of which one is killed, then two. */

showLogsOfFailures();

let fleet: Fleet;
let backend: RequestsBackend;

beforeAll(async () => {
  backend = await RequestsBackend.open();
  const more = `
backends: { shop: { urls: [ "${backend.url}" ] } }
routes: [ { match: { path: '/hooks/*' }, group: hooks, backend: shop, mode: deferred, retry: { first: 10ms, max: 50ms } } ]
`;
  const groups = '  hooks: { limits: [ { name: pace, rate: 500/1s, burst: 100 } ] }';
  fleet = await Fleet.start({ binary: { path: natsBinary() }, nats: 3, replicas: 2, groups, more, proxy: true });
  await fleet.decided(['hooks']);
});

afterAll(async () => {
  await fleet?.clean();
  backend?.close();
});

interface Ticket {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly id: string;
  readonly tookMs: number;
}

async function submit(replica: number, path: string): Promise<Ticket> {
  const began = performance.now();
  const answer = await fetch(`${fleet.replicas[replica]?.proxyUrl}${path}`, { method: 'POST', headers: { 'idempotency-key': `"${path}"` }, body: path });
  const { id = '' } = (await answer.json()) as { id?: string };
  return { status: answer.status, retryAfter: answer.headers.get('retry-after'), id, tookMs: performance.now() - began };
}

/** Submits under the same key until it is stored; every other answer is a 503 that says when to come again. */
async function stored(replica: number, path: string): Promise<string> {
  let id = '';
  await until(`${path} to be stored`, async () => {
    const ticket = await submit(replica, path);
    if (ticket.status === 202) ({ id } = ticket);
    else expect([ticket.status, Number(ticket.retryAfter) > 0]).toEqual([503, true]);
    return id !== '';
  });
  return id;
}

test('When a NATS server is killed, requests are stored and sent all the same', async () => {
  for (const server of fleet.nats) {
    await server.kill();
    try {
      for (const replica of [0, 1]) await stored(replica, `/hooks/one-${server.name}-${replica}`);
      await until('both to be sent', () => [0, 1].every((replica) => backend.of(`/hooks/one-${server.name}-${replica}`).length > 0));
    } finally {
      await server.start();
      await fleet.natsSettled();
    }
  }
}, 180_000);

test('Without a majority of NATS a submit is answered 503 with Retry-After, and all goes on when it is back', async () => {
  const [first, second] = fleet.nats;
  await Promise.all([first?.kill(), second?.kill()]);
  try {
    for (const replica of [0, 1]) {
      const refused = await submit(replica, `/hooks/lost-${replica}`);
      expect([refused.status, Number(refused.retryAfter) > 0]).toEqual([503, true]);
    }
    const shown = await fetch(`${fleet.replicas[0]?.url}/v1/requests/1-00aabbccddeeff00`);
    expect([shown.status, shown.headers.get('retry-after') !== null]).toEqual([503, true]);
  } finally {
    await Promise.all([first?.start(), second?.start()]);
  }
  for (const replica of [0, 1]) await stored(replica, `/hooks/lost-${replica}`);
  await until('both to be sent', () => [0, 1].every((replica) => backend.of(`/hooks/lost-${replica}`).length > 0));
}, 180_000);
