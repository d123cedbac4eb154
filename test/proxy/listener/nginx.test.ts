import { createHash, randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { FILE_BYTES, Nginx, type NginxOptions, NO_NGINX, nginxProgram } from '../../support/fakes/nginx.ts';
import { type Recorded, Recorder } from '../../support/fakes/recorder.ts';
import { Wire } from '../../support/fakes/wire.ts';
import { lunarSuite } from './lunar.suite.ts';
import { type Answered, type ProxyRig, proxyRig } from './rig.ts';

/* Before a backend that nobody here wrote: nginx as Debian has it, with a server in Node behind it. */

if (nginxProgram === undefined) {
  describe('before nginx', () => {
    it.skip(`is not run: ${NO_NGINX}`, () => undefined);
  });
} else {
  describe('before nginx, with a slow server behind it', () => lunarSuite((recorder) => Nginx.start(recorder.url)));
  describe('before nginx: what it answers itself', ownAnswers);
  describe('before nginx: bytes', bytes);
  describe('before nginx: its connections', connections);
  describe('before two of nginx', restarts);
}

const CONFIG = `http: { engine: node, ambiguousPaths: match }
backends: { shop: { urls: [ BACKEND ] } }
groups: { held: { limits: [ { name: all, window: 1000000/1h }, { name: slots, concurrency: 50 } ] } }
routes:
  - { match: { path: /piped/* }, group: held, backend: shop, charge: headers, body: { max: 128MiB } }
  - { match: { path: /straight/* }, backend: shop, body: { max: 128MiB } }
  - { match: { path: /* }, group: held, backend: shop, body: { max: 128MiB } }
`;

interface Both {
  readonly rig: ProxyRig;
  readonly nginx: Nginx;
}

async function before(options?: NginxOptions): Promise<Both> {
  let nginx: Nginx | undefined;
  const rig = await proxyRig(CONFIG, undefined, undefined, async (recorder) => {
    nginx = await Nginx.start(recorder.url, options);
    return nginx;
  });
  if (nginx === undefined) throw new Error('nginx was not started');
  return { rig, nginx };
}

function ownAnswers(): void {
  let both: Both;
  beforeAll(async () => {
    both = await before();
  });
  afterAll(() => both.rig.stop());
  const ask = (headers: Readonly<Record<string, string>> = {}, path = '/own/file', method = 'GET'): Promise<Answered> =>
    both.rig.ask({ path, method, headers });
  const file = Buffer.alloc(FILE_BYTES, 'nginx says ').toString('latin1');

  test('a file comes as it is, with its validators', async () => {
    const { status, headers, body } = await ask();
    expect([status, headers['content-length'], headers['accept-ranges'], body === file]).toEqual([200, String(FILE_BYTES), 'bytes', true]);
    expect(headers).toMatchObject({ server: expect.stringContaining('nginx'), 'last-modified': expect.any(String), via: '1.1 sluice' });
    const again = await ask({ 'if-none-match': String(headers.etag) });
    expect(again).toMatchObject({ status: 304, body: '', headers: { etag: headers.etag } });
  });

  test('parts of it are parts, and what is beyond it is 416', async () => {
    expect(await ask({ range: 'bytes=0-10' })).toMatchObject({ status: 206, body: 'nginx says ', headers: { 'content-range': `bytes 0-10/${FILE_BYTES}` } });
    expect(await ask({ range: `bytes=${FILE_BYTES}-` })).toMatchObject({ status: 416 });
    const { headers, body } = await ask({ range: 'bytes=0-1,5-6' });
    expect(headers['content-type']).toMatch(/^multipart\/byteranges/);
    expect(body).toContain('content-range: bytes 5-6/'.replace('content-range', 'Content-Range'));
  });

  test('what is compressed stays compressed, in chunks', async () => {
    const { headers, body } = await ask({ 'accept-encoding': 'gzip' });
    expect(headers).toMatchObject({ 'content-encoding': 'gzip', 'transfer-encoding': 'chunked' });
    expect(gunzipSync(Buffer.from(body, 'latin1')).toString('latin1') === file).toBe(true);
  });

  test('a redirect is told and not followed', async () => {
    expect(await ask({}, '/own/moved')).toMatchObject({ status: 301, headers: { location: expect.stringMatching(/\/elsewhere$/) } });
    expect(both.rig.backend.seen).toEqual([]);
  });

  test('HEAD, 204 and 304 end where they end: what follows on the connection is the next answer', async () => {
    const { etag } = (await ask()).headers;
    const wire = await both.rig.wire();
    const fields = 'HTTP/1.1\r\nHost: h\r\n';
    const asked = [
      `HEAD /own/file ${fields}`,
      `GET /own/nothing ${fields}`,
      `GET /own/file ${fields}If-None-Match: ${etag}\r\n`,
      `HEAD /own/file ${fields}Accept-Encoding: gzip\r\n`,
      `GET /own/file ${fields}Range: bytes=0-4\r\n`,
    ];
    wire.write(asked.map((each) => `${each}\r\n`).join(''));
    const text = await wire.until((received) => received.endsWith('nginx'));
    expect([...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status)).toEqual(['200', '204', '304', '200', '206']);
    expect(
      text
        .split('\r\n\r\n')
        .slice(1)
        .every((part) => part.startsWith('HTTP/1.1 ') || part === 'nginx'),
    ).toBe(true);
  });

  test('who leaves within a slow answer gives its slot back', async () => {
    const wire = await both.rig.wire();
    wire.write('GET /own/slowly HTTP/1.1\r\nHost: h\r\n\r\n');
    await wire.until((received) => received.length > 1_000);
    await both.rig.shows('held', { leases: 1 });
    wire.destroy();
    await both.rig.shows('held', { leases: 0 });
  });
}

/** What Sluice adds to a request, and what frames; in lower case. */
const OURS = new Set(['forwarded', 'via', 'traceparent', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'sluice-attempt', 'sluice-fence']);
const FRAMING = new Set(['connection', 'content-length', 'transfer-encoding', 'sluice-fence-floor']);
const hash = (body: Uint8Array): string => createHash('sha256').update(body).digest('hex');

function bytes(): void {
  let both: Both;
  beforeAll(async () => {
    both = await before();
  });
  afterAll(() => both.rig.stop());

  /** What reached the server behind nginx, but for the documented fields. */
  const essence = ({ method, target, headers, body }: Recorded): unknown => ({
    method,
    target,
    fields: headers.filter(([name]) => !OURS.has(name.toLowerCase()) && !FRAMING.has(name.toLowerCase())).map(([name, value]) => [name.toLowerCase(), value]),
    body: hash(body),
  });

  async function sent(port: number, head: string, body: Uint8Array): Promise<Recorded> {
    const { backend } = both.rig;
    const count = backend.seen.length;
    const wire = await (port === both.rig.port ? both.rig.wire() : Wire.open(port));
    wire.write(head);
    wire.write(body);
    await wire.until((received) => received.endsWith('ok'));
    wire.destroy();
    expect(backend.seen).toHaveLength(count + 1);
    return backend.seen[count] as Recorded;
  }

  const FIELDS = `X-Repeat: one\r\nx-repeat: two\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: */*;q=0.1\r\nX_Under: score\r\nX-Empty:\r\nX-Latin: caf\xe9\r\nAuthorization: Bearer x\r\nX-Long: ${'v'.repeat(3_000)}\r\n`;
  const TARGETS = ['/%7Ex/a%2Fb;p=1?a=1&a=2&b=%20+', '/caf%C3%A9/?', "/!$&'()*,;=:@/-._~?q=[]{}|^", `/long/${'x'.repeat(3_000)}`];
  const WAYS = ['held', 'piped', 'straight'];
  const SHAPES = WAYS.flatMap((way) =>
    TARGETS.flatMap((target) => ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'].map((method) => ({ method, target: `/${way}${target}` }))),
  );

  test(`${SHAPES.length} requests reach the server behind it through the proxy as they do without`, async () => {
    for (const [index, { method, target }] of SHAPES.entries()) {
      const body = method === 'GET' ? Buffer.alloc(0) : randomBytes([0, 1, 1_000, 70_000, 300_000][index % 5] ?? 0);
      const chunked = index % 2 === 0 && body.length > 0;
      const framing = method === 'GET' ? '' : chunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${body.length}\r\n`;
      const head = `${method} ${target} HTTP/1.1\r\nHost: shop.example.com\r\n${FIELDS}${framing}\r\n`;
      const half = body.length >> 1;
      const chunk = (part: Uint8Array): Buffer =>
        part.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]);
      const wired = chunked ? Buffer.concat([chunk(body.subarray(0, half)), chunk(body.subarray(half)), Buffer.from('0\r\n\r\n')]) : body;
      const plain = await sent(both.nginx.port, head, wired);
      const through = await sent(both.rig.port, head, wired);
      expect(essence(through), head).toEqual(essence(plain));
      expect(through.body.equals(body)).toBe(true);
    }
  });

  test.each(WAYS)('32 MiB go up (%s) and come down byte for byte', async (way) => {
    const body = randomBytes(32 * 2 ** 20);
    const { rig } = both;
    rig.backend.respond = (request, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${request.body.length}\r\n\r\n`);
      socket.write(request.body);
    };
    const answered = await rig.ask({ method: 'POST', path: `/${way}/big`, body });
    expect(hash(Buffer.from(answered.body, 'latin1'))).toBe(hash(body));
  });
}

function connections(): void {
  let both: Both;
  afterEach(() => both.rig.stop());
  const turns = (): readonly number[] => both.nginx.log.map(({ turn }) => turn);

  test('one connection is used again and again', async () => {
    both = await before();
    for (let each = 0; each < 50; each++) expect((await both.rig.ask({ path: `/${each}` })).status).toBe(200);
    expect(turns()).toEqual(Array.from({ length: 50 }, (_each, index) => index + 1));
  });

  test.each([1, 2, 7])('one that nginx closes after %i requests costs nobody anything', async (perConnection) => {
    both = await before({ perConnection });
    const asking = async (caller: number): Promise<void> => {
      for (let each = 0; each < 50; each++) {
        const method = each % 2 === 0 ? 'POST' : 'GET';
        expect((await both.rig.ask({ method, path: `/${caller}-${each}`, body: method === 'POST' ? 'hi' : '' })).status).toBe(200);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_each, caller) => asking(caller)));
    expect(Math.max(...turns())).toBe(perConnection);
    expect(new Set(both.rig.backend.seen.map(({ target }) => target)).size).toBe(400);
    expect(both.rig.backend.seen).toHaveLength(400);
  });
}

