import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatError } from '../src/config/errors.ts';
import { type Config, loadConfig } from '../src/config/load.ts';
import { type RunningServer, serve } from '../src/server/serve.ts';

/* The examples work: every configuration is a good one that says what it is for, and the clients that need only Node or a shell run. */

const root = fileURLToPath(new URL('..', import.meta.url));
const text = (file: string) => readFileSync(root + file, 'utf8');

function read(name: string, content: string): Config {
  const loaded = loadConfig({ text: content, name, env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

/** Limits by group, each as its kind and scope. */
function limits(config: Config): Record<string, Record<string, string>> {
  return Object.fromEntries(
    config.groups.map(({ spec }) => [spec.name, Object.fromEntries(spec.limits.map(({ name, quota, scope }) => [name, `${quota.kind} per ${scope}`]))]),
  );
}

describe('the configurations of the examples', () => {
  const expected: Record<string, Record<string, Record<string, string>>> = {
    'adaptive-backend': { reports: { found: 'concurrency per group' } },
    'api-window': { partner: { minute: 'fixed per group', even: 'rate per group' }, 'partner-by-customer': { minute: 'window per key' } },
    'discord-identify': { identify: { bucket: 'spacing per key', starts: 'fixed per group' }, resume: { gentle: 'rate per group' } },
    'discord-ready': { identify: { bucket: 'spacing per key', ready: 'concurrency per key' } },
    llm: { provider: { rpm: 'window per group', tpm: 'window per group' }, chat: { streams: 'concurrency per group' }, embeddings: {} },
    'llm-proxy': { llm: { tpm: 'window per group', rpm: 'window per group' } },
    'lunar-queue-flow': { quota: { quota: 'fixed per group' } },
    'lunar-strategy-queue': { resource: { window: 'window per group' } },
    'one-at-a-time': { customers: { one: 'concurrency per key', workers: 'concurrency per group' } },
  };
  const files = globSync('examples/configs/*.yaml', { cwd: root });

  test('are all told here', () => expect(files.map((file) => file.replace(/^.*\/|\.yaml$/g, '')).sort()).toEqual(Object.keys(expected)));

  test.each(files)('%s has no mistake, and the limits it is for', (file) => {
    expect(limits(read(file, text(file)))).toEqual(expected[file.replace(/^.*\/|\.yaml$/g, '')]);
    expect(text(file)).toMatch(/^# yaml-language-server: \$schema=\.\.\/\.\.\/docs\/sluice\.schema\.json\n/);
  });
});

describe('the calls in comments of the configurations', () => {
  const calls = ['sluice.yaml', ...globSync('examples/configs/*.yaml', { cwd: root })].flatMap((file) =>
    [...text(file).matchAll(/^ *# +curl -X POST 'http:\/\/localhost:8080(\/v1\/groups\/[^']+)'/gm)].map(([, path = '']) => [file, path] as const),
  );

  test('are there, some of them with a class', () => {
    expect(calls.length).toBeGreaterThan(4);
    expect(calls.filter(([, path]) => path.includes('class='))).toHaveLength(3);
  });

  test.each(calls)('%s: POST %s is admitted', async (file, path) => {
    const config = read(file, text(file));
    const listen = { ...config.listen, api: { address: { host: '127.0.0.1', port: 0 }, tls: undefined } };
    for (const name of ['grpc', 'health', 'proxy'] as const) listen[name] = { address: 'none', tls: undefined };
    listen.admin = { address: 'none', tls: undefined, hosts: [], dashboard: '/' };
    const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
    const parts = { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' };
    const running = await serve({ ...config, listen, routes: [], store: { ...config.store, kind: 'memory' } }, parts);
    const answer = await fetch(`http://${running.addresses['api']}${path}`, { method: 'POST' });
    const body = await answer.text();
    await running.drain(true);
    expect({ status: answer.status, body }).toEqual({ status: 200, body: expect.stringMatching(/^\{"permit":.*\}\n$/) as string });
  });
});

describe('the clients of the examples', () => {
  let running: RunningServer;
  const at = (listener: string) => running.addresses[listener] ?? '';

  beforeAll(async () => {
    const config = read(
      'f.yaml',
      'listen: { api: "127.0.0.1:0", grpc: "127.0.0.1:0", health: none, admin: none }\nhttp: { engine: node }\nstore: memory\ndrain: { delay: 0s, grace: 0s }\ngroups: { slots: { limits: [ { name: one, concurrency: 1 } ] } }\n',
    );
    const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
    running = await serve(config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
  });
  afterAll(() => running.drain(true));

  async function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        out += chunk.toString();
      });
    }
    const [code] = (await once(child, 'close')) as [number];
    return { code, out };
  }

  test('Node, two at once: one after the other', async () => {
    const client = () => run(process.execPath, ['examples/node/client.mjs', at('grpc'), 'slots', '0.2']);
    const both = await Promise.all([client(), client()]);
    for (const { code, out } of both)
      expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^admitted after [\d.]+ s: fence \d+, lease 10 s\nreleased: true\n$/) as string });
  });

  test('Node, refused', async () => {
    expect(await run(process.execPath, ['examples/node/client.mjs', at('grpc'), 'nope'])).toEqual({ code: 1, out: 'There is no group named "nope".\n' });
  });

  test('the shell script passes on the exit code, and leaves no lease behind', async () => {
    const env = { SLUICE_URL: `http://${at('api')}` };
    expect(await run('sh', ['examples/shell/hold.sh', 'slots', 'sh', '-c', 'echo held; exit 3'], env)).toEqual({ code: 3, out: 'held\n' });
    expect(await run('sh', ['examples/shell/hold.sh', 'slots', 'echo', 'again'], env)).toEqual({ code: 0, out: 'again\n' });
    expect(await run('sh', ['examples/shell/hold.sh', 'nope', 'true'], env)).toMatchObject({
      code: 75,
      out: expect.stringContaining('unknown_group') as string,
    });
  });
});
