import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RateLimitResponse_Code as Code } from '../../src/gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { addedHeaders, RateLimitClient, rateLimitRequest } from '../api/rate-limit-client.ts';
import { Fleet } from '../faults/fleet.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';
import { Asking } from './asking.ts';

/* Envoy's rate limit service of two replicas: whichever is asked, one of them decides. */

showLogsOfFailures();

const GROUPS = `
  ahead: { limits: [ { name: hour, window: 1/1h } ], ttl: { default: 0s } }
  chat: { limits: [ { name: pace, spacing: 200ms } ], ttl: { default: 30s, max: 60s } }
  hour: { limits: [ { name: hour, window: 1/1h } ], ttl: { default: 0s } }
  low: { limits: [ { name: minute, window: 1/60s } ], ttl: { default: 5m, max: 5m } }
`;
const RULES = `envoy: { descriptors: [ { entries: [ ahead ], group: ahead, key: none }, { entries: [ chat ], group: chat, key: none }, { entries: [ hour ], group: hour, key: none }, { entries: [ low ], group: low, key: none } ] }`;

let fleet: Fleet;
let asking: Asking;
let clients: readonly RateLimitClient[] = [];

beforeAll(async () => {
  fleet = await Fleet.start({ binary: { path: natsBinary() }, nats: 1, replicas: 2, groups: GROUPS, more: RULES, grpc: true });
  asking = new Asking(fleet);
  await fleet.decided(['ahead', 'chat', 'hour', 'low']);
  clients = fleet.replicas.map(({ proxyPort }) => new RateLimitClient(`127.0.0.1:${proxyPort}`));
});

afterAll(async () => {
  for (const client of clients) client.close();
  await fleet?.clean();
});

const at = (replica: number): RateLimitClient => {
  const client = clients[replica];
  if (client === undefined) throw new Error(`there is no replica ${replica}`);
  return client;
};

/** Units that are used of a group's one limit. */
async function used(group: string): Promise<number> {
  const answer = await fetch(`${fleet.replicas[0]?.adminUrl}/v1/groups/${group}`);
  return Number(((await answer.json()) as { limits: readonly { used?: string }[] }).limits[0]?.used ?? 0);
}

describe('two replicas', () => {
  test('hold requests of both in one line: one for each period in all, never early', async () => {
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => at(index % 2).ask(rateLimitRequest([[{ chat: '1' }]]))));
    expect(answers.map((each) => (each instanceof Error ? each.message : each.overallCode))).toEqual(Array(6).fill(Code.OK));
    expect(performance.now() - began).toBeGreaterThanOrEqual(5 * 200);
  });

  test('say the same of a limit that is used up, with its fields, whichever decides', async () => {
    const asked = rateLimitRequest([[{ hour: '1' }]]);
    expect(await at(0).ask(asked)).toMatchObject({ overallCode: Code.OK });
    for (const replica of [0, 1]) {
      const answer = await at(replica).ask(asked);
      expect(answer).toMatchObject({ overallCode: Code.OVER_LIMIT, statuses: [{ code: Code.OVER_LIMIT, limitRemaining: 0 }] });
      expect(addedHeaders(answer)).toMatchObject({ 'ratelimit-policy': '"hour";q=1;w=3600', 'retry-after': expect.stringMatching(/^\d+$/) as string });
    }
  });

  test('give back what was granted elsewhere when a caller leaves, at whichever it asked', async () => {
    expect(await at(0).ask(rateLimitRequest([[{ low: '1' }]]))).toMatchObject({ overallCode: Code.OK });
    for (const replica of [0, 1]) {
      // Granted by `ahead`, which is asked first and has one an hour; `low` is used up for a minute.
      const call = at(replica).begin(rateLimitRequest([[{ low: '1' }], [{ ahead: '1' }]]), { deadlineMs: 90_000 });
      await until('it to wait', async () => (await asking.waiting('low')) === 1);
      call.call.cancel();
      await until('its place to be free', async () => (await asking.waiting('low')) === 0);
      await until('what was granted to be back', async () => (await used('ahead')) === 0);
    }
    expect(await at(1).ask(rateLimitRequest([[{ ahead: '1' }]]))).toMatchObject({ overallCode: Code.OK });
    expect(await at(0).ask(rateLimitRequest([[{ ahead: '1' }]]))).toMatchObject({ overallCode: Code.OVER_LIMIT });
  });
});
