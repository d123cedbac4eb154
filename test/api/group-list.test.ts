import { createHash } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createAuth } from '../../src/api/auth.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { Rig, settingsOf } from '../admission/rig.ts';
import { concurrency, group, rate, spacing } from '../core/specs.ts';
import { type RestServer, startRest } from './rest/server.ts';

/* Groups over plain HTTP: state, cause, filters, order, counts; and what a credential with a key may see of others. */

let rig: Rig;
let server: RestServer;

const keyOf = (name: string) => `key-${name}`;
const credential = (name: string, more: { key?: string }) => ({
  name,
  sha256: createHash('sha256').update(keyOf(name)).digest('hex'),
  can: ['read', 'manage'] as const,
  groups: undefined,
  key: more.key,
  classes: undefined,
});

beforeEach(async () => {
  rig = new Rig([
    settingsOf(group('ci.runners', [concurrency(1, { name: 'one' })])),
    settingsOf(group('llm.chat', [rate(500, MINUTE, 20, { name: 'rpm' })])),
    settingsOf(group('Shadow', [spacing(5 * SECOND)], { enforce: false })),
  ]);
  await rig.admission.start();
  await rig.asked({ group: 'ci.runners', key: 'acme', holder: 'worker-7', lease: 10 * MINUTE });
  await rig.asked({ group: 'ci.runners', key: 'globex', holder: 'job-1' });
  await rig.pass(60);
  const auth = createAuth([credential('ana', {}), credential('globex', { key: 'globex' }), { ...credential('asker', { key: 'mine' }), can: ['acquire'] }]);
  server = await startRest({ admission: rig.admission, auth });
});
afterEach(() => server.stop());

async function look(path: string, who = 'ana'): Promise<{ status: number; body: Record<string, never> & { groups: { name: string }[] } }> {
  const response = await fetch(`${server.baseUrl}${path}`, { headers: { authorization: `Bearer ${keyOf(who)}` } });
  return { status: response.status, body: (await response.json()) as never };
}

const names = async (query: string) => (await look(`/v1/groups?${query}`)).body.groups.map(({ name }) => name);

test('a stuck group says since when, which limit binds, who holds it, and one sentence with all of it', async () => {
  const { body } = await look('/v1/groups/ci.runners');
  expect(body).toMatchObject({
    state: 'stuck',
    stateSince: '2026-01-05T00:00:00Z',
    oldestSince: '2026-01-05T00:00:00Z',
    lastAdmittedAt: '2026-01-05T00:00:00Z',
    binding: {
      group: 'ci.runners',
      limit: 'one',
      kind: 'concurrency',
      holders: { count: 1, oldest: { holder: 'worker-7', key: 'acme', since: '2026-01-05T00:00:00Z' } },
      text: 'worker-7 (acme) holds the only slot for 1m 00s',
    },
    limits: [{ quota: '1 at once' }],
    counters: { arrived: '2', left: '0' },
    history: { step: '10s', arrived: [2, 0, 0, 0, 0, 0, 0] },
    flags: [],
  });
  const explained = await look('/v1/groups/ci.runners/explain?ttl=0s');
  expect(explained.body).toMatchObject({ binding: { text: 'worker-7 (acme) holds the only slot for 1m 00s' } });
});

test('a credential with a key sees no names of others, and the same stand-in each time', async () => {
  const seen = [await look('/v1/groups/ci.runners', 'globex'), await look('/v1/groups/ci.runners', 'globex')];
  const text = JSON.stringify(seen[0]?.body);
  expect(text).not.toContain('acme');
  expect(text).not.toContain('worker-7');
  expect(text).toMatch(/key [0-9a-f]{6} holds the only slot for 1m 00s/);
  expect(seen[1]?.body).toEqual(seen[0]?.body);
});

test('groups are sorted, filtered, counted and paged by the server', async () => {
  expect(await names('')).toEqual(['Shadow', 'ci.runners', 'llm.chat']);
  expect(await names('sort=oldest')).toEqual(['ci.runners', 'Shadow', 'llm.chat']);
  expect(await names('state=stuck')).toEqual(['ci.runners']);
  expect(await names('state=shadow')).toEqual(['Shadow']);
  expect(await names('q=CHAT')).toEqual(['llm.chat']);
  const { body } = await look('/v1/groups?sort=waiting&limit=1');
  expect(body).toMatchObject({ total: 3, counts: { all: 3, stuck: 1, waiting: 1, open: 2, shadow: 1, override: 0 }, now: '2026-01-05T00:01:00Z' });
  expect(await names(`sort=waiting&limit=1&after=${body['nextPageToken']}`)).toEqual(['Shadow']);
  expect((await look(`/v1/groups?sort=name&after=${body['nextPageToken']}`)).status).toBe(400);
});

