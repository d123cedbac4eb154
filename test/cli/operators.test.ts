import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { OPERATOR_COMMANDS } from '../../src/cli/operators.ts';
import { createSluice } from '../../src/client/client.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { fakeWorld } from './world.ts';

/* `sluice groups`, `pause`, `override` and the like: against a server that only notes what it is asked, and against a whole one on loopback. */

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(address: string, ...args: string[]): Promise<Ran> {
  const world = fakeWorld({ SLUICE_URL: address });
  const code = await dispatch(args, world);
  return { code, out: world.out(), err: world.err() };
}

/** Rows of a table by their limit instances. */
const rows = (out: string) =>
  out
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));

describe('what is asked of the server', () => {
  const LIMITS = [
    { name: 'rpm', kind: 'LIMIT_KIND_RATE', capacity: '20', permits: '500', per: '60s' },
    { name: 'tpm', kind: 'LIMIT_KIND_WINDOW', capacity: '200000', per: '60s' },
    { name: 'month', kind: 'LIMIT_KIND_FIXED', capacity: '50000', per: '2592000s' },
    { name: 'pace', kind: 'LIMIT_KIND_SPACING', capacity: '1', per: '5s' },
    { name: 'slots', kind: 'LIMIT_KIND_CONCURRENCY', capacity: '8' },
  ];
  let fake: Server;
  let address: string;
  const asked: { readonly method: string; readonly path: string; readonly body: unknown; readonly token: string | undefined }[] = [];
  let answers: (path: string) => object;

  async function bodyOf(request: IncomingMessage): Promise<unknown> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    return text === '' ? undefined : JSON.parse(text);
  }

  beforeAll(async () => {
    fake = createServer(async (request, response) => {
      const { method = '', url = '', headers } = request;
      asked.push({ method, path: url, body: await bodyOf(request), token: headers.authorization });
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(answers(url)));
    });
    fake.listen(0, '127.0.0.1');
    await once(fake, 'listening');
    address = `http://127.0.0.1:${(fake.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    asked.length = 0;
    answers = () => ({ name: 'llm', limits: LIMITS });
  });
  afterAll(() => void fake.close());

  test.each([
    [['pause', 'llm'], 'POST', '/v1/groups/llm/pause', {}],
    [['pause', 'llm', '--for', '10m', '--key', 'a b'], 'POST', '/v1/groups/llm/pause', { key: 'a b', duration: '10m' }],
    [['resume', 'llm', '--key', ''], 'POST', '/v1/groups/llm/resume', { key: '' }],
    [['evict', 'a/b', 'w 1'], 'DELETE', '/v1/groups/a%2Fb/waiters/w%201', undefined],
    [['revoke', 'llm', 'llm~1'], 'DELETE', '/v1/groups/llm/leases/llm~1', undefined],
    [['revoke', 'llm', 'llm~1', '--reason', 'hung & old'], 'DELETE', '/v1/groups/llm/leases/llm~1?reason=hung+%26+old', undefined],
    [['evict', 'llm', 'w', '--dry-run'], 'DELETE', '/v1/groups/llm/waiters/w?dryRun=true', undefined],
    [['resume', 'llm', '--reason', 'over'], 'POST', '/v1/groups/llm/resume?reason=over', {}],
    [['override', 'llm', '--end', '--dry-run'], 'POST', '/v1/groups/llm/override?dryRun=true', { duration: '0' }],
    [['release', 'llm~1', '--outcome', 'unused'], 'POST', '/v1/permits/llm~1/release', { outcome: 'unused' }],
    [['override', 'llm', '--end'], 'POST', '/v1/groups/llm/override', { duration: '0' }],
    [['override', 'llm', '--forgive-debt'], 'POST', '/v1/groups/llm/override', { forgiveDebt: true }],
    [['override', 'llm', '--enforce', 'false', '--for', '1h'], 'POST', '/v1/groups/llm/override', { enforce: false, duration: '1h' }],
  ] as const)('%j', async (args, method, path, body) => {
    expect(await run(address, ...args)).toMatchObject({ code: 0, err: '' });
    expect(asked).toEqual([{ method, path, body, token: undefined }]);
  });

  test.each([
    ['rpm=900/60s', { rpm: { rate: { permits: 900, per: '1m', burst: 20 } } }],
    ['rpm=500/24h rpm.burst=3', { rpm: { rate: { permits: 500, per: '1d', burst: 3 } } }],
    ['tpm=200_000/90s', { tpm: { window: { permits: 200_000, per: '1m30s' } } }],
    ['month=7/month', { month: { window: { permits: 7, per: '2592000s' } } }],
    ['pace=2s', { pace: { spacing: { spacing: '2s' } } }],
    ['pace=2s pace.slack=250ms', { pace: { spacing: { spacing: '2s', slack: '250ms' } } }],
    ['slots=12 tpm=1/1s', { slots: { concurrency: { max: 12 } }, tpm: { window: { permits: 1, per: '1s' } } }],
  ])('an override in the file’s notation, of the kind that the limit has: %s', async (changes, limits) => {
    expect(await run(address, 'override', 'llm', ...changes.split(' '), '--for', '1h')).toEqual({ code: 0, out: 'llm is changed for 1h\n', err: '' });
    expect(asked).toMatchObject([
      { method: 'GET', path: '/v1/groups/llm' },
      { method: 'POST', body: { limits, duration: '1h' } },
    ]);
  });

  test.each([
    ['rpm=8', /^sluice override: rpm: 8 is of another kind than 500\/60s, burst 20, which an override keeps\n/],
    ['slots=500/60s', /slots: 500\/60s is of another kind than 8 at once/],
    ['tpm=9/month', /tpm: 9\/month is of another kind/],
    ['rpm=0/60s', /rpm: 0 permits would hold every caller for ever\. To stop a group for a time use Pause/],
    ['rpm=many', /rpm: "many" is not a limit's short form\. Write it as the limit itself/],
    ['slots=9999999999999', /slots: .* out of bounds/],
    ['rpn=5/60s', /llm has no limit "rpn" of its own; did you mean rpm\?/],
    ['rpm.burst=5', /rpm\.burst goes with rpm=QUOTA/],
    ['slots=5 slots.burst=5', /slots: burst has no meaning here/],
    ['rpm=5/60s rpm.burst=0', /rpm: burst has to be a whole number/],
    ['rpm=5/60s rpm=6/60s', /rpm is there twice/],
    ['rpm', /"rpm" has to be written as LIMIT=QUOTA/],
  ])('an override that is wrong changes nothing, and says why: %s', async (changes, why) => {
    const { code, err } = await run(address, 'override', 'llm', ...changes.split(' '), '--for', '1h');
    expect([code, err]).toEqual([64, expect.stringMatching(why)]);
    expect(asked.filter(({ method }) => method === 'POST')).toEqual([]);
  });

  test('goes through the pages of a long list, and says that there are more', async () => {
    const names = Array.from({ length: 2500 }, (_, at) => `g${at}`);
    answers = (path) => {
      const { searchParams } = new URL(path, address);
      const from = Number(searchParams.get('page_token') ?? 0);
      const to = from + Number(searchParams.get('page_size'));
      return { groups: names.slice(from, to).map((name) => ({ name, waiting: '0' })), nextPageToken: to < names.length ? String(to) : '' };
    };
    const all = await run(address, 'groups', '--limit', '3000', '--json');
    expect(
      all.out
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { name: string }).name),
    ).toEqual(names);
    expect([all.err, asked.length]).toEqual(['', 3]);
    const some = await run(address, 'groups');
    expect([some.out.trimEnd().split('\n').length, some.err]).toEqual([101, 'sluice: there are more; raise --limit\n']);
  });

  test('the server is asked for a key, a priority or a holder, on every page, and left when it turns in a circle', async () => {
    answers = () => ({ waiters: [{ id: 'w1', key: 'acme' }], nextPageToken: '1' });
    const { code, out } = await run(address, 'waiters', 'llm', '--key', 'acme', '--priority=3', '--holder', 'job', '--json');
    expect([code, out]).toEqual([0, '{"id":"w1","key":"acme"}\n'.repeat(2)]);
    const wanted = 'key=acme&priority=3&holder=job';
    expect(asked.map(({ path }) => path.slice(path.indexOf('?') + 1))).toEqual([`page_size=100&${wanted}`, `page_size=99&page_token=1&${wanted}`]);
  });

  test('what callers wrote moves no cursor', async () => {
    answers = () => ({ leases: [{ permit: 'p', key: 'a\u001b[2J', held: '3.5s', left: '1m', costs: { requests: '1' }, holder: 'x\r\ny' }], nextPageToken: '' });
    const { out } = await run(address, 'leases', 'llm');
    expect(rows(out)).toEqual([
      ['PERMIT', 'KEY', 'HELD', 'LEFT', 'COSTS', 'HOLDER'],
      ['p', 'a [2J', '3.5s', '60s', '1 requests', 'x y'],
    ]);
  });

  test('shows the API key of SLUICE_TOKEN', async () => {
    await dispatch(['group', 'llm'], fakeWorld({ SLUICE_URL: address, SLUICE_TOKEN: 'secret' }));
    expect(asked).toMatchObject([{ token: 'Bearer secret' }]);
  });
});

describe('a whole server', () => {
  const FILE = `
listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: "127.0.0.1:0" }
http: { engine: node }
store: memory
drain: { delay: 0s, grace: 0s }
groups:
  slots: { limits: [ { name: one, concurrency: 1 } ] }
  llm: { limits: [ { name: rpm, rate: 500/60s, burst: 20 }, { name: tpm, window: 200000/60s, unit: tokens } ] }
`;
  let running: RunningServer;
  let admin: string;
  let api: string;

  beforeAll(async () => {
    const loaded = loadConfig({ text: FILE, name: 'f.yaml', env: {}, flags: [] });
    if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
    const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
    running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
    [admin, api] = [`http://${running.addresses['admin']}`, `http://${running.addresses['api']}`];
  });
  afterAll(() => running.drain(true));

  test('a hung holder is found, its lease revoked, and the line moves', async () => {
    const client = createSluice({ address: api });
    await client.acquire('slots', { holder: 'job-21', lease: '5m' });
    const next = client.acquire('slots', { holder: 'job-22', key: 'acme' });
    await expect
      .poll(async () =>
        rows((await run(admin, 'groups')).out)
          .at(-1)
          ?.slice(0, 3),
      )
      .toEqual(['slots', 'moving', '1']);
    expect((await run(admin, 'group', 'slots')).out).toMatch(/^state +moving$[\s\S]*^LIMIT +QUOTA +USED[\s\S]*^one +1 at once +1\/1/m);
    expect(rows((await run(admin, 'waiters', 'slots')).out)[1]).toEqual([
      '1',
      expect.any(String),
      'acme',
      '999',
      expect.any(String),
      'not known',
      expect.any(String),
      'one',
      '1 requests',
      'job-22',
    ]);
    const [, [permit = '', held, ...rest] = []] = rows((await run(admin, 'leases', 'slots')).out);
    expect([held, rest.at(-1)]).toEqual([expect.stringMatching(/s$/), 'job-21']);
    expect(await run(admin, 'revoke', 'slots', 'none', permit)).toMatchObject({
      code: 66,
      out: expect.stringContaining(`${permit} is revoked`),
      err: expect.stringMatching(/^sluice: unknown_permit: /),
    });
    const moved = await next;
    expect(await run(admin, 'release', moved.id)).toEqual({ code: 0, out: `${moved.id} is released\n`, err: '' });
  });

  test('a waiter is turned away', async () => {
    const client = createSluice({ address: api });
    const first = await client.acquire('slots');
    const refused = client.acquire('slots').catch((error: Error & { reason?: string }) => error.reason);
    const ids = async () => (await run(admin, 'waiters', 'slots', '--json')).out.trim();
    await expect.poll(ids).not.toBe('');
    const { id } = JSON.parse(await ids()) as { id: string };
    expect(await run(admin, 'evict', 'slots', id)).toEqual({ code: 0, out: `${id} is turned away\n`, err: '' });
    expect(await refused).toBe('cancelled');
    expect((await run(admin, 'evict', 'slots', id)).code).toBe(66);
    await first.release();
  });

  test('a change that is tried says what it would do, and does nothing', async () => {
    expect(await run(admin, 'pause', 'llm', '--for', '10m', '--dry-run')).toEqual({
      code: 0,
      out: 'No new caller passes.\nNew callers whose wait ends before are refused as infeasible.\nUndo: Resume.\n',
      err: '',
    });
    expect(rows((await run(admin, 'groups')).out)[1]?.[1]).toBe('open');
    expect((await run(admin, 'evict', 'slots', 'none', '--dry-run')).code).toBe(66);
  });

  test('a group is paused and resumed, and its limits are changed for a time', async () => {
    const state = async () => rows((await run(admin, 'groups')).out)[1]?.[1];
    expect((await run(admin, 'pause', 'llm', '--for', '10m')).out).toBe('llm is paused for 10m\n');
    expect(await state()).toBe('paused');
    expect((await run(admin, 'pause', 'llm', '--key', 'x', '--reason', 'noisy')).code).toBe(0);
    expect((await run(admin, 'group', 'llm')).out).toMatch(
      /^paused keys +1: x until it is resumed, by .*: noisy$|^paused keys +1: x until it is resumed: noisy$/m,
    );
    expect((await run(admin, 'resume', 'llm', '--key', 'x')).code).toBe(0);
    expect((await run(admin, 'resume', 'llm')).out).toBe('llm is paused no more\n');
    expect((await run(admin, 'override', 'llm', 'rpm=900/30s', 'tpm=5/1h', '--enforce', 'false', '--for', '1h')).code).toBe(0);
    expect(await state()).toBe('open override shadow');
    const { out } = await run(admin, 'group', 'llm');
    expect(out).toMatch(/^rpm +900\/30s, burst 20 /m);
    expect(out).toMatch(/^tpm +5\/1h /m);
    expect((await run(admin, 'override', 'llm', '--end', '--forgive-debt')).out).toBe('llm goes by the file again; the debt of llm is dropped\n');
    expect(await state()).toBe('open');
  });

  test.each([
    [64, ['group']],
    [64, ['group', 'a', 'b']],
    [64, ['groups', 'llm']],
    [64, ['groups', '--limit', '0']],
    [64, ['pause', 'llm', '--for', '10']],
    [64, ['override', 'llm']],
    [64, ['override', 'rpm=5/60s', '--for', '1h']],
    [64, ['override', 'llm', '--enforce', 'maybe', '--for', '1h']],
    [64, ['override', 'llm', '--enforce', 'false']],
    [64, ['override', 'llm', '--end', '--for', '1h']],
    [64, ['override', 'llm', '--for', '1h', '--forgive-debt']],
    [64, ['evict', 'llm']],
    [64, ['revoke', 'llm']],
    [64, ['release']],
    [64, ['release', 'p', '--outcome', 'lost']],
    [64, ['groups', '--nonsense']],
    [64, ['groups', '--address', '127.0.0.1:9091']],
    [65, ['group', 'none']],
    [65, ['pause', 'llm', '--for', '31d']],
    [66, ['revoke', 'llm', 'none']],
    [66, ['release', 'none']],
    [69, ['groups', '--address', 'http://127.0.0.1:1']],
  ])('ends with %i: %j', async (code, args) => {
    const ran = await run(admin, ...args);
    expect([ran.code, ran.err === '']).toEqual([code, false]);
  });

  test('at a listener of callers it says which one answers operators', async () => {
    for (const args of [['groups'], ['pause', 'llm']])
      expect(await run(api, ...args)).toMatchObject({
        code: 77,
        err: expect.stringMatching(/^sluice: forbidden: .*admin listener, by --address or SLUICE_URL .*set auth\.keys/),
      });
  });

  test.each(Object.keys(OPERATOR_COMMANDS))('%s --help has its flags, exit codes and an example', async (name) => {
    const { code, out } = await run(admin, name, '--help');
    expect([code, out.startsWith(`Usage: sluice ${name} `), out.includes('Exit codes: 0;'), out.includes(`\nExample: sluice ${name}`)]).toEqual([
      0,
      true,
      true,
      true,
    ]);
  });
});
