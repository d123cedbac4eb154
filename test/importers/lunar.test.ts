import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { imported, type Report, sluice, verdicts } from './rig.ts';

/* What becomes of Lunar's policies, flows and quotas. */

const FIXTURES = fileURLToPath(new URL('lunar', import.meta.url));
const POLICIES = join(FIXTURES, 'policies.yaml');
const folder = mkdtempSync(join(tmpdir(), 'sluice-lunar-'));
afterAll(() => rmSync(folder, { recursive: true }));

const BACKEND = ['--backend', 'http://127.0.0.1:7780'];
let made = 0;

/** Writes files below a new folder; returns its path. */
function files(texts: Readonly<Record<string, string | Uint8Array>>): string {
  const root = join(folder, String(++made));
  for (const [name, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

interface Made {
  readonly groups: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly routes: readonly Readonly<Record<string, unknown>>[];
  readonly backends: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const read = ({ config }: Report): Made => parse(config) as Made;

/** A flow with one queue on a quota. */
function flow(
  quota: string,
  more: { readonly name?: string; readonly url?: string; readonly filter?: string; readonly parameters?: string; readonly kind?: string } = {},
): string {
  const { name = 'Flow', url = 'api.example.com/*', filter = '', parameters = '', kind = 'Queue' } = more;
  return `name: ${name}
filter:
  url: ${url}
${filter}
processors:
  Step:
    processor: ${kind}
    parameters:
      - { key: quota_id, value: ${quota} }
      - { key: queue_size, value: 5 }
${parameters}
  No:
    processor: GenerateResponse
    parameters: [ { key: status, value: 429 }, { key: body, value: no }, { key: Content-Type, value: text/plain } ]
flow:
  request:
    - { from: { stream: { name: globalStream, at: start } }, to: { processor: { name: Step } } }
    - { from: { processor: { name: Step, condition: blocked } }, to: { processor: { name: No } } }
    - { from: { processor: { name: Step, condition: allowed } }, to: { stream: { name: globalStream, at: end } } }
  response:
    - { from: { processor: { name: No } }, to: { stream: { name: globalStream, at: end } } }
`;
}

/** A quota with one strategy, in flow style. */
const quota = (strategy: string, id = 'Q', more = ''): string =>
  `quotas:\n  - { id: ${id}, filter: { url: 'api.example.com/*' }, strategy: { ${strategy} } }\n${more}`;

async function group(strategy: string, more?: Parameters<typeof flow>[1]): Promise<{ readonly report: Report; readonly limits: unknown; readonly made: Made }> {
  const report = await imported('lunar', files({ 'flows/f.yaml': flow('Q', more), 'quotas/q.yaml': quota(strategy) }));
  const config = read(report);
  return { report, limits: config.groups['Flow']?.['limits'], made: config };
}

/** Every leaf of a YAML value, as a path. */
function leaves(value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value) && value.length > 0) return value.flatMap((item, index) => leaves(item, `${path}[${index}]`));
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0)
    return Object.entries(value).flatMap(([name, each]) => leaves(each, path === '' ? name : `${path}.${name}`));
  return [path];
}

describe('the remedy strategy_based_queue', () => {
  test('becomes a group with a window, a wait timeout, a backlog, classes, and its refusal', async () => {
    const report = await imported('lunar', POLICIES, ...BACKEND);
    expect(read(report).groups).toEqual({
      'Prioritized-Bursts-Rate-Limit': {
        limits: [{ name: 'window', window: '2/1s' }],
        ttl: { default: '2.2s', max: '2.2s' },
        backlog: { requests: 10, onFull: 'newest' },
        priority: { classes: { production: 1, staging: 2 } },
        fairness: { by: 'none' },
        refusal: { status: 429, contentType: 'text/plain', body: 'Too many requests' },
      },
    });
    expect(read(report).routes).toEqual([{ group: 'Prioritized-Bursts-Rate-Limit', class: 'header x-group', dropHeaders: ['x-lunar-*'], backend: 'default' }]);
    expect(report.counts).toEqual({ understood: 6, changed: 4, ignored: 0 });
  });

  test('keeps fixed windows, and the first place of requests without a group, where it is asked to', async () => {
    const report = await imported('lunar', POLICIES, ...BACKEND, '--windows', 'fixed', '--compat');
    const [made] = Object.values(read(report).groups);
    expect(made?.['limits']).toEqual([{ name: 'window', window: '2/1s', kind: 'fixed', align: 'epoch' }]);
    expect(made?.['priority']).toEqual({ classes: { production: 1, staging: 2 }, default: 0 });
    expect(report.counts).toEqual({ understood: 9, changed: 1, ignored: 0 });
  });

  test('of endpoints stands under that of all, most particular first; other paths of its host pass on where nothing is for all', async () => {
    const remedy = (name: string, count: number) =>
      `{ name: ${name}, enabled: true, config: { strategy_based_queue: { allowed_request_count: ${count}, window_size_in_seconds: 1, ttl_seconds: 3, queue_size: 5, response_status_code: 503 } } }`;
    const endpoints = `endpoints:\n  - { url: api.com/*, method: GET, remedies: [ ${remedy('wide', 9)} ] }\n  - { url: 'api.com/resource/{id}', method: GET, remedies: [ ${remedy('narrow', 3)} ] }\n`;
    const alone = read(await imported('lunar', files({ 'policies.yaml': endpoints })));
    expect(alone.routes).toEqual([
      { match: { host: 'api.com', path: '/resource/{id}', methods: ['GET'] }, group: 'narrow', dropHeaders: ['x-lunar-*'], backend: 'api.com' },
      { match: { host: 'api.com', methods: ['GET'] }, group: 'wide', dropHeaders: ['x-lunar-*'], backend: 'api.com' },
      { match: { host: 'api.com' }, dropHeaders: ['x-lunar-*'], backend: 'api.com' },
    ]);
    expect(alone.backends).toEqual({ 'api.com': { urls: ['https://api.com'] } });
    const both = read(await imported('lunar', files({ 'policies.yaml': `global: { remedies: [ ${remedy('all', 20)} ] }\n${endpoints}` }), ...BACKEND));
    expect(both.groups['narrow']?.['parent']).toEqual({ group: 'all' });
    expect(both.routes.at(-1)).toEqual({ group: 'all', dropHeaders: ['x-lunar-*'], backend: 'default' });
  });

  test('that is not enabled, and others that hold nothing, are ignored with the reason', async () => {
    const text = `global:
  remedies:
    - { name: off, enabled: false, config: { strategy_based_queue: { allowed_request_count: 1 } } }
    - { name: cache, enabled: true, config: { caching: { ttl_seconds: 5 } } }
    - { name: on, enabled: true, config: { concurrency_based_throttling: { max_concurrent_requests: 2, response_status_code: 200 } } }
  diagnosis: [ { name: har, enabled: true } ]
accounts: { a: { tokens: [] } }
exporters: { file: { file_dir: d } }
other: 5
`;
    const report = await imported('lunar', files({ 'policies.yaml': text }), ...BACKEND);
    expect(verdicts(report)).toMatchObject({
      'global.remedies[0].config.strategy_based_queue.allowed_request_count': 'ignored: the remedy is not enabled',
      'global.remedies[1].config.caching.ttl_seconds': 'ignored: this remedy holds and counts nothing; requests pass on',
      'global.remedies[2].config.concurrency_based_throttling.max_concurrent_requests': 'understood: concurrency',
      'global.remedies[2].config.concurrency_based_throttling.response_status_code': 'changed: refusal.status: 429; a refusal is 400 to 599',
      other: 'ignored: the importer does not know this key',
    });
    expect(read(report).groups['on']).toMatchObject({ limits: [{ name: 'slots', concurrency: 2 }], ttl: { default: 0, max: 0 } });
  });
});

describe('a flow of Queue and GenerateResponse', () => {
  test('becomes a group with the limits of its quota, and its refusal', async () => {
    const report = await imported('lunar', FIXTURES);
    expect(read(report).groups).toEqual({
      PriorityQueueFlow: {
        limits: [{ name: 'window', window: '10/1s' }],
        ttl: { default: '12s', max: '12s' },
        backlog: { requests: 10, onFull: 'newest' },
        priority: { classes: { production: 1, staging: 2 } },
        fairness: { by: 'none' },
        refusal: { status: 429, contentType: 'text/plain', body: 'Too many requests. Please try again later.' },
      },
    });
    expect(read(report).routes).toEqual([
      {
        match: { host: 'api.website.com' },
        group: 'PriorityQueueFlow',
        class: 'header x-lunar-consumer-tag',
        dropHeaders: ['x-lunar-*'],
        backend: 'api.website.com',
      },
    ]);
    expect(report.findings.filter(({ source }) => source.endsWith('policies.yaml')).every(({ verdict }) => verdict === 'ignored')).toBe(true);
  });

  test('takes the folder of flows with that of quotas beside it', async () => {
    expect(read(await imported('lunar', join(FIXTURES, 'flows'))).groups).toHaveProperty('PriorityQueueFlow');
  });

  test.each([
    ['both spellings: beside the rest', 'fixed_window: { max: 5, interval: 10, interval_unit: second }', [{ name: 'window', window: '5/10s' }]],
    ['both spellings: static', 'fixed_window: { static: { max: 5, interval: 2, interval_unit: hour } }', [{ name: 'window', window: '5/7200s' }]],
    ['a month is 30 days', 'fixed_window: { max: 5, interval: 1, interval_unit: month }', [{ name: 'window', window: '5/2592000s' }]],
    [
      'by a header',
      'fixed_window: { static: { max: 5, interval: 1, interval_unit: day, group_by_header: X-Tag } }',
      [{ name: 'window', window: '5/86400s', scope: 'key' }],
    ],
    ['concurrent', 'concurrent: { max_request_count: 50, request_expiration_sec: 60, gc_interval_sec: 30 }', [{ name: 'concurrent', concurrency: 50 }]],
    [
      'spillover',
      'fixed_window: { max: 2, interval: 1, interval_unit: second, spillover: { max: 100 }, monthly_renewal: { day: 1 } }',
      [{ name: 'window', window: '2/1s', kind: 'fixed', align: 'first', spill: 2 }],
    ],
    [
      'monthly renewal',
      'fixed_window: { max: 1000, interval: 1, interval_unit: month, spillover: { max: 100 }, monthly_renewal: { day: 31, hour: 4, minute: 5, timezone: UTC } }',
      [{ name: 'month', window: '1000/month', kind: 'fixed', align: 'calendar', day: 31, time: '04:05', timezone: 'UTC', spill: 100 }],
    ],
    [
      'weights in a header',
      'fixed_window_custom_counter: { max: 9, interval: 1, interval_unit: minute, counter_value_path: \'$.request.headers["X-Weight"]\' }',
      [{ name: 'window', window: '9/60s', unit: 'q' }],
    ],
  ])('has the quota of Lunar: %s', async (_what, strategy, limits) => {
    expect((await group(strategy)).limits).toEqual(limits);
  });

  test.each([
    ['$.request.headers["X-Weight"]', { ask: 'header x-weight', default: 1 }],
    ["$.request.headers['x-weight']", { ask: 'header x-weight', default: 1 }],
    ['$.request.body.usage.max_tokens', { ask: 'json usage.max_tokens', default: 1 }],
    ['$.request.body.items[0].n', { ask: 'json items.0.n', default: 1 }],
    ['$.response.body.usage.total_tokens', { default: 1, settle: 'json usage.total_tokens' }],
  ])('counts the weight at %s', async (path, cost) => {
    const { made } = await group(`fixed_window_custom_counter: { max: 9, interval: 1, interval_unit: minute, counter_value_path: ${JSON.stringify(path)} }`);
    expect(made.routes[0]?.['costs']).toEqual({ q: cost });
  });

  test('says that it counts 1 each where no cost can follow the path of the weight', async () => {
    const { report, limits } = await group(
      'fixed_window_custom_counter: { max: 9, interval: 1, interval_unit: minute, counter_value_path: "$.request.body..n" }',
    );
    expect(limits).toEqual([{ name: 'window', window: '9/60s' }]);
    expect(verdicts(report)['quotas[0].strategy.fixed_window_custom_counter.counter_value_path']).toMatch(/^ignored: .* counts 1 instead$/);
  });

  test.each([
    ['header_based: { quota_header: X-Left, reset_header: X-Fresh, retry_after_header: Retry-After }', undefined],
    [
      'fixed_window: { static: { max: 5, interval: 1, interval_unit: second }, dynamic: { remaining_header: X-Left, reset_time_header: X-Fresh, retry_after_header: Retry-After } }',
      1,
    ],
  ])('looks at the headers of its provider: %s', async (strategy, count) => {
    const { made, limits } = await group(strategy);
    expect(made.backends['api.example.com']?.['quotaHeaders']).toEqual({ remaining: 'x-left', reset: 'x-fresh', retryAfter: 'retry-after' });
    expect(made.groups['Flow']?.['pushback']).toEqual({ scope: 'group', max: '1d' });
    expect(limits).toHaveLength(count ?? 0);
  });

  test('gives children of a quota their part, and one order under it', async () => {
    const child = (id: string, share: number) =>
      `  - { id: ${id}, parent_id: Q, filter: { headers: [ { key: x-tag, value: ${id} } ] }, strategy: { allocation_percentage: ${share} } }\n`;
    const header = (tag: string) => `  headers: [ { key: x-tag, value: ${tag} } ]`;
    const report = await imported(
      'lunar',
      files({
        'flows/a.yaml': flow('A', { name: 'FlowA', filter: header('A') }),
        'flows/b.yaml': flow('B', { name: 'FlowB', filter: header('B') }),
        'quotas/q.yaml': quota(
          'fixed_window: { max: 4, interval: 1, interval_unit: second }',
          'Q',
          `internal_limits:\n${child('A', 25)}${child('B', 75)}${child('C', 5)}`,
        ),
      }),
    );
    const { groups, routes } = read(report);
    expect(groups['Q']).toEqual({ limits: [{ name: 'window', window: '4/1s' }] });
    expect([groups['FlowA']?.['parent'], groups['FlowB']?.['parent']]).toEqual([
      { group: 'Q', share: '25%' },
      { group: 'Q', share: '75%' },
    ]);
    expect(routes.map(({ match }) => match)).toEqual([
      { host: 'api.example.com', header: { 'x-tag': 'A' } },
      { host: 'api.example.com', header: { 'x-tag': 'B' } },
      { host: 'api.example.com' },
    ]);
    expect(verdicts(report)['internal_limits[2].strategy.allocation_percentage']).toBe('ignored: no flow waits for this quota; in Lunar it only counts');
  });

  test('makes a group of a quota that two flows share, and a route of each value of a header', async () => {
    const { groups, routes } = read(
      await imported(
        'lunar',
        files({
          'flows/a.yaml': flow('Q', {
            name: 'One',
            url: 'api.example.com/one',
            filter: '  method: [ get, POST ]\n  headers: [ { key: x-tag, value: a }, { key: X-Tag, value: b } ]',
          }),
          'flows/b.yaml': flow('Q', { name: 'Two', url: 'api.example.com/two/{id}', kind: 'Limiter' }),
          'quotas/q.yaml': quota('fixed_window: { max: 4, interval: 1, interval_unit: second }'),
        }),
      ),
    );
    expect(groups['One']).toMatchObject({ limits: [], parent: { group: 'Q' }, ttl: { default: '10s', max: '10s' } });
    expect(groups['Two']).toMatchObject({ parent: { group: 'Q' }, ttl: { default: 0, max: 0 }, backlog: { requests: 0 } });
    expect(routes.map(({ match, group: name }) => [match, name])).toEqual([
      [{ host: 'api.example.com', path: '/two/{id}' }, 'Two'],
      [{ host: 'api.example.com', path: '/one', methods: ['GET', 'POST'], header: { 'x-tag': 'a' } }, 'One'],
      [{ host: 'api.example.com', path: '/one', methods: ['GET', 'POST'], header: { 'x-tag': 'b' } }, 'One'],
      [{ host: 'api.example.com' }, undefined],
    ]);
  });

  test('follows filters that look at one header, each way with the limiter behind it', async () => {
    const text = `name: Branching
filter: { url: api.example.com/* }
processors:
  Wait: { processor: Queue, parameters: [ { key: quota_id, value: Q }, { key: queue_size, value: 5 } ] }
  IsProd: { processor: Filter, parameters: [ { key: header, value: x-tag=prod } ] }
  Prod: { processor: Limiter, parameters: [ { key: quota_id, value: Prod } ] }
flow:
  request:
    - { from: { stream: { name: globalStream, at: start } }, to: { processor: { name: Wait } } }
    - { from: { processor: { name: Wait, condition: allowed } }, to: { processor: { name: IsProd } } }
    - { from: { processor: { name: IsProd, condition: hit } }, to: { processor: { name: Prod } } }
    - { from: { processor: { name: IsProd, condition: miss } }, to: { stream: { name: globalStream, at: end } } }
    - { from: { processor: { name: Prod, condition: below_limit } }, to: { stream: { name: globalStream, at: end } } }
`;
    const quotas = quota(
      'fixed_window: { max: 4, interval: 1, interval_unit: second }',
      'Q',
      'internal_limits: [ { id: Prod, parent_id: Q, strategy: { concurrent: { max_request_count: 2 } } } ]\n',
    );
    const { groups, routes } = read(await imported('lunar', files({ 'flows/f.yaml': text, 'quotas/q.yaml': quotas })));
    expect(groups['Branching']).toMatchObject({ limits: [{ name: 'concurrent', concurrency: 2 }], parent: { group: 'Q' } });
    expect(groups['Branching-2']).toMatchObject({ limits: [], parent: { group: 'Q' } });
    expect(routes.map(({ match, group: name }) => [match, name])).toEqual([
      [{ host: 'api.example.com', header: { 'x-tag': 'prod' } }, 'Branching'],
      [{ host: 'api.example.com' }, 'Branching-2'],
    ]);
    const narrow = text.replace(
      '{ url: api.example.com/* }',
      '{ url: api.example.com/*, headers: [ { key: x-tag, value: prod }, { key: x-tag, value: test } ] }',
    );
    const report = await imported('lunar', files({ 'flows/f.yaml': narrow, 'quotas/q.yaml': quotas }));
    expect(read(report).routes.map(({ match, group: name }) => [match, name])).toEqual([
      [{ host: 'api.example.com', header: { 'x-tag': 'prod' } }, 'Branching'],
      [{ host: 'api.example.com', header: { 'x-tag': 'test' } }, 'Branching-2'],
      [{ host: 'api.example.com' }, undefined],
    ]);
    expect(report.notes.some((note) => note.includes('takes the same requests'))).toBe(false);
  });

  test.each([
    ['not enabled', (text: string) => `enabled: false\n${text}`, 'it is not enabled'],
    [
      'joined to another',
      (text: string) => text.replace('{ stream: { name: globalStream, at: end } } }\n  response', '{ flow: { name: Next, at: start } } }\n  response'),
      'it is joined to another flow',
    ],
    ['an AsyncQueue', (text: string) => text.replace('processor: Queue', 'processor: AsyncQueue'), 'Step is of the kind AsyncQueue: write mode: deferred'],
    [
      'refused and sent on',
      (text: string) => text.replace('{ processor: { name: No } } }\n    - { from', '{ stream: { name: globalStream, at: end } } }\n    - { from'),
      'a request that Step refuses goes on',
    ],
    [
      'a circle',
      (text: string) =>
        text.replace('condition: allowed } }, to: { stream: { name: globalStream, at: end } }', 'condition: allowed } }, to: { processor: { name: Step } }'),
      'its ways go in a circle',
    ],
  ])('is not imported where it cannot be: %s', async (_what, change, why) => {
    const other = change(flow('Q', { name: 'Other', url: 'api.example.com/x' }));
    const report = await imported(
      'lunar',
      files({ 'flows/a.yaml': flow('Q'), 'flows/b.yaml': other, 'quotas/q.yaml': quota('concurrent: { max_request_count: 5 }') }),
    );
    expect(report.notes[0]).toContain(`the flow Other is not imported (${why}`);
    expect(Object.keys(read(report).groups)).toEqual(['Flow']);
  });

  test('that has no equivalent is ignored with the reason, and said aloud', async () => {
    const other = flow('Q', { name: 'Other', url: 'api.example.com/x' }).replace('processor: Queue', 'processor: DataSanitation');
    const report = await imported(
      'lunar',
      files({ 'flows/a.yaml': flow('Q'), 'flows/b.yaml': other, 'quotas/q.yaml': quota('concurrent: { max_request_count: 5 }') }),
    );
    expect(report.notes[0]).toMatch(
      /b\.yaml: the flow Other is not imported \(Step is of the kind DataSanitation: Sluice has no equivalent\): its requests are not limited by it\.$/,
    );
    expect(report.findings.filter(({ source }) => source.endsWith('b.yaml')).every(({ verdict }) => verdict === 'ignored')).toBe(true);
  });
});

describe('X16: the report', () => {
  test.each([
    ['policies', POLICIES, [POLICIES]],
    ['flow and quota', join(FIXTURES, 'flows'), [join(FIXTURES, 'flows/flow.yaml'), join(FIXTURES, 'quotas/quota.yaml')]],
  ])('has each key of each file once, with its line: %s', async (_what, from, names) => {
    const report = await imported('lunar', from, ...BACKEND);
    const wanted = names.flatMap((name) => leaves(parse(readFileSync(name, 'utf8'))));
    expect(report.findings.map(({ path }) => path).sort()).toEqual([...wanted].sort());
    for (const { source, line, path } of report.findings) {
      const last =
        path
          .split('.')
          .at(-1)
          ?.replace(/\[\d+\]$/, '') ?? '';
      expect(readFileSync(source, 'utf8').split('\n')[(line ?? 0) - 1], path).toContain(last);
    }
  });

  test('is written beside the configuration, which `sluice check` passes', async () => {
    for (const [from, ...more] of [[FIXTURES], [POLICIES, ...BACKEND], [POLICIES, ...BACKEND, '--windows', 'fixed', '--compat']] as const) {
      const out = join(folder, `made-${++made}.yaml`);
      const ran = await sluice('import', 'lunar', from, ...more, '--out', out);
      expect(ran).toMatchObject({ code: 0, err: '' });
      expect(ran.out).toMatch(/\d+ keys: \d+ understood, \d+ changed, \d+ ignored; wrote /);
      expect(await sluice('check', out)).toMatchObject({ code: 0, err: '' });
    }
  });
});

describe('merge keys', () => {
  const text = `defaults: &d
  enabled: true
  config: &c
    concurrency_based_throttling: { max_concurrent_requests: 2, response_status_code: 429 }
more: &m { enabled: false, note: x }
global:
  remedies:
    - <<: [ *d, *m ]
      name: first
    - { <<: *d, name: second, enabled: false }
`;

  test('take what is written in the map first, then the first map that has it; each with the line it is written on', async () => {
    const report = await imported('lunar', files({ 'policies.yaml': text }), ...BACKEND);
    const first = report.findings.filter(({ path }) => path.startsWith('global.remedies[0]'));
    expect(first.map(({ path, line }) => [path.slice('global.remedies[0].'.length), line])).toEqual([
      ['enabled', 2],
      ['config.concurrency_based_throttling.max_concurrent_requests', 4],
      ['config.concurrency_based_throttling.response_status_code', 4],
      ['note', 5],
      ['name', 9],
    ]);
    expect(first[0]).toMatchObject({ value: 'true', column: 3 });
    expect(report.findings.find(({ path }) => path === 'global.remedies[1].enabled')).toMatchObject({ value: 'false', line: 10 });
    expect(JSON.stringify(report)).not.toContain('<<');
  });

  test('make what the same text without them makes', async () => {
    const plain = `global:
  remedies:
    - { enabled: true, config: { concurrency_based_throttling: { max_concurrent_requests: 2, response_status_code: 429 } }, name: first }
`;
    const merged = await imported('lunar', files({ 'policies.yaml': text }), ...BACKEND);
    expect(read(merged).groups).toEqual(read(await imported('lunar', files({ 'policies.yaml': plain }), ...BACKEND)).groups);
  });
});

describe('a bad file is told with its place, and nothing is written', () => {
  const good = quota('fixed_window: { max: 4, interval: 1, interval_unit: second }');
  test.each<[string, Record<string, string | Uint8Array>, RegExp]>([
    ['no YAML', { 'flows/f.yaml': 'name: [' }, /flows\/f\.yaml:1:\d+: /],
    ['the same key twice', { 'quotas/q.yaml': 'quotas: []\nquotas: []\n' }, /quotas\/q\.yaml:2:1: this name stands twice/],
    [
      'a quota that is not there',
      { 'flows/f.yaml': flow('None'), 'quotas/q.yaml': good },
      /f\.yaml:9:33: processors\.Step\.parameters\[0\]\.value: there is no quota "None"/,
    ],
    [
      'a parent that is not there',
      { 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': `${good}internal_limits: [ { id: C, parent_id: P, strategy: { allocation_percentage: 5 } } ]\n` },
      /q\.yaml:3:40: internal_limits\[0\]\.parent_id: there is no quota "P"/,
    ],
    [
      'quotas in a circle',
      {
        'quotas/q.yaml':
          'internal_limits:\n  - { id: A, parent_id: B, strategy: { concurrent: { max_request_count: 1 } } }\n  - { id: B, parent_id: A, strategy: { concurrent: { max_request_count: 1 } } }\n',
      },
      /in a circle/,
    ],
    [
      'a unit of time that is none',
      { 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': good.replace('second', 'fortnight') },
      /q\.yaml:2:\d+: quotas\[0\]\.strategy\.fixed_window\.interval_unit: "fortnight" is no unit of time/,
    ],
    [
      'a number that is none',
      { 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': good.replace('max: 4', 'max: many') },
      /fixed_window\.max: "many" is not a whole number/,
    ],
    ['a strategy that is not known', { 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': quota('leaky_bucket: { max: 4 }') }, /strategy: this strategy is not known/],
    [
      'a queue without its size',
      { 'flows/f.yaml': flow('Q').replace(/.*queue_size.*\n/, ''), 'quotas/q.yaml': good },
      /processors\.Step: queue_size is missing/,
    ],
    [
      'a step that is not there',
      { 'flows/f.yaml': flow('Q').replace('name: Step } } }\n', 'name: Stop } } }\n'), 'quotas/q.yaml': good },
      /there is no processor "Stop"/,
    ],
    ['a URL that is none', { 'flows/f.yaml': flow('Q', { url: '"a b/c"' }), 'quotas/q.yaml': good }, /f\.yaml:3:8: filter\.url: this URL has no host/],
    ['nothing that holds', { 'flows/f.yaml': flow('Q', { kind: 'CountLLMTokens' }), 'quotas/q.yaml': good }, /nothing here holds or counts requests/],
    [
      'a remedy without its window',
      { 'policies.yaml': 'global: { remedies: [ { name: r, enabled: true, config: { strategy_based_queue: { allowed_request_count: 1 } } } ] }' },
      /window_size_in_seconds is missing/,
    ],
    ['a merge of no map', { 'policies.yaml': 'a: &a 5\nglobal:\n  <<: *a\n' }, /policies\.yaml:3:3: global\.<<: a merge key takes a map, or a list of maps\./],
    ['two merge keys in one map', { 'policies.yaml': 'a: &a {}\nglobal:\n  <<: *a\n  <<: *a\n' }, /policies\.yaml:4:3: this name stands twice/],
    ['UTF-16', { 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': Buffer.from(`\ufeff${good}`, 'utf16le') }, /q\.yaml:1:1: the file is UTF-16 or UTF-32, not UTF-8/],
    ['Latin-1', { 'flows/f.yaml': Buffer.from('name: F\n# é\n', 'latin1'), 'quotas/q.yaml': good }, /f\.yaml:2:3: the file is not UTF-8 from here on/],
    ['an alias without an anchor', { 'policies.yaml': 'global: *x\n' }, /policies\.yaml:1:9: /],
  ])('%s', async (_what, texts, told) => {
    const out = join(folder, 'never.yaml');
    const ran = await sluice('import', 'lunar', files(texts), ...BACKEND, '--out', out);
    expect(ran).toMatchObject({ code: 1, out: '' });
    expect(ran.err).toMatch(told);
    expect(() => readFileSync(out)).toThrow('ENOENT');
  });

  test('more routes than Sluice takes: what was made is checked before it is written', async () => {
    const remedy =
      'remedies: [ { name: r, enabled: true, config: { concurrency_based_throttling: { max_concurrent_requests: 2, response_status_code: 429 } } } ]';
    const text = `endpoints:\n  - { url: api.com/0, method: GET, ${remedy.replace('[ {', '&r [ {')} }\n${Array.from({ length: 10_000 }, (_each, index) => `  - { url: api.com/${index + 1}, method: GET, remedies: *r }\n`).join('')}`;
    const out = join(folder, 'never.yaml');
    const ran = await sluice('import', 'lunar', files({ 'policies.yaml': text }), '--out', out);
    expect(ran).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/does not pass `sluice check`:\n.*routes: 10002 items are too many/) as string });
    expect(() => readFileSync(out)).toThrow('ENOENT');
  });

  test('rules for any host need to be told where their requests go', async () => {
    expect((await sluice('import', 'lunar', POLICIES)).err).toContain(
      'policies.yaml:3:3: global: it is not known where these requests go. Say so: --backend https://api.example.com.',
    );
  });

  test.each([
    [['--windows', 'sliding'], '--windows is rolling or fixed'],
    [['--backend', 'ftp://a'], 'has no URL of a host and a port alone'],
    [['--backend', 'http://a/b'], 'has no URL of a host and a port alone'],
  ])('is called wrongly: %j', async (args, told) => {
    expect(await sluice('import', 'lunar', POLICIES, ...args)).toMatchObject({ code: 2, err: expect.stringContaining(told) as string });
  });

  test.each([
    ['a FIFO', (path: string) => execFileSync('mkfifo', [path])],
    ['a device', (path: string) => symlinkSync('/dev/zero', path)],
    ['a folder', (path: string) => symlinkSync(folder, path)],
  ])('%s among the flows is refused by its own name, without opening it', async (kind, make) => {
    const root = files({ 'flows/f.yaml': flow('Q'), 'quotas/q.yaml': good });
    const path = join(root, 'flows', 'g.yaml');
    make(path);
    const err = `${path}: cannot be read: it is ${kind}, not a regular file\n`;
    expect(await sluice('import', 'lunar', root)).toEqual({ code: 1, out: '', err });
    if (kind !== 'a folder') expect(await sluice('import', 'lunar', path)).toEqual({ code: 1, out: '', err });
  });

  test('a link that leads nowhere, and a file that is too large, by their own names', async () => {
    const root = files({ 'quotas/q.yaml': good });
    const path = join(root, 'quotas', 'r.yaml');
    symlinkSync(join(root, 'none'), path);
    expect((await sluice('import', 'lunar', root)).err).toMatch(`${path}: cannot be read: ENOENT`);
    rmSync(path);
    writeFileSync(path, '#'.repeat(4 * 1024 * 1024 + 1));
    expect((await sluice('import', 'lunar', root)).err).toBe(`${path}: cannot be read: it has more than 4194304 bytes\n`);
  });

  test('an empty folder, and one that is not there', async () => {
    expect((await sluice('import', 'lunar', files({ 'a.txt': '' }))).err).toContain('no YAML file is in it');
    expect((await sluice('import', 'lunar', join(folder, 'none'))).err).toContain('cannot be read: ENOENT');
  });
});
