import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Respond } from '../support/fakes/recorder.ts';
import { Wire } from '../support/fakes/wire.ts';
import { type Imported, imported, serveImported } from './rig.ts';

/* reQue's Settings.toml, imported and run: the requests of its README over real HTTP, against a process of its own. */

const shipped = readFileSync(fileURLToPath(new URL('reque/Settings.toml', import.meta.url)), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'sluice-reque-'));
afterAll(() => rmSync(folder, { recursive: true }));

let running: Imported | undefined;
afterEach(() => running?.stop());

interface Switches {
  readonly interval?: string;
  readonly requires?: boolean;
  readonly removes?: boolean;
}

async function start({ interval = '0.05', requires = false, removes = true }: Switches, respond?: Respond): Promise<Imported> {
  const text = shipped
    .replace('reque_interval = "3"', `reque_interval = "${interval}"`)
    .replace('require_success = "false"', `require_success = "${requires}"`)
    .replace('remove_from_queue_on_failure = "true"', `remove_from_queue_on_failure = "${removes}"`);
  const file = join(folder, 'Settings.toml');
  writeFileSync(file, text);
  running = await serveImported((await imported('reque', file)).config, respond);
  return running;
}

const json = { 'content-type': 'application/json' };
const status = (code: number) => `HTTP/1.1 ${code} Status\r\nContent-Length: 0\r\n\r\n`;

/** The states of all requests that are stored, in the order of their acceptance; one that ends during the call may be missing. */
async function states({ admin }: Imported): Promise<readonly string[]> {
  const answer = await fetch(`${admin}/v1/requests?pageSize=1000`);
  const { requests } = (await answer.json()) as { requests: readonly { id: string; state: string }[] };
  return [...requests].sort((a, b) => Number.parseInt(a.id, 16) - Number.parseInt(b.id, 16)).map(({ state }) => state);
}

