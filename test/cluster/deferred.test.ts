import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Fleet } from '../faults/fleet.ts';
import { natsVersions, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';
import { Asking } from './asking.ts';
import { RequestsBackend } from './requests-backend.ts';

/*
 * Deferred requests of three replicas as processes of their own over one nats-server: any replica takes them, finds them and changes them;
 * the owner of their group sends them.
 */

showLogsOfFailures();

const SECRET = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;

let fleet: Fleet;
let asking: Asking;
let backend: RequestsBackend;

interface Shown {
  readonly state: string;
  readonly attempts?: number;
  readonly error?: string;
  readonly tries?: readonly object[];
}

/** Submits at a replica. */
async function submit(
  replica: number,
  path: string,
  more: object = {},
  headers: Record<string, string> = {},
): Promise<{ status: number; id: string; existing: boolean }> {
  const answer = await fetch(`${fleet.replicas[replica]?.url}/v1/requests`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ path, body: `body of ${path}`, ...more }),
  });
  const { id = '', existing = false } = (await answer.json()) as { id?: string; existing?: boolean };
  return { status: answer.status, id, existing };
}

/** A request as a replica shows it; `wait` in seconds. */
async function show(replica: number, id: string, wait = 0): Promise<Shown> {
  const headers: Record<string, string> = wait === 0 ? {} : { prefer: `wait=${wait}` };
  const answer = await fetch(`${fleet.replicas[replica]?.url}/v1/requests/${id}?response=state`, { headers });
  return (await answer.json()) as Shown;
}

