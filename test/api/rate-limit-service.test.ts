import { createHash } from 'node:crypto';
import { fromBinary } from '@bufbuild/protobuf';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import {
  RateLimitResponse_Code as Code,
  type RateLimitResponse,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../../src/gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { HealthCheckResponseSchema, HealthCheckResponse_ServingStatus as Serving } from '../../src/gen/grpc/health/v1/health_pb.ts';
import { until } from '../support/fakes/until.ts';
import { addedHeaders, type RateLimitClient, rateLimitConfig, rateLimitRequest, rateLimitServer } from './rate-limit-client.ts';

/* Envoy's rate limit service of a whole server, called by a real gRPC client. */

let server: Awaited<ReturnType<typeof rateLimitServer>>;
let client: RateLimitClient;

async function start(text: string): Promise<void> {
  server = await rateLimitServer(text);
  client = server.client;
}

afterEach(() => server.stop());

const CHAT =
  'groups: { chat: { limits: [ { name: pace, spacing: 200ms } ] } }\nenvoy: { descriptors: [ { entries: [ { key: generic_key, value: chat } ], group: chat } ] }\n';
const chat = rateLimitRequest([[{ generic_key: 'chat' }]]);
const codeOf = (answer: RateLimitResponse | ServiceError): number => (answer instanceof Error ? -answer.code : answer.overallCode);
const problem = (answer: RateLimitResponse | ServiceError): { reason?: string; detail?: string; limit?: string } =>
  answer instanceof Error ? {} : JSON.parse(Buffer.from(answer.rawBody).toString());

describe('a request of Envoy', () => {
  test('is held until the limit lets it pass, never early, in the order of coming', async () => {
    await start(CHAT);
    const began = performance.now();
    const ended: number[] = [];
    const calls = [0, 1, 2].map(async (index) => {
      expect(codeOf(await client.ask(chat))).toBe(Code.OK);
      ended.push(index);
      return performance.now() - began;
    });
    const took = await Promise.all(calls);
    expect(ended).toEqual([0, 1, 2]);
    expect(took[1]).toBeGreaterThanOrEqual(200);
    expect(took[2]).toBeGreaterThanOrEqual(400);
  });

  test('that could not pass by the deadline of its caller is over the limit, with Retry-After, the RateLimit fields and a problem', async () => {
    await start(`groups: { chat: { limits: [ { name: pace, spacing: 1h } ] } }\nenvoy: { descriptors: [ { entries: [ generic_key ], group: chat } ] }\n`);
    expect(codeOf(await client.ask(chat))).toBe(Code.OK);
    const answer = await client.ask(chat, { deadlineMs: 5_000 });
    const headers = addedHeaders(answer);
    expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(3_590);
    expect(headers).toMatchObject({
      'ratelimit-policy': '"pace";q=1;w=3600',
      ratelimit: expect.stringMatching(/^"pace";r=0;t=\d+$/) as string,
      'content-type': 'application/problem+json',
    });
    expect(problem(answer)).toMatchObject({ status: 429, reason: 'infeasible', limit: 'pace', 'violated-policies': ['pace'] });
    expect((answer as RateLimitResponse).statuses).toMatchObject([
      {
        code: Code.OVER_LIMIT,
        currentLimit: { name: 'pace', requestsPerUnit: 1, unit: Unit.HOUR },
        limitRemaining: 0,
        durationUntilReset: { seconds: expect.any(BigInt) as bigint },
      },
    ]);
  });

  test('whose deadline is as near as that of a filter that says nothing passes now or not at all', async () => {
    await start(CHAT.replace('200ms', '3s'));
    expect(codeOf(await client.ask(chat))).toBe(Code.OK);
    const answer = await client.ask(chat, { deadlineMs: 45 });
    // At 45 ms the answer and the deadline of the client itself are near each other.
    expect([Code.OVER_LIMIT, -status.DEADLINE_EXCEEDED]).toContain(codeOf(answer));
    // It kept no place: the next one waits for the first alone.
    expect(codeOf(await client.ask(chat))).toBe(Code.OK);
  });

  test('that its caller gives up leaves the line', async () => {
    await start(
      'groups: { chat: { limits: [ { name: pace, spacing: 1m } ], ttl: { default: 5m } } }\nenvoy: { descriptors: [ { entries: [ generic_key ], group: chat } ] }\n',
    );
    await client.ask(chat);
    const second = client.begin(chat, { deadlineMs: 120_000 });
    await until('it to wait', async () => (await server.metrics()).includes('sluice_backlog_requests{group="chat"} 1'));
    second.call.cancel();
    expect(codeOf(await second.result)).toBe(-status.CANCELLED);
    await until('its place to be free', async () => (await server.metrics()).includes('sluice_backlog_requests{group="chat"} 0'));
  });

  test('of a group in shadow passes at once, and is counted', async () => {
    await start(
      `groups: { chat: { enforce: false, limits: [ { name: pace, spacing: 1h } ] } }\nenvoy: { descriptors: [ { entries: [ generic_key ], group: chat } ] }\n`,
    );
    expect([codeOf(await client.ask(chat)), codeOf(await client.ask(chat)), codeOf(await client.ask(chat))]).toEqual([Code.OK, Code.OK, Code.OK]);
    const metrics = await server.metrics();
    expect(metrics).toContain('sluice_envoy_answers_total{outcome="ok"} 1\n');
    expect(metrics).toContain('sluice_envoy_answers_total{outcome="shadow"} 2\n');
  });

  test.each([
    ['allow', Code.OK],
    ['refuse', Code.OVER_LIMIT],
  ])('with a descriptor that no item fits: unmatched: %s', async (unmatched, code) => {
    await start(`groups: { chat: {} }\nenvoy: { unmatched: ${unmatched}, descriptors: [ { entries: [ { key: generic_key, value: chat } ], group: chat } ] }\n`);
    const answer = await client.ask(rateLimitRequest([[{ generic_key: 'chat' }], [{ generic_key: 'mistyped' }]]));
    expect(codeOf(answer)).toBe(code);
    expect((answer as RateLimitResponse).statuses.map((each) => each.code)).toEqual([Code.OK, code]);
    if (unmatched === 'refuse') expect(problem(answer)).toMatchObject({ status: 429, reason: 'forbidden' });
    expect(await server.metrics()).toContain('sluice_envoy_descriptors_unmatched_total 1\n');
  });

  test.each([
    ['no domain', rateLimitRequest([[{ a: 'b' }]], { domain: '' }), /domain/],
    ['no descriptors', rateLimitRequest([]), /descriptors/],
    ['a descriptor without entries', rateLimitRequest([[{}]]), /entries/],
    ['65 descriptors', rateLimitRequest(Array.from({ length: 65 }, () => [{ a: 'b' }] as const)), /at most 64/],
  ])('with %s is malformed', async (_what, request, says) => {
    await start(CHAT);
    const error = (await client.ask(request)) as ServiceError;
    expect([error.code, error.details]).toEqual([status.INVALID_ARGUMENT, expect.stringMatching(says)]);
  });

  test('with 64 descriptors is answered for each', async () => {
    await start(CHAT);
    const answer = await client.ask(rateLimitRequest(Array.from({ length: 64 }, () => [{ a: 'b' }] as const)));
    expect((answer as RateLimitResponse).statuses).toHaveLength(64);
  });

  test('is refused as unavailable while the server drains, and as before until then', async () => {
    await start(
      `groups: { chat: { limits: [ { name: pace, spacing: 1m } ], ttl: { default: 5m, max: 5m } } }\nenvoy: { descriptors: [ { entries: [ generic_key ], group: chat } ] }\n`,
    );
    await client.ask(chat);
    const held = client.ask(chat, { deadlineMs: 120_000 });
    await client.ask(rateLimitRequest([[{ other: 'one' }]]));
    const drained = server.running.drain(true);
    expect(codeOf(await held)).toBe(-status.UNAVAILABLE);
    await drained;
  });
});

describe('hits', () => {
  const tokens = `groups: { chat: { limits: [ { name: tpm, window: 1000/1h, unit: tokens }, { name: rpm, window: 5/1h } ] } }
envoy: { descriptors: [ { entries: [ generic_key ], group: chat, unit: tokens, ttl: 0 }, { entries: [ plain ], group: chat, key: none, ttl: 0 } ] }
`;
  const left = (answer: RateLimitResponse | ServiceError): string => addedHeaders(answer)['ratelimit']?.replace(/;t=\d+/g, '') ?? '';

  test('of the descriptor count before those of the request, in the unit of the item; each is one request besides', async () => {
    await start(tokens);
    expect(left(await client.ask(rateLimitRequest([[{ generic_key: 'a' }, { hits: 300 }]], { hits: 7 })))).toBe('"tpm";r=700, "rpm";r=4');
    expect(left(await client.ask(rateLimitRequest([[{ generic_key: 'a' }]], { hits: 100 })))).toBe('"tpm";r=600, "rpm";r=3');
    expect(left(await client.ask(rateLimitRequest([[{ generic_key: 'a' }]])))).toBe('"tpm";r=599, "rpm";r=2');
  });

  test('of two descriptors with one group and key are charged in one step, or not at all', async () => {
    await start(tokens);
    const both = (hits: number) =>
      rateLimitRequest([
        [{ generic_key: 'a' }, { hits }],
        [{ generic_key: 'a' }, { hits: 100 }],
      ]);
    expect(left(await client.ask(both(500)))).toBe('"tpm";r=400, "rpm";r=4');
    const answer = await client.ask(both(400));
    expect([codeOf(answer), left(answer)]).toEqual([Code.OVER_LIMIT, '"tpm";r=400, "rpm";r=4']);
  });

  test('of 0 only look', async () => {
    await start(tokens);
    for (let index = 0; index < 5; index++) await client.ask(rateLimitRequest([[{ plain: 'a' }]]));
    expect(codeOf(await client.ask(rateLimitRequest([[{ plain: 'a' }]])))).toBe(Code.OVER_LIMIT);
    const answer = await client.ask(rateLimitRequest([[{ plain: 'a' }, { hits: 0 }]]));
    expect([codeOf(answer), left(answer)]).toEqual([Code.OK, '"tpm";r=1000, "rpm";r=0']);
  });

  test('beyond every limit are over the limit, not an error that would let the request pass', async () => {
    await start(tokens);
    for (const hits of [1_001n, 2n ** 53n, 2n ** 64n - 1n]) {
      const answer = await client.ask(rateLimitRequest([[{ generic_key: 'a' }, { hits }]]));
      expect([codeOf(answer), problem(answer).reason, addedHeaders(answer)['retry-after']]).toEqual([Code.OVER_LIMIT, 'oversized', undefined]);
    }
  });

  test('that are negative are not given back, and charge nothing', async () => {
    await start(tokens);
    const answer = await client.ask(rateLimitRequest([[{ generic_key: 'a' }, { hits: 300, negative: true }], [{ plain: 'a' }]]));
    expect([codeOf(answer), left(answer)]).toEqual([Code.OK, '"tpm";r=1000, "rpm";r=4']);
  });
});

describe('the answer to Envoy', () => {
  const named = (fields: string) => `groups: { chat: { limits: [ { name: pace, window: 1/10s } ], refusal: { contentType: text/html, body: "<b>later</b>" } } }
envoy: { rateLimitFields: ${fields}, descriptors: [ { entries: [ generic_key ], group: chat, ttl: 0 } ] }
`;
  const names = (answer: RateLimitResponse | ServiceError): string => Object.keys(addedHeaders(answer)).sort().join(' ');

  test.each([
    ['always', 'ratelimit ratelimit-policy', 'content-type ratelimit ratelimit-policy retry-after'],
    ['refused', '', 'content-type ratelimit ratelimit-policy retry-after'],
    ['never', '', 'content-type retry-after'],
  ])('rateLimitFields: %s', async (fields, ok, over) => {
    await start(named(fields));
    expect([names(await client.ask(chat)), names(await client.ask(chat))]).toEqual([ok, over]);
  });

  test("is the group's own refusal, where it has one, and a limit of ten seconds as ten times a second", async () => {
    await start(named('always'));
    await client.ask(chat);
    const answer = (await client.ask(chat)) as RateLimitResponse;
    expect([addedHeaders(answer)['content-type'], Buffer.from(answer.rawBody).toString()]).toEqual(['text/html', '<b>later</b>']);
    expect(answer.statuses[0]?.currentLimit).toMatchObject({ requestsPerUnit: 1, unit: Unit.SECOND, unitMultiplier: 10 });
  });
});

describe('credentials', () => {
  const key = (name: string, rest: string) => `{ name: ${name}, sha256: ${createHash('sha256').update(name).digest('hex')}, ${rest} }`;
  const guarded = `auth: { keys: [ ${key('edge', 'groups: [ chat ]')}, ${key('other', 'groups: [ web ]')}, ${key('reader', 'can: [ read ]')}, ${key('tenant', 'groups: [ chat ], key: acme')} ] }
groups: { chat: {}, web: {} }
envoy: { descriptors: [ { entries: [ generic_key ], group: chat, key: none }, { entries: [ tenant ], group: chat } ] }
`;

  test.each([
    ['', chat, status.UNAUTHENTICATED],
    ['edge', chat, undefined],
    ['other', chat, status.PERMISSION_DENIED],
    ['reader', chat, status.PERMISSION_DENIED],
    ['reader', rateLimitRequest([[{ unknown: 'x' }]]), status.PERMISSION_DENIED],
    ['tenant', chat, undefined],
    ['tenant', rateLimitRequest([[{ tenant: 'acme' }]]), undefined],
    ['tenant', rateLimitRequest([[{ tenant: 'zeta' }]]), status.PERMISSION_DENIED],
  ])('%s may do here what it may do elsewhere', async (token, request, code) => {
    await start(guarded);
    const answer = await client.ask(request, { token });
    expect(answer instanceof Error ? answer.code : undefined).toBe(code);
  });
});

describe('the service', () => {
  test('is unimplemented, with what to write, where the configuration has none', async () => {
    await start('groups: { chat: {} }\n');
    const error = (await client.ask(chat)) as ServiceError;
    expect(error).toMatchObject({ code: status.UNIMPLEMENTED, details: expect.stringContaining('envoy.descriptors') as string });
  });

  test('has a health of its own', async () => {
    await start(CHAT);
    const raw = new Client(server.running.addresses['grpc'] ?? '', credentials.createInsecure());
    const name = 'envoy.service.ratelimit.v3.RateLimitService';
    const request = Buffer.concat([Buffer.from([0x0a, name.length]), Buffer.from(name)]);
    const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
      raw.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        (bytes: Buffer) => bytes,
        (bytes) => bytes,
        request,
        (error, bytes) => (error === null ? resolve(bytes) : reject(error)),
      );
    });
    raw.close();
    expect(fromBinary(HealthCheckResponseSchema, answer ?? Buffer.alloc(0)).status).toBe(Serving.SERVING);
  });

  test('takes other rules at a reload, and neither comes nor goes by one', async () => {
    await start(CHAT);
    const groups = 'groups: { chat: { limits: [ { name: pace, spacing: 200ms } ] }, web: { limits: [ { name: day, window: 1/24h } ] } }\n';
    expect(await server.running.reload(rateLimitConfig(`${groups}envoy: { descriptors: [ { entries: [ generic_key ], group: web, ttl: 0 } ] }\n`))).toEqual([]);
    expect([codeOf(await client.ask(chat)), codeOf(await client.ask(chat))]).toEqual([Code.OK, Code.OVER_LIMIT]);
    expect(await server.running.reload(rateLimitConfig(groups))).toEqual([expect.stringContaining('envoy: from none to some')]);
    expect(codeOf(await client.ask(chat))).toBe(Code.OVER_LIMIT);
  });
});