async function until<T>(ask: () => Promise<T>, enough: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await ask();
    if (enough(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('a server imported from reQue', () => {
  test('RQ-1: POST /plugins/shopify/ is answered 200 without a body once it is stored, and reaches the backend whole, also after kill -9', async () => {
    const all = await start({ interval: '3' });
    const body = '{"name": "John Doe", "age": 30, "city": "New York"}';
    const answers = [];
    for (const path of ['/plugins/shopify/', '/plugins/shopify/?n=2']) answers.push(await all.ask({ method: 'POST', path, headers: json, body }));
    expect(answers.map((answer) => [answer.status, answer.body, answer.headers.location])).toEqual([
      [200, '', undefined],
      [200, '', undefined],
    ]);
    await all.crash();
    await all.backend.until(() => all.backend.seen.some(({ target }) => target === '/plugins/shopify/?n=2'));
    const [first] = all.backend.seen;
    expect(first).toMatchObject({ method: 'POST', target: '/plugins/shopify/' });
    expect(first?.headers).toContainEqual(['content-type', 'application/json']);
    expect(first?.body.toString()).toBe(body);
  });

  test('RQ-2: at an interval of 3 s three requests start in order, at 0, 3 and 6 s and none before', async () => {
    const all = await start({ interval: '3' });
    const began = performance.now();
    for (const index of [0, 1, 2]) await all.ask({ method: 'POST', path: '/delay/3/', body: String(index) });
    await all.backend.until(() => all.backend.seen.length === 3);
    expect(all.backend.seen.map(({ body }) => body.toString())).toEqual(['0', '1', '2']);
    // What lies between admission and backend makes one later, never earlier.
    for (const [index, { at }] of all.backend.seen.entries()) expect(at - began).toBeGreaterThanOrEqual(3_000 * index);
  });

  test('RQ-3: the loop of its README, a hundred times as fast, with kill -9 in the middle: each is delivered, in order', async () => {
    const all = await start({ interval: '0.03', requires: true, removes: false });
    for (let index = 0; index <= 100; index++) {
      const { status: code } = await all.ask({ method: 'POST', path: '/delay/3/', body: String(index) });
      expect(code).toBe(200);
      if (index === 50) await all.crash();
    }
    const bodies = () => all.backend.seen.map(({ body }) => Number(body.toString()));
    await all.backend.until(() => bodies().includes(100));
    // What was on its way when the process died is sent again; nothing is passed over, and nothing comes back later.
    expect([...new Set(bodies())]).toEqual(Array.from({ length: 101 }, (_each, index) => index));
    expect(bodies()).toEqual([...bodies()].sort((a, b) => a - b));
  });

  test.each([
    [false, true],
    [true, true],
  ])('RQ-5: require_success %s with remove_from_queue_on_failure true: sent once; a failure is a dead letter and not lost', async (requires, removes) => {
    const all = await start({ requires, removes }, ({ target }, socket) => void socket.write(status(target === '/fail' ? 500 : 201)));
    for (const path of ['/ok', '/fail', '/next']) await all.ask({ method: 'POST', path });
    await all.backend.until(() => all.backend.seen.some(({ target }) => target === '/next'));
    const found = await until(
      () => states(all),
      (each) => each.length === 3 && each.at(-1) === 'done',
    );
    expect(found).toEqual(['done', 'dead', 'done']);
    expect(all.backend.seen.map(({ target }) => target)).toEqual(['/ok', '/fail', '/next']);
  });

  test('RQ-5: require_success true with remove_from_queue_on_failure false: sent until it succeeds, those behind it wait, and never again after it', async () => {
    let tries = 0;
    const all = await start(
      { requires: true, removes: false },
      ({ target }, socket) => void socket.write(status(target === '/flaky' && ++tries < 3 ? 500 : 200)),
    );
    for (const path of ['/flaky', '/next']) await all.ask({ method: 'POST', path });
    await until(
      () => states(all),
      (each) => each.length === 2 && each.at(-1) === 'done',
    );
    expect(all.backend.seen.map(({ target }) => target)).toEqual(['/flaky', '/flaky', '/flaky', '/next']);
  });

  test('RQ-5: both false: any answer delivers; without an answer it is sent again, before those behind it', async () => {
    let tries = 0;
    const all = await start({ requires: false, removes: false }, ({ target }, socket) => {
      if (target === '/mute' && ++tries < 3) socket.destroy();
      else socket.write(status(500));
    });
    for (const path of ['/mute', '/next']) await all.ask({ method: 'POST', path });
    const found = await until(
      () => states(all),
      (each) => each.length === 2 && each.at(-1) === 'done',
    );
    expect(found).toEqual(['done', 'done']);
    expect(all.backend.seen.map(({ target }) => target)).toEqual(['/mute', '/mute', '/mute', '/next']);
  });

  test('RQ-7: bodies of 6,255, 6,256 and 8,193 bytes are stored and sent whole; one over the maximum is 413 and not 200', async () => {
    const all = await start({});
    const sizes = [6_255, 6_256, 8_193];
    for (const size of sizes) expect((await all.ask({ method: 'POST', path: '/delay/1/', body: Buffer.alloc(size, size % 256) })).status).toBe(200);
    await all.backend.until(() => all.backend.seen.length === 3 && all.backend.seen.every(({ whole }) => whole));
    expect(all.backend.seen.map(({ body }) => body)).toEqual(sizes.map((size) => Buffer.alloc(size, size % 256)));
    const wire = await Wire.open(all.port);
    wire.write(`POST /delay/1/ HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 * 2 ** 20 + 1}\r\n\r\n`);
    expect(await wire.until((received) => received.includes('\r\n\r\n'))).toMatch(/^HTTP\/1\.1 413 /);
    wire.destroy();
  });

  test('RQ-17: paths and methods that reQue loses are stored and sent as they came', async () => {
    const all = await start({});
    for (const [method, path] of [
      ['GET', '/'],
      ['PUT', '/x?a=1&a=2'],
      ['DELETE', '/never/heard/of'],
    ] as const)
      expect((await all.ask({ method, path })).status).toBe(200);
    await all.backend.until(() => all.backend.seen.length === 3);
    expect(all.backend.seen.map(({ method, target }) => `${method} ${target}`)).toEqual(['GET /', 'PUT /x?a=1&a=2', 'DELETE /never/heard/of']);
  });
});
