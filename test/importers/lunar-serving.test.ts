import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Answered, Asked } from '../proxy/listener/rig.ts';
import { punctual } from '../support/fakes/processor.ts';
import type { Respond } from '../support/fakes/recorder.ts';
import { type Imported, imported, serveImported } from './rig.ts';

/* Lunar's files, imported and run: what their documentation says of them over real HTTP, against a process of its own. */

const FIXTURES = fileURLToPath(new URL('lunar', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sluice-lunar-'));
afterAll(() => rmSync(folder, { recursive: true }));

let running: Imported | undefined;
afterEach(() => running?.stop());

/** Serves the remedy, with other numbers. */
async function remedy(...changes: readonly (readonly [from: string, to: string])[]): Promise<Imported> {
  let text = readFileSync(join(FIXTURES, 'policies.yaml'), 'utf8');
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`the policies do not say ${from}`);
    text = text.replace(from, to);
  }
  const file = join(folder, 'policies.yaml');
  writeFileSync(file, text);
  running = await serveImported((await imported('lunar', file, '--backend', 'http://127.0.0.1:7780')).config);
  return running;
}

/** Serves the flow, with another quota and other parameters. */
async function flow(strategy: string, parameters: Readonly<Record<string, number>> = {}, respond?: Respond): Promise<Imported> {
  const root = mkdtempSync(join(folder, 'flow-'));
  let text = readFileSync(join(FIXTURES, 'flows/flow.yaml'), 'utf8');
  for (const [key, value] of Object.entries(parameters)) text = text.replace(new RegExp(`(- key: ${key}\\n +value: )\\S+`), `$1${value}`);
  writeFileSync(join(root, 'flow.yaml'), text);
  writeFileSync(join(root, 'quota.yaml'), `quotas:\n  - { id: MyQuota, filter: { url: api.website.com/* }, strategy: { ${strategy} } }\n`);
  running = await serveImported((await imported('lunar', root)).config, respond);
  return running;
}

const many = (server: Imported, count: number, parts: (index: number) => Asked): Promise<readonly Answered[]> =>
  Promise.all(Array.from({ length: count }, (_each, index) => server.ask(parts(index))));
const statuses = (answers: readonly Answered[]): readonly number[] => answers.map(({ status }) => status).sort();
const website = { host: 'api.website.com' };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** Seconds after `began` at which the backend saw each request; what a busy machine adds makes them later, never earlier. */
const seenAt = (server: Imported, began: number): readonly number[] => server.backend.seen.map(({ at }) => (at - began) / 1000);

describe('the remedy of seed 001, imported', () => {
  test('LN-10: ten at once against two in 2 s and a wait timeout of 5 s: two each at 0, 2 and 4 s, four refused', async () => {
    // At half of its speed, so that a whole second lies between the last window and the wait timeout, on either side.
    await punctual(500, async () => {
      const server = await remedy(['window_size_in_seconds: 1', 'window_size_in_seconds: 2'], ['ttl_seconds: 2.2', 'ttl_seconds: 5']);
      const began = performance.now();
      const answers = await many(server, 10, () => ({ path: '/resource/7' }));
      for (const [index, at] of seenAt(server, began).entries()) expect(at).toBeGreaterThan(Math.floor(index / 2) * 1.98);
      for (const refused of answers.filter(({ status }) => status === 429))
        expect(refused).toMatchObject({ body: 'Too many requests', headers: { 'content-type': 'text/plain', 'sluice-reason': 'expired' } });
      await server.stop();
      running = undefined;
      return () => {
        expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, 200, 429, 429, 429, 429]);
      };
    });
  });

  test('LN-11: one in 10 s, a wait timeout of 1 s, two places: ten at once are one 200 and nine 429', async () => {
    const server = await remedy(
      ['allowed_request_count: 2', 'allowed_request_count: 1'],
      ['window_size_in_seconds: 1', 'window_size_in_seconds: 10'],
      ['ttl_seconds: 2.2', 'ttl_seconds: 1'],
      ['queue_size: 10', 'queue_size: 2'],
    );
    expect(statuses(await many(server, 10, () => ({ path: '/' })))).toEqual([200, ...Array.from({ length: 9 }, () => 429)]);
  });

  test('LN-12 and LN-D1: production passes staging though X-Group is sent in small letters, and everybody passes', async () => {
    const server = await remedy(['ttl_seconds: 2.2', 'ttl_seconds: 5']);
    const shuffled = ['staging', 'production', 'production', 'staging', 'staging', 'production', 'production', 'staging'];
    const began = performance.now();
    const answers = await many(server, 8, (index) => ({ path: `/resource/${shuffled[index]}`, headers: { 'x-group': shuffled[index] ?? '' } }));
    expect(statuses(answers)).toEqual(Array.from({ length: 8 }, () => 200));
    const order = server.backend.seen.map(({ target }) => target.slice('/resource/'.length));
    expect(order.slice(2, 4)).toEqual(['production', 'production']);
    expect(order.slice(6)).toEqual(['staging', 'staging']);
    for (const [index, at] of seenAt(server, began).entries()) expect(at).toBeGreaterThan(Math.floor(index / 2) * 0.99);
  });
});

