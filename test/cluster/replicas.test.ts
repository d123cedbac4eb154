import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SHARDS, shardOf } from '../../src/core/sharding.ts';
import { Fleet } from '../faults/fleet.ts';
import { natsBinary, natsVersions, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';
import { type Answer, Asking, type Standing } from './asking.ts';

/*
 * Three replicas as processes of their own over one nats-server, asked as any caller would. Periods are those of the seeds
 * divided where waiting for them would take minutes; real time is the subject.
 */

showLogsOfFailures();

const GROUPS = `
  identify: { limits: [ { name: pace, spacing: 200ms, scope: key } ], ttl: { default: 30s, max: 60s } }
  urgent: { limits: [ { name: pace, spacing: 1s } ], ttl: { default: 30s, max: 60s } }
  quota: { limits: [ { name: q, window: 10/10s } ], ttl: { default: 0s, max: 60s } }
  starts: { limits: [ { name: s, spacing: 300ms } ], ttl: { default: 30s, max: 60s } }
  slots: { limits: [ { name: c, concurrency: 1 } ], lease: { default: 30s, max: 60s }, ttl: { default: 30s, max: 60s } }
  pause: { limits: [ { name: p, spacing: 100ms } ] }
`;

let fleet: Fleet;
let asking: Asking;

const acquire = (replica: number, group: string, more: object = {}) => asking.acquire(replica, group, more);
const post = (replica: number, path: string, body: object = {}) => asking.post(replica, path, body);
const waiting = (group: string) => asking.waiting(group);

/** The run's server alone and as three, and the least version. */
const SERVERS = [...natsVersions().map((row) => ({ ...row, nats: 1 as const })), { version: 'of the run', binary: natsBinary, nats: 3 as const }];

describe.each(SERVERS)('Three replicas over $nats nats-server $version', ({ binary, nats }) => {
  beforeAll(async () => {
    fleet = await Fleet.start({ binary: { path: binary() }, nats, replicas: 3, groups: GROUPS });
    asking = new Asking(fleet);
    await fleet.decided(['identify', 'urgent', 'quota', 'starts', 'slots', 'pause']);
  });

  afterAll(() => fleet?.clean());

  test('GQ-16: thirty clients spread over them go one per period, first come first served', async () => {
    const asks: Promise<Answer>[] = [];
    let answered = 0;
    for (let client = 0; client < 30; client++) {
      asks.push(acquire(client % 3, 'identify', { key: 'bucket' }).finally(() => answered++));
      await until('the ask to be in line', async () => answered + (await waiting('identify')) > client);
    }
    const answers = await Promise.all(asks);
    // Told over the network: each was admitted somewhere between `earliest` and `at`.
    for (const [index, { earliest }] of answers.entries())
      for (const [behind, { at }] of answers.slice(index).entries()) expect(at - earliest).toBeGreaterThanOrEqual(behind * 200);
  });

  test('Priority is one over all of them: the urgent one goes first wherever it came in', async () => {
    await acquire(0, 'urgent');
    const late = [acquire(0, 'urgent', { priority: 5 }), acquire(1, 'urgent', { priority: 5 })];
    await until('both to wait', async () => (await waiting('urgent')) === 2);
    const urgent = acquire(2, 'urgent', { priority: 0 });
    const [first, ...others] = [await urgent, ...(await Promise.all(late))];
    for (const other of others) expect(other.at).toBeGreaterThan(first?.at as number);
  });

  test('LN-20: ten in 10 s through two gateways are ten: eight by one and two by the other, and one is refused', async () => {
    const eight = await Promise.all(Array.from({ length: 8 }, () => acquire(0, 'quota', { ttl: '0s' })));
    const three = await Promise.all(Array.from({ length: 3 }, () => acquire(1, 'quota', { ttl: '0s' })));
    expect(eight.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200));
    expect(three.map(({ status }) => status).sort()).toEqual([200, 200, 429]);
  });

  test('RQ-13: two replicas start one each period in total, and no item twice', async () => {
    const start = performance.now();
    const answers = await Promise.all(Array.from({ length: 10 }, (_, item) => acquire(item % 2, 'starts', { requestId: `item-${item}` })));
    const times = answers.map(({ at }) => at - start).sort((a, b) => a - b);
    expect(times.at(-1)).toBeGreaterThanOrEqual(9 * 300 - 50);
    expect(new Set(answers.map(({ permit }) => permit)).size).toBe(10);
  });

  test('The same request id has one permit at any of them; with other fields it is malformed', async () => {
    const first = await acquire(0, 'slots', { requestId: 'same', lease: '30s' });
    const again = await acquire(1, 'slots', { requestId: 'same', lease: '30s' });
    expect(again.permit).toBe(first.permit);
    expect((await acquire(2, 'slots', { requestId: 'same', lease: '31s' })).reason).toBe('malformed');
    expect((await post(2, `/v1/permits/${first.permit}/release`)).status).toBe(200);
  });

  test('A lease is renewed and released wherever its holder likes, and the next one’s fence is larger', async () => {
    const first = await acquire(0, 'slots');
    const next = acquire(1, 'slots');
    expect((await post(2, `/v1/permits/${first.permit}/renew`, { lease: '30s' })).status).toBe(200);
    expect((await post(1, `/v1/permits/${first.permit}/release`)).status).toBe(200);
    const second = await next;
    expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
    await post(0, `/v1/permits/${second.permit}/release`);
  });

  test('All of them name the same owner and term of a group, and three replicas of one revision that share all shards', async () => {
    const ask = () => Promise.all([0, 1, 2].map((index) => asking.standing('slots', index)));
    const shared = ({ replicas }: Standing) => replicas.length === 3 && replicas.reduce((sum, { shards }) => sum + shards, 0) === SHARDS;
    await until('all shards to be shared out, as each sees it', async () => (await ask()).every(shared));
    const standings = await ask();
    const owner = await asking.owner('slots');
    for (const [index, { placement, replicas }] of standings.entries()) {
      expect(placement).toEqual({ shard: shardOf('slots'), replica: `r${owner}`, term: standings[0]?.placement?.term });
      expect(Number(placement?.term)).toBeGreaterThan(0);
      expect(replicas.map(({ name, self }) => [name, self])).toEqual([0, 1, 2].map((each) => [`r${each}`, each === index]));
      expect(new Set(replicas.map(({ revision, hash }) => `${revision} ${hash}`))).toEqual(new Set([`1 ${replicas[0]?.hash}`]));
    }
  });

  test('An operator’s pause at one holds at all of them', async () => {
    const start = performance.now();
    expect((await post(0, '/v1/groups/pause/pause', { duration: '1s' })).status).toBe(200);
    expect((await acquire(1, 'pause')).at - start).toBeGreaterThanOrEqual(1_000);
  });
});
