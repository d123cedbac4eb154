import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatError } from '../src/config/errors.ts';
import { loadConfig } from '../src/config/load.ts';
import { type RunningServer, serve } from '../src/server/serve.ts';
import { freePort } from './support/fakes/ports.ts';
import { until } from './support/fakes/until.ts';

/* The gateway of Tarantool's article (examples/api-gateway), called by the lines of docs/coming-from-tarantool.md as printed but for their ports. */

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string): string => readFileSync(root + file, 'utf8');
const page = read('docs/coming-from-tarantool.md');
const run = promisify(execFile);

/** Ports of the example, each with one of this test. */
const ports = new Map<string, number>();
const ported = (text: string): string => text.replaceAll(/\b80(?:81|9[1-5])\b/g, (port) => String(ports.get(port)));

let running: RunningServer;
let services: ReturnType<typeof spawn>;
let said = '';

async function freeInARow(count: number): Promise<number> {
  for (;;) {
    const first = await freePort();
    const others = await Promise.all(Array.from({ length: count - 1 }, (_, index) => portIsFree(first + index + 1)));
    if (others.every((free) => free)) return first;
  }
}

async function portIsFree(port: number): Promise<boolean> {
  const { createServer } = await import('node:net');
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

beforeAll(async () => {
  const first = await freeInARow(5);
  for (const [index, port] of ['8091', '8092', '8093', '8094', '8095'].entries()) ports.set(port, first + index);
  ports.set('8081', await freePort());
  services = spawn(process.execPath, [`${root}examples/api-gateway/services.mjs`, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  services.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));
  await until('the services to listen', () => said.includes('services take requests'));
  const listen = `listen: { proxy: 127.0.0.1:${ports.get('8081')}, api: none, grpc: none, health: none, admin: none }`;
  const text = ported(read('examples/api-gateway/sluice.yaml'))
    .replace(/^listen:.*$/m, listen)
    .replace(/^store:.*$/m, 'store: memory\ndrain: { delay: 0 }');
  const env = { CALLBACK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}` };
  const loaded = loadConfig({ text, name: 'sluice.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
});

afterAll(async () => {
  await running?.drain(true);
  services?.kill();
  if (services !== undefined && services.exitCode === null && services.signalCode === null) await once(services, 'exit');
});

/** The shell block of the page that holds this text, as printed. */
function block(holding: string): string {
  const found = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) => text).filter((text) => text.includes(holding));
  expect(found, `blocks with ${holding}`).toHaveLength(1);
  return ported(found[0] ?? '');
}

async function shell(script: string): Promise<readonly string[]> {
  const { stdout } = await run('sh', ['-ec', script], { timeout: 60_000 });
  return stdout.trim().split('\n');
}

describe('the gateway of the article', () => {
  test('answers the authentication service, two versions of a service, and any method, in order', async () => {
    const [token, first, second, patched] = (await shell(block('--post-data=\'{"type":1'))).map((line) => JSON.parse(line));
    expect(token).toEqual({ token: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect(first).toMatchObject({ version: 'v1', id: '7', method: 'GET', token: 'abc' });
    expect(second).toMatchObject({ version: 'v2', id: '7', method: 'GET', token: 'abc' });
    expect(patched).toMatchObject({ version: 'v1', method: 'PATCH', body: '{"name":"Ann"}' });
  });

  test('shares the load between the two instances of a service', async () => {
    const answers = await Promise.all(
      Array.from(
        { length: 8 },
        async (_, index) =>
          (await fetch(`http://127.0.0.1:${ports.get('8081')}/api_gateway/v1/users/${index}?token=t`)).json() as Promise<{ instance: string }>,
      ),
    );
    expect(new Set(answers.map(({ instance }) => instance))).toEqual(new Set(['users-1', 'users-2']));
  });

  test('stores a request and answers the poll for it with the answer of the service', async () => {
    expect((await shell(block('LOCATION='))).map((line) => JSON.parse(line))).toEqual([{ report: 'month=11', attempt: 1 }]);
  });

  test('pushes the answer to the client that asked for it', async () => {
    const [ticket] = (await shell(block('Sluice-Callback'))).map((line) => JSON.parse(line));
    expect(ticket).toMatchObject({ existing: false, location: expect.stringMatching(/^\/\.sluice\/requests\//) });
    await until('the callback', () => said.includes('called back: POST /done request.done 201 {"report":"month=12","attempt":1}'));
  });

  test('lets a caller leave at once and fetch the answer of a live service later', async () => {
    const [ticket] = (await shell(block('respond-async'))).map((line) => JSON.parse(line));
    const answer = await fetch(`http://127.0.0.1:${ports.get('8081')}${ticket.location}`, { headers: { Prefer: 'wait=30' } });
    expect(await answer.json()).toMatchObject({ version: 'v1', id: '8' });
  });

  test('gives every service a queue of its own: a burst at one holds up no other', async () => {
    const at = `http://127.0.0.1:${ports.get('8081')}`;
    const logins = Array.from({ length: 12 }, () => fetch(`${at}/auth`, { method: 'POST', body: '{"email":"a"}' }));
    const order: string[] = [];
    const users = fetch(`${at}/api_gateway/v1/users/1?token=other`).then((answer) => order.push(`users ${answer.status}`));
    // The 12th login waits 400 ms; its answer comes after that of the other service, however slow the machine is.
    const all = Promise.all(logins).then((answers) => order.push(`auth ${new Set(answers.map(({ status }) => status)).size} ${answers[0]?.status}`));
    await Promise.all([users, all]);
    expect(order).toEqual(['users 200', 'auth 1 200']);
  });
});