function restarts(): void {
  let rig: ProxyRig | undefined;
  const all: { stop(): Promise<void> }[] = [];
  afterEach(async () => {
    await rig?.stop();
    for (const each of all.splice(0)) await each.stop();
  });

  /** One that is killed and begun again in the middle, one that is reloaded, and callers who ask all the while. */
  test('callers ask all the while, and what is restarted or reloaded costs only those it may: nothing is sent twice that must not be', async () => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    const behind = await Recorder.start((_request, socket) => void setTimeout(() => socket.write(answer), 5));
    const [killed, reloaded] = [await Nginx.start(behind.url), await Nginx.start(behind.url, { master: true })];
    all.push(killed, reloaded, behind);
    const ejection = 'ejection: { failures: 3, for: 200ms }';
    rig = await proxyRig(CONFIG.replace('urls: [ BACKEND ]', `urls: [ "${killed.url}", "${reloaded.url}" ], ${ejection}`));
    const { ask } = rig;
    let over = false;
    const answers: { readonly kind: number; readonly path: string; readonly status: number; readonly reason: string }[] = [];
    const asking = async (caller: number): Promise<void> => {
      for (let each = 0; !over; each++) {
        const kind = each % 3;
        const path = `/${caller}-${each}`;
        const keyed = kind === 1 ? { 'idempotency-key': `"${path}"` } : {};
        const { status, headers } = await ask(kind === 0 ? { path } : { method: 'POST', path, body: 'x'.repeat(2_000), headers: keyed });
        answers.push({ kind, path, status, reason: String(headers['sluice-reason']) });
      }
    };
    const callers = Array.from({ length: 20 }, (_each, caller) => asking(caller));
    const beat = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await beat(300);
      reloaded.reload();
      await beat(300);
      await killed.end(signal);
      await beat(300);
      await killed.begin();
    }
    await beat(400);
    over = true;
    await Promise.all(callers);
    // Who may be sent again was: a GET, and a POST with a key.
    for (const each of answers) if (each.kind < 2) expect(each).toMatchObject({ status: 200 });
    const plain = answers.filter(({ kind }) => kind === 2);
    const times = new Map<string, number>();
    for (const { target } of behind.seen) times.set(target, (times.get(target) ?? 0) + 1);
    for (const { path, status, reason } of plain) {
      expect([200, 502]).toContain(status);
      if (status === 502) expect(reason).toBe('backend_failed');
      expect(times.get(path) ?? 0).toBeLessThanOrEqual(1);
      if (status === 200) expect(times.get(path)).toBe(1);
    }
    expect(plain.filter(({ status }) => status === 502).length).toBeLessThanOrEqual(20 * 4);
    expect(plain.filter(({ status }) => status === 200).length).toBeGreaterThan(100);
    expect(killed.log.length).toBeGreaterThan(100);
    expect(reloaded.log.length).toBeGreaterThan(100);
    await rig.shows('held', { waiting: 0, leases: 0 });
  });
}
