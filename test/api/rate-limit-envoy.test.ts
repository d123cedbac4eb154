import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { Envoy, envoyProgram, NO_ENVOY } from '../support/fakes/envoy.ts';
import { freePort } from '../support/fakes/ports.ts';
import { rateLimitServer } from './rate-limit-client.ts';

/* examples/envoy before a real Envoy, a whole server, and a backend that counts. */

const example = (name: string): string => readFileSync(fileURLToPath(new URL(`../../examples/envoy/${name}`, import.meta.url)), 'utf8');

if (envoyProgram === undefined) {
  describe('behind Envoy', () => {
    it.skip(`is not run: ${NO_ENVOY}`, () => undefined);
  });
} else {
  describe('behind Envoy', behindEnvoy);
}

function behindEnvoy(): void {
  let server: Awaited<ReturnType<typeof rateLimitServer>>;
  let envoy: Envoy | undefined;
  let backend: Server;
  let url = '';
  let passed = 0;

  beforeEach(async () => {
    passed = 0;
    backend = createServer((_request, response) => {
      passed += 1;
      response.end('passed');
    });
    await new Promise<void>((resolve) => void backend.listen(0, '127.0.0.1', resolve));
    server = await rateLimitServer(example('sluice.yaml'));
  });
  afterEach(async () => {
    await envoy?.stop();
    envoy = undefined;
    await server.stop();
    backend.close();
    backend.closeAllConnections();
  });

  /** Starts the example with the ports of this test; `timeout` is the filter's. */
  async function start(timeout = '30s'): Promise<void> {
    const port = await freePort();
    const { port: behind } = backend.address() as { port: number };
    const grpc = server.running.addresses['grpc']?.split(':')[1];
    const ports = new Map([
      ['port_value: 10000', `port_value: ${port}`],
      ['port_value: 9090', `port_value: ${grpc}`],
      ['port_value: 8081', `port_value: ${behind}`],
      ['timeout: 30s', `timeout: ${timeout}`],
    ]);
    let config = example('envoy.yaml');
    for (const [from, to] of ports) {
      expect(config.split(from)).toHaveLength(2);
      config = config.replace(from, to);
    }
    envoy = await Envoy.start(config);
    url = `http://127.0.0.1:${port}/`;
  }

  test('requests are held until the limit lets them pass, never early, and answered by the backend with the RateLimit fields', async () => {
    await start();
    const began = performance.now();
    const answers = await Promise.all([0, 1, 2].map(() => fetch(url)));
    // Two a second: the third is admitted a second after the first at the earliest.
    expect(performance.now() - began).toBeGreaterThanOrEqual(1_000);
    expect(answers.map((each) => each.status)).toEqual([200, 200, 200]);
    for (const each of answers) expect([await each.text(), each.headers.get('ratelimit-policy')]).toEqual(['passed', '"pace";q=2;w=1']);
    expect(passed).toBe(3);
  });

  test('a request that cannot pass within the time of the filter gets 429, Retry-After and a problem, and never reaches the backend', async () => {
    await start('0.15s');
    expect((await fetch(url)).status).toBe(200);
    const answer = await fetch(url);
    expect([answer.status, answer.headers.get('retry-after'), answer.headers.get('content-type'), answer.headers.get('x-envoy-ratelimited')]).toEqual([
      429,
      '1',
      'application/problem+json',
      'true',
    ]);
    expect(await answer.json()).toMatchObject({ status: 429, limit: 'pace' });
    expect(passed).toBe(1);
  });

  test('nothing passes while Sluice is away', async () => {
    await start();
    expect((await fetch(url)).status).toBe(200);
    await server.running.drain(true);
    expect((await fetch(url)).status).toBe(500);
    expect(passed).toBe(1);
  });

  test('a caller that leaves while it is held takes its place along', async () => {
    await start();
    await fetch(url);
    const left = new AbortController();
    const gone = fetch(url, { signal: left.signal }).catch(() => 'gone');
    const next = fetch(url);
    left.abort();
    expect(await gone).toBe('gone');
    expect((await next).status).toBe(200);
    expect(passed).toBe(2);
  });
}