test.each(['sort=age', 'state=bad', 'limit=1&page_size=1', 'limit=1001', `q=${'x'.repeat(200)}`])('%s is refused as malformed', async (query) => {
  expect((await look(`/v1/groups?${query}`)).body).toMatchObject({ status: 400, reason: 'malformed' });
});

test('limits are in the notation of the file', async () => {
  expect((await look('/v1/groups/llm.chat')).body).toMatchObject({ limits: [{ quota: '500/60s, burst 20' }], state: 'open' });
});

test('Explain tells a story: the place, who is ahead, what holds it up, and what would help', async () => {
  const { body } = await look('/v1/groups/ci.runners/explain?key=acme&ttl=1h');
  expect(body).toMatchObject({
    text: 'It would wait at place 2, for a time that is not known. 1 waiter goes first; next is job-1 (globex) of priority 999, which has waited for 1m 00s. Held up by limit one: worker-7 (acme) holds the only slot for 1m 00s.',
    help: [
      'Ask worker-7 to release what it holds; unless it renews, its lease ends in 9m 00s.',
      'A more urgent class or priority, where the caller may name one, goes before all of them.',
    ],
    ahead: { total: '1', moreUrgent: '0', ofKey: '0', next: { key: 'globex', priority: 999, holder: 'job-1', waited: '60s' } },
  });
  const now = await look('/v1/groups/llm.chat/explain');
  expect(now.body).toMatchObject({ admitted: true, text: 'It would be admitted at once.', help: [] });
  const large = await look('/v1/groups/llm.chat/explain?cost=600');
  expect(large.body).toMatchObject({ refusal: { reason: 'OVERSIZED' }, help: ['Ask for 20 requests at most at once.'] });
});

test('Explain names no key and no holder of others to a credential with a key', async () => {
  const { body } = await look('/v1/groups/ci.runners/explain?ttl=1h', 'asker');
  const text = JSON.stringify(body);
  expect(text).toMatch(/next is key [0-9a-f]{6} of priority 999/);
  for (const name of ['acme', 'worker-7', 'globex', 'job-1']) expect(text).not.toContain(name);
});

test('waiters and leases are filtered and counted by the server; a credential with a key counts its own alone', async () => {
  for (const [key, holder] of [
    ['acme', 'job-2'],
    ['globex', 'job-3'],
    ['acme', 'nightly'],
  ] as const)
    await rig.asked({ group: 'ci.runners', key, holder });
  const listed = async (query: string, who = 'ana') => (await look(`/v1/groups/ci.runners/${query}`, who)).body as unknown as Listed;
  const holders = ({ waiters = [], leases = [], total }: Listed) => [total, ...[...waiters, ...leases].map(({ holder }) => holder)];
  expect(holders(await listed('waiters'))).toEqual([4, 'job-1', 'job-2', 'job-3', 'nightly']);
  expect(holders(await listed('waiters?key=acme&limit=1'))).toEqual([2, 'job-2']);
  expect(holders(await listed('waiters?holder=JOB&priority=999'))).toEqual([3, 'job-1', 'job-2', 'job-3']);
  expect(holders(await listed('waiters?priority=1'))).toEqual([0]);
  expect(holders(await listed('leases?key=acme&holder=worker'))).toEqual([1, 'worker-7']);
  expect(holders(await listed('leases?key=globex'))).toEqual([0]);
  expect(holders(await listed('waiters', 'globex'))).toEqual([2, 'job-1', 'job-3']);
  expect(holders(await listed('waiters?key=acme', 'globex'))).toEqual([0]);
  const { nextPageToken } = await listed('waiters?key=acme&limit=1');
  expect(holders(await listed(`waiters?key=acme&limit=1&after=${nextPageToken}`))).toEqual([2, 'nightly']);
  expect((await look(`/v1/groups/ci.runners/waiters?key=globex&after=${nextPageToken}`)).status).toBe(400);
  expect((await look(`/v1/groups/ci.runners/waiters?holder=${'x'.repeat(257)}`)).status).toBe(400);
  for (const priority of [-1, 1001]) expect((await look(`/v1/groups/ci.runners/waiters?priority=${priority}`)).status).toBe(400);
});

interface Listed {
  readonly waiters?: readonly { holder: string }[];
  readonly leases?: readonly { holder: string }[];
  readonly total: number;
  readonly nextPageToken: string;
}