async function post(replica: number, path: string, body: object = {}): Promise<{ status: number } & Record<string, unknown>> {
  const answer = await fetch(`${fleet.replicas[replica]?.adminUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { ...((await answer.json()) as object), status: answer.status };
}

describe.each(natsVersions())('Deferred requests over nats-server $version', ({ binary }) => {
  beforeAll(async () => {
    backend = await RequestsBackend.open();
    const more = `
backends: { shop: { urls: [ "${backend.url}" ] } }
routes:
  - { name: hooks, match: { path: '/hooks/*' }, group: hooks, backend: shop, mode: deferred, retry: { first: 10ms, max: 50ms } }
  - { name: told, match: { path: '/told/*' }, group: once, backend: shop, mode: deferred, callback: { hosts: [ 127.0.0.1 ], addresses: [ 127.0.0.0/8 ], http: true, secrets: { env: CALLBACKS }, retry: { first: 10ms, max: 50ms } } }
  - { name: both, match: { path: '/both/*' }, group: both, backend: shop, mode: forward, respondAsync: true }
  - { name: once, match: { path: '/once/*' }, group: once, backend: shop, mode: deferred, retry: { for: 0 } }
`;
    const groups = `
  hooks: { limits: [ { name: pace, rate: 500/1s, burst: 100 } ] }
  once: { limits: [ { name: c, concurrency: 4 } ] }
  both: { limits: [ { name: c, concurrency: 2 } ], ttl: { default: 30s, max: 60s } }
`;
    fleet = await Fleet.start({ binary: { path: binary() }, nats: 1, replicas: 3, groups, more, proxy: true, env: { CALLBACKS: SECRET } });
    asking = new Asking(fleet);
    await fleet.decided(['hooks', 'once', 'both']);
  });

  afterAll(async () => {
    await fleet?.clean();
    backend?.close();
  });

  beforeEach(() => {
    backend.answer = (_sent, response) => void response.end('ok');
  });

  describe('of three replicas', () => {
    test('One that any replica takes is sent once, and every replica shows its answer', async () => {
      const ids = await Promise.all([0, 1, 2].map(async (replica) => (await submit(replica, `/hooks/any-${replica}`)).id));
      for (const [index, id] of ids.entries()) {
        for (const replica of [0, 1, 2]) {
          expect(await show(replica, id, 30)).toMatchObject({ state: 'done', attempts: 1 });
          const answer = await fetch(`${fleet.replicas[replica]?.url}/v1/requests/${id}/response`);
          expect([answer.status, await answer.text()]).toEqual([200, 'ok']);
        }
        expect(backend.of(`/hooks/any-${index}`)).toMatchObject([{ attempt: 1, key: id, body: `body of /hooks/any-${index}` }]);
      }
    });

    test('One key at three replicas at once is one ticket and one delivery; another body under it is a conflict', async () => {
      const headers = { 'idempotency-key': '"twice"' };
      const tickets = await Promise.all([0, 1, 2].map((replica) => submit(replica, '/hooks/twice', {}, headers)));
      expect(tickets.map(({ status }) => status)).toEqual([202, 202, 202]);
      expect(new Set(tickets.map(({ id }) => id)).size).toBe(1);
      expect(tickets.filter(({ existing }) => !existing)).toHaveLength(1);
      expect((await submit(1, '/hooks/twice', { body: 'other' }, headers)).status).toBe(422);
      expect(await show(0, tickets[0]?.id ?? '', 30)).toMatchObject({ state: 'done' });
      expect(backend.of('/hooks/twice')).toHaveLength(1);
    });

    test('A long poll at a replica that does not own the group ends with the request', async () => {
      const owner = await asking.owner('hooks');
      const other = await asking.other('hooks');
      let respond = (): void => {};
      backend.answer = (_sent, response) => {
        respond = () => void response.end('late');
      };
      const { id } = await submit(other, '/hooks/slow');
      await until('it to be sent', () => backend.of('/hooks/slow').length === 1);
      for (const replica of [owner, other]) expect(await show(replica, id)).toMatchObject({ state: 'sending' });
      const shown = show(other, id, 30);
      respond();
      expect(await shown).toMatchObject({ state: 'done' });
    });

    test('A dead letter is shown, listed and redriven at any replica', async () => {
      const [first, second] = [await asking.other('once'), await asking.owner('once')];
      for (const replica of [first, second]) {
        const path = `/once/dead-${replica}`;
        backend.answer = (_sent, response) => void response.writeHead(404).end('no such table');
        const { id } = await submit(replica, path);
        expect(await show(first, id, 30)).toMatchObject({ state: 'dead', error: 'status_404', attempts: 1 });
        const listed = await fetch(`${fleet.replicas[replica]?.adminUrl}/v1/requests?state=dead&group=once`);
        expect(await listed.json()).toMatchObject({ requests: [{ id, state: 'dead' }] });
        backend.answer = (_sent, response) => void response.end('ok');
        expect((await post(replica, `/v1/requests/${id}/redrive`)).status).toBe(200);
        expect(await show(replica, id, 30)).toMatchObject({ state: 'done', attempts: 2 });
        expect(backend.of(path).map(({ attempt }) => attempt)).toEqual([1, 2]);
        expect((await post(first, `/v1/requests/${id}/redrive`)).status).toBe(409);
      }
    });

    test('A page token that one replica made is taken by another, and a forged one by none', async () => {
      const notBefore = new Date(Date.now() + 3_600_000).toISOString();
      const ids = [await submit(0, '/hooks/page-1', { notBefore }), await submit(0, '/hooks/page-2', { notBefore })].map(({ id }) => id);
      const page = async (replica: number, path: string) => {
        const answer = await fetch(`${fleet.replicas[replica]?.adminUrl}${path}`);
        return { ...((await answer.json()) as { requests?: { id: string }[]; nextPageToken?: string }), status: answer.status };
      };
      const first = await page(0, '/v1/requests?group=hooks&state=pending&page_size=1');
      const second = await page(1, `/v1/requests?group=hooks&state=pending&page_token=${first.nextPageToken}`);
      expect([...(first.requests ?? []), ...(second.requests ?? [])].map(({ id }) => id)).toEqual(ids);
      for (const replica of [0, 1, 2]) {
        for (const list of ['groups', 'groups/hooks/waiters', 'groups/hooks/leases', 'requests'])
          for (const token of ['abc', '-1', '0.', '9'.repeat(30)])
            expect(await page(replica, `/v1/${list}?page_token=${token}`)).toMatchObject({ status: 400, reason: 'malformed' });
      }
      for (const id of ids) expect((await post(2, `/v1/requests/${id}/cancel`)).status).toBe(200);
    });

    test('A request is cancelled at any replica, before it is sent and on its way', async () => {
      const other = await asking.other('hooks');
      const notBefore = new Date(Date.now() + 3_600_000).toISOString();
      const { id: later } = await submit(other, '/hooks/later', { notBefore });
      expect(await post(other, `/v1/requests/${later}/cancel`)).toMatchObject({ status: 200, cancelled: true });
      expect(await show(await asking.owner('hooks'), later)).toMatchObject({ state: 'cancelled' });
      let gone = false;
      backend.answer = (_sent, response) => void response.on('close', () => (gone = true));
      const { id } = await submit(other, '/hooks/cancelled');
      await until('it to be sent', () => backend.of('/hooks/cancelled').length === 1);
      expect(await post(other, `/v1/requests/${id}/cancel`)).toMatchObject({ status: 200, cancelled: true, aborted: true });
      await until('the owner to give it up', () => gone);
      expect(await post(other, `/v1/requests/${id}/cancel`)).toMatchObject({ status: 200, cancelled: false });
    });

    test('Permits, live requests and stored ones of three replicas share one limit', async () => {
      const respond: (() => void)[] = [];
      backend.answer = (_sent, response) => respond.push(() => void response.end('ok'));
      const permit = await asking.acquire(0, 'both', { lease: '30s' });
      const stored = await Promise.all([0, 1, 2].map((replica) => submit(replica, `/both/stored-${replica}`)));
      await until('one to be sent', () => respond.length === 1);
      // A caller of another replica waits for a second, and then leaves its request in its place.
      const headers = { prefer: 'respond-async, wait=1' };
      const left = await fetch(`${fleet.replicas[await asking.other('both')]?.proxyUrl}/both/live`, { method: 'POST', headers, body: 'x' });
      expect([left.status, left.headers.get('preference-applied')]).toEqual([202, 'respond-async']);
      expect(respond).toHaveLength(1);
      const owner = fleet.replicas[await asking.owner('both')];
      await until('its owner to have all four', async () => (await owner?.metrics())?.includes('sluice_deferred_pending{group="both"} 4') === true);
      await asking.post(1, `/v1/permits/${permit.permit}/release`);
      await until('two to be on their way', () => respond.length === 2);
      for (let sent = 0; sent < 4; sent++) {
        await until('the next to be sent', () => respond.length > sent);
        expect(respond.length - sent).toBeLessThanOrEqual(2);
        respond[sent]?.();
      }
      for (const { id } of stored) expect(await show(0, id, 30)).toMatchObject({ state: 'done', attempts: 1 });
      // Live callers go before what was stored: the one that left its place in line was the first to be sent from there.
      expect(
        backend.sent
          .filter(({ path }) => path.startsWith('/both/'))
          .map(({ path }) => path)
          .indexOf('/both/live'),
      ).toBe(1);
    });

    test('A key may be tried again at another replica, under the host name of that one', async () => {
      const headers = { 'idempotency-key': '"elsewhere"' };
      const answers = await Promise.all(fleet.replicas.map(({ proxyUrl }) => fetch(`${proxyUrl}/hooks/elsewhere`, { method: 'POST', headers, body: 'x' })));
      expect(answers.map(({ status }) => status)).toEqual([202, 202, 202]);
      expect(new Set(answers.map(({ headers: of }) => of.get('location'))).size).toBe(1);
    });

    test('The end of a request is reported to the URL that it named, again until it is answered, whoever ended it', async () => {
      const owner = await asking.owner('once');
      const other = await asking.other('once');
      let failures = 1;
      backend.answer = ({ path }, response) => void response.writeHead(path === '/report' && failures-- > 0 ? 500 : 200).end('ok');
      const callback = `${backend.url}/report`;
      const { id } = await submit(other, '/told/done', { callback });
      const { id: cancelled } = await submit(owner, '/told/cancelled', { callback, notBefore: new Date(Date.now() + 3_600_000).toISOString() });
      expect(await post(other, `/v1/requests/${cancelled}/cancel`)).toMatchObject({ cancelled: true });
      await until('both to be reported', () => backend.of('/report').length === 3);
      const events = backend.of('/report').map(({ body }) => JSON.parse(body) as { type: string; data: { id: string } });
      expect(new Set(events.map(({ type, data }) => `${type} ${data.id}`))).toEqual(new Set([`request.done ${id}`, `request.cancelled ${cancelled}`]));
      const ids = backend.of('/report').map(({ headers }) => headers['webhook-id']);
      expect(new Set(ids).size).toBe(2);
      await until('the replicas to say so', async () => ((await show(other, id)) as { callback?: string }).callback === 'done');
    });
  });

  describe('when the owner of their group goes', () => {
    /** Submits at replicas that are not the owner, `count` requests, each until it is acknowledged; calls `meanwhile` when a third is. */
    async function submitAround(path: string, count: number, replicas: readonly number[], meanwhile: () => Promise<void>): Promise<readonly string[]> {
      const ids: string[] = [];
      const refused: number[] = [];
      let going: Promise<void> | undefined;
      for (let index = 0; index < count; index++) {
        const headers = { 'idempotency-key': `"${path}${index}"` };
        for (let answer = await submit(replicas[index % replicas.length] as number, `${path}${index}`, {}, headers); ; ) {
          if (answer.status === 202) {
            ids.push(answer.id);
            break;
          }
          refused.push(answer.status);
          answer = await submit(replicas[index % replicas.length] as number, `${path}${index}`, {}, headers);
        }
        if (index === Math.floor(count / 3)) going = meanwhile();
      }
      await going;
      expect(refused).toEqual([]);
      return ids;
    }

    test('by a kill: all submits at others are acknowledged, and what was on its way is sent again, one attempt on', async () => {
      const owner = await asking.owner('hooks');
      const others = [0, 1, 2].filter((index) => index !== owner);
      let held = 0;
      backend.answer = ({ path, attempt }, response) => {
        // What the first owner sends is never answered.
        if (path.startsWith('/hooks/kill') && attempt === 1 && held++ < 5) return;
        response.end('ok');
      };
      const ids = await submitAround('/hooks/kill', 60, others, async () => {
        const { process } = fleet.replicas[owner] as (typeof fleet.replicas)[number];
        process.kill();
        await process.exit;
      });
      for (const id of ids) expect(await show(others[0] as number, id, 60)).toMatchObject({ state: 'done' });
      const seen = backend.sent.filter(({ path }) => path.startsWith('/hooks/kill'));
      for (const path of new Set(seen.map((each) => each.path))) {
        const attempts = seen.filter((each) => each.path === path).map(({ attempt }) => attempt);
        // One alone may be the second: armed when its owner died, and not sent.
        expect([[1], [2], [1, 2]]).toContainEqual(attempts);
      }
      expect(seen.filter(({ attempt }) => attempt === 2).length).toBeGreaterThanOrEqual(5);
      await fleet.replicas[owner]?.start();
    });

    test('by a stop in order: what is on its way ends there, and nothing is sent twice', async () => {
      const owner = await asking.owner('hooks');
      const others = [0, 1, 2].filter((index) => index !== owner);
      const answers: (() => void)[] = [];
      backend.answer = ({ path }, response) => {
        if (path.startsWith('/hooks/slow-stop')) answers.push(() => void response.end('late'));
        else response.end('ok');
      };
      const slow = await Promise.all([0, 1, 2].map((index) => submit(others[0] as number, `/hooks/slow-stop${index}`)));
      await until('them to be sent', () => answers.length === 3);
      const ids = await submitAround('/hooks/stop', 30, others, async () => {
        const stopped = fleet.replicas[owner]?.stop();
        // The new owner sends others by now, and would send these again.
        const { id } = await submit(others[0] as number, '/hooks/after-stop');
        await until('the new owner to send', async () => (await show(others[0] as number, id)).state === 'done');
        for (const answer of answers) answer();
        await stopped;
      });
      for (const id of [...slow.map((each) => each.id), ...ids]) expect(await show(others[0] as number, id, 60)).toMatchObject({ state: 'done', attempts: 1 });
      const seen = backend.sent.filter(({ path }) => path.startsWith('/hooks/slow-stop') || path.startsWith('/hooks/stop'));
      expect(new Set(seen.map(({ path }) => path)).size).toBe(seen.length);
      await fleet.replicas[owner]?.start();
    });
  });
});
