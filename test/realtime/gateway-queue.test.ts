import { afterEach, describe, expect, test } from 'vitest';
import { queued } from '../gateway-queue/clients.ts';
import { connectionsPlay, killPlay, replicasPlay } from '../gateway-queue/plays.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { Wire } from '../support/fakes/wire.ts';

/* `sluice gateway-queue` as a process of its own, by its variables alone: periods, signals and kills in real time. */

showLogsOfFailures();

const BODY = `{"message": "You're free to connect now! :)"}`;

let server: ServerProcess | undefined;
afterEach(() => server?.clean());

interface Started {
  readonly server: ServerProcess;
  readonly port: number;
  readonly health: string;
}

async function started(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}, folder?: string): Promise<Started> {
  const [port, health] = [await freePort(), await freePort()];
  const ways = { args: ['gateway-queue', `--listen.health=127.0.0.1:${health}`, ...args], env: { HOST: '127.0.0.1', PORT: String(port), ...env } };
  const made = new ServerProcess('', folder, ways);
  server = made;
  await made.until('serving');
  return { server: made, port, health: `http://127.0.0.1:${health}` };
}

/** Callers held, by its metrics. */
async function held(health: string): Promise<number> {
  const text = await (await fetch(`${health}/metrics`)).text();
  return Number(/^sluice_gateway_queue_held (\S+)$/m.exec(text)?.[1] ?? Number.NaN);
}

describe('By its variables alone', () => {
  test('GQ-1, GQ-2: the first is answered at once, the second a period after it', async () => {
    const { port } = await started(['--gatewayQueue.slack=0']);
    const start = performance.now();
    const answers = await Promise.all(
      [0, 0].map(async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/any/path?shard=0`, { method: 'DELETE', body: 'x' });
        return { status: answer.status, body: await answer.text(), type: answer.headers.get('content-type'), at: performance.now() - start };
      }),
    );
    for (const { status, body, type } of answers) expect([status, body, type]).toEqual([200, BODY, null]);
    const [first = 0, second = 0] = answers.map(({ at }) => at).sort((a, b) => a - b);
    // The first was granted after it was asked for, at 0.
    expect(second).toBeGreaterThanOrEqual(5_000);
    // After one period and not two.
    expect(second - first).toBeLessThan(9_900);
  });

  test('GQ-17: a hundred probes while shards queue are answered at once and take no slot', async () => {
    const { port, health } = await started();
    const first = await queued({ shard: 0, ports: [port] });
    const second = queued({ shard: 1, ports: [port] });
    await until('one to be held', async () => (await held(health)) === 1);
    const probes = await Promise.all(Array.from({ length: 100 }, (_, probe) => fetch(`${health}/${['healthz', 'livez', 'readyz'][probe % 3]}`)));
    expect(probes.map(({ status }) => status)).toEqual(Array.from({ length: 100 }, () => 200));
    expect(await held(health)).toBe(1);
    expect([first, await second]).toEqual([200, 200]);
    expect(await (await fetch(`${health}/metrics`)).text()).toContain('sluice_gateway_queue_admitted_total 2\n');
  });

  test('GQ-14: SIGTERM while five wait: it ends with its grace, their sockets are closed unanswered, and no slot is spent', async () => {
    const { server: running, port, health } = await started(['--drain.delay=0s', '--drain.grace=2s', '--gatewayQueue.period=1h']);
    await queued({ shard: 0, ports: [port] });
    const wires: Wire[] = [];
    for (let shard = 1; shard <= 5; shard++) {
      const wire = await Wire.open(port);
      wire.write(`GET /?shard=${shard} HTTP/1.1\r\nHost: queue\r\n\r\n`);
      wires.push(wire);
    }
    await until('five to be held', async () => (await held(health)) === 5);
    const asked = performance.now();
    running.child.kill('SIGTERM');
    const [code] = await running.exit;
    expect(code).toBe(0);
    // They would wait for an hour.
    expect(performance.now() - asked).toBeLessThan(60_000);
    expect(await Promise.all(wires.map((wire) => wire.untilClosed()))).toEqual(['', '', '', '', '']);
    // Another takes the store over: the bucket is as the first answer left it, and nobody was admitted since.
    const next = await started(['--gatewayQueue.period=1h', '--listen.admin=127.0.0.1:0'], {}, running.folder);
    const text = await (await fetch(`${next.health}/metrics`)).text();
    expect(text).toContain('sluice_gateway_queue_admitted_total 0\n');
  });
});

test('GQ-10: 2,048 shards wait without one being turned away; a hundred leave, and a hundred others take their places', async () => {
  const { held, closed } = await connectionsPlay();
  expect(held).toEqual([2032, 1932, 2032]);
  expect(closed).toBe(0);
});

describe('Sixteen shards of a bot with max_concurrency 4, whose clients take any answer for go', () => {
  test('GQ-15: killed and started again in the middle: no two identifies of a bucket within 5 s, and the budget is exact', async () => {
    const { identifies, left } = await killPlay(() => {});
    expect(identifies).toBe(16);
    expect(left).toEqual([24, 24]);
  });

  test('GQ-16: the same over three replicas, of which the one that decides is killed', async () => {
    const { identifies, left } = await replicasPlay({ path: natsBinary() }, () => {});
    expect(identifies).toBe(16);
    expect(left).toEqual([24, 24]);
  });
});