describe('the flow and quota of seed 002, imported', () => {
  test('ten in 2 s pass at once, the rest in order of their groups; one that finds the queue full is told so in its words', async () => {
    const server = await flow('fixed_window: { static: { max: 10, interval: 2, interval_unit: second } }', { queue_size: 4 });
    const first = many(server, 10, (index) => ({ path: `/first/${index}`, headers: website }));
    await server.backend.until(() => server.backend.seen.length === 10);
    const tags = ['staging', 'staging', 'production', 'production', 'none'];
    const answers = await many(server, 5, (index) => ({ path: `/${tags[index]}`, headers: { ...website, 'X-Lunar-Consumer-Tag': tags[index] ?? '' } }));
    expect(statuses(await first)).toEqual(Array.from({ length: 10 }, () => 200));
    expect(statuses(answers)).toEqual([200, 200, 200, 200, 429]);
    expect(answers.find(({ status }) => status === 429)).toMatchObject({
      body: 'Too many requests. Please try again later.',
      headers: { 'content-type': 'text/plain', 'retry-after': expect.stringMatching(/^\d+$/) as string },
    });
    expect(
      server.backend.seen
        .slice(10)
        .map(({ target }) => target)
        .slice(0, 2),
    ).toEqual(['/production', '/production']);
    expect(server.backend.seen.flatMap(({ headers }) => headers).filter(([name]) => name.toLowerCase().startsWith('x-lunar-'))).toEqual([]);
  });

  test('LN-11: one in 10 s, a wait timeout of 2 s, one place: ten at once are one 200 and nine 429', async () => {
    const server = await flow('fixed_window: { max: 1, interval: 10, interval_unit: second }', { ttl_seconds: 2, queue_size: 1 });
    expect(statuses(await many(server, 10, () => ({ path: '/', headers: website })))).toEqual([200, ...Array.from({ length: 9 }, () => 429)]);
  });

  test('LN-17: two at once at a provider that takes half a second: the third waits for a slot and no longer', async () => {
    const slow: Respond = (_request, socket) => void setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), 500);
    const server = await flow('concurrent: { max_request_count: 2, request_expiration_sec: 60, gc_interval_sec: 30 }', {}, slow);
    expect(statuses(await many(server, 3, () => ({ path: '/', headers: website })))).toEqual([200, 200, 200]);
    const at = server.backend.seen.map((request) => request.at);
    expect((at[2] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(495);
  });

  test('LN-18: weights of 3, 3, 4 and 2 in a header against 9 a minute: the third does not pass', async () => {
    const server = await flow(
      'fixed_window_custom_counter: { max: 9, interval: 1, interval_unit: minute, counter_value_path: \'$.request.headers["X-Weight"]\' }',
      { ttl_seconds: 1 },
    );
    const all: number[] = [];
    for (const weight of ['3', '3', '4', '2']) all.push((await server.ask({ path: '/', headers: { ...website, 'x-weight': weight } })).status);
    expect(all).toEqual([200, 200, 429, 200]);
  });

  test('header_based works: the answer that says that nothing is left makes the next wait until there is', async () => {
    const exhausted: Respond = (_request, socket) => void socket.write('HTTP/1.1 200 OK\r\nX-Left: 0\r\nX-Fresh: 1\r\nContent-Length: 2\r\n\r\nok');
    const server = await flow('header_based: { quota_header: X-Left, reset_header: X-Fresh }', {}, exhausted);
    for (const index of [0, 1]) expect((await server.ask({ path: `/${index}`, headers: website })).status).toBe(200);
    const [first, second] = server.backend.seen.map((request) => request.at);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(990);
  });

  test('LN-19: children of 25 % and 75 % of four: one of A passes and three of B; what the parent refuses is charged to neither', async () => {
    const root = mkdtempSync(join(folder, 'children-'));
    const text = readFileSync(join(FIXTURES, 'flows/flow.yaml'), 'utf8').replace(/(- key: ttl_seconds\n +value: )\S+/, '$1' + '1');
    for (const tag of ['A', 'B']) {
      const filter = `  headers: [ { key: x-tag, value: ${tag} } ]\nprocessors:`;
      writeFileSync(
        join(root, `flow-${tag}.yaml`),
        text.replace('processors:', filter).replace('PriorityQueueFlow', `Flow${tag}`).replace('value: MyQuota', `value: ${tag}`),
      );
    }
    const child = (id: string, share: number): string => `  - { id: ${id}, parent_id: MyQuota, strategy: { allocation_percentage: ${share} } }\n`;
    const quotas =
      'quotas: [ { id: MyQuota, filter: { url: api.website.com/* }, strategy: { fixed_window: { max: 4, interval: 20, interval_unit: second } } } ]';
    writeFileSync(join(root, 'quota.yaml'), `${quotas}\ninternal_limits:\n${child('A', 25)}${child('B', 75)}`);
    running = await serveImported((await imported('lunar', root)).config);
    const all: number[] = [];
    for (const tag of ['A', 'A', 'A', 'A', 'B', 'B', 'B', 'B']) all.push((await running.ask({ path: '/', headers: { ...website, 'x-tag': tag } })).status);
    expect(all).toEqual([200, 429, 429, 429, 200, 200, 200, 429]);
  });

  test('LN-21: what a window leaves is added to the next: one of two in the first, then three of four', async () => {
    const server = await flow('fixed_window: { max: 2, interval: 5, interval_unit: second, spillover: { max: 2 }, monthly_renewal: { day: 1 } }', {
      ttl_seconds: 0.5,
    });
    const all: number[] = [];
    const once = async (): Promise<void> => void all.push((await server.ask({ path: '/', headers: website })).status);
    await once();
    await pause(5_050);
    for (let each = 0; each < 4; each++) await once();
    expect(all).toEqual([200, 200, 200, 200, 429]);
  });

  test('LN-24: of a limit of 5 four are used after four requests, and 5 where it is exhausted', async () => {
    const server = await flow('fixed_window: { max: 5, interval: 1, interval_unit: hour }', { ttl_seconds: 1 });
    const limit = async (): Promise<unknown> => {
      const { limits } = (await (await fetch(`${server.admin}/v1/groups/PriorityQueueFlow`)).json()) as {
        limits: readonly { capacity: string; used: string }[];
      };
      return limits.map(({ capacity, used }) => [Number(capacity), Number(used)]);
    };
    for (let each = 0; each < 4; each++) await server.ask({ path: '/', headers: website });
    expect(await limit()).toEqual([[5, 4]]);
    for (let each = 0; each < 3; each++) await server.ask({ path: '/', headers: website });
    expect(await limit()).toEqual([[5, 5]]);
  });

  test('LN-22: two in 6 s by the tag of its consumer: each has its own; a third is refused, and passes in the next window', async () => {
    const server = await flow('fixed_window: { max: 2, interval: 6, interval_unit: second, group_by_header: x-tenant }', { ttl_seconds: 0.5 });
    const once = async (tenant: string): Promise<number> => (await server.ask({ path: '/', headers: { ...website, 'x-tenant': tenant } })).status;
    const all: number[] = [];
    for (const tenant of ['a', 'a', 'b', 'b', 'a', 'b']) all.push(await once(tenant));
    expect(all).toEqual([200, 200, 200, 200, 429, 429]);
    await pause(6_050);
    expect(await once('a')).toBe(200);
  });

  test('another host is not forwarded, whatever X-Lunar-Host says', async () => {
    const server = await flow('fixed_window: { max: 2, interval: 1, interval_unit: second }');
    expect((await server.ask({ path: '/', headers: { host: 'elsewhere.example', 'x-lunar-host': 'api.website.com' } })).status).toBe(404);
  });
});
