import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet } from '../faults/fleet.ts';
import { ScriptedBackend } from '../support/fakes/backend.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';
import { type Answer, Asking } from './asking.ts';

/*
 * What callers see when a replica dies, is cut off, or stops. Each test leaves all three replicas running.
 */

showLogsOfFailures();

const GROUPS = `
  pace: { limits: [ { name: p, spacing: 200ms } ], ttl: { default: 30s, max: 60s } }
  line: { limits: [ { name: p, spacing: 2s } ], ttl: { default: 30s, max: 60s } }
  lease: { limits: [ { name: c, concurrency: 1 } ], lease: { default: 20s, max: 60s }, ttl: { default: 30s, max: 60s } }
  work: { limits: [ { name: c, concurrency: 1 } ], lease: { default: 2s, max: 60s }, ttl: { default: 30s, max: 60s } }
  shut: { limits: [ { name: p, spacing: 100ms } ], ttl: { default: 1s, max: 60s } }
  part: { limits: [ { name: w, window: 9/10m } ], ttl: { default: 5s, max: 60s }, unreachable: share }
  free: { limits: [ { name: p, spacing: 60s } ], ttl: { default: 5s, max: 60s }, unreachable: open }
  drain: { limits: [ { name: p, spacing: 300ms } ], ttl: { default: 30s, max: 60s } }
`;

let fleet: Fleet;
let asking: Asking;
let backend: ScriptedBackend;

beforeAll(async () => {
  backend = await ScriptedBackend.open(() => {});
  const more = [`backends: { slow: { urls: [ "http://127.0.0.1:${backend.port}" ] } }`, "routes: [ { match: { path: '/work' }, group: work, backend: slow } ]"];
  fleet = await Fleet.start({ binary: { path: natsBinary() }, nats: 1, replicas: 3, groups: GROUPS, proxy: true, more: more.join('\n') });
  asking = new Asking(fleet);
  await fleet.decided(['pace', 'line', 'lease', 'work', 'shut', 'part', 'free', 'drain']);
});

afterAll(async () => {
  await fleet?.clean();
  await backend?.close();
});

/** Killed as by the machine's end, and started again when `meanwhile` is over. */
async function dead(replica: number, meanwhile: () => Promise<void>): Promise<void> {
  const { process } = fleet.replicas[replica] as (typeof fleet.replicas)[number];
  process.kill();
  await process.exit;
  try {
    await meanwhile();
  } finally {
    await fleet.replicas[replica]?.start();
  }
}

describe('When the owner of a group is killed', () => {
  test('X1: those who wait at others go on in order, and no two within a period', async () => {
    const owner = await asking.owner('pace');
    const others = [0, 1, 2].filter((index) => index !== owner);
    const start = performance.now();
    await asking.acquire(owner, 'pace');
    const asks: Promise<Answer>[] = [];
    for (let caller = 0; caller < 12; caller++) asks.push(asking.acquire(others[caller % 2] as number, 'pace'));
    await dead(owner, async () => {
      const times = (await Promise.all(asks)).map(({ at }) => at).sort((a, b) => a - b);
      // An answer may come late and the next one not: what has passed since the first was asked for shows it.
      for (const [index, at] of times.entries()) expect(at - start).toBeGreaterThanOrEqual((index + 1) * 200);
    });
  });

  test('TQ-11: a lease taken at it is renewed and released at another; its fence is smaller than the next one', async () => {
    const owner = await asking.owner('lease');
    const other = await asking.other('lease');
    const before = await asking.standing('lease', other);
    const first = await asking.acquire(owner, 'lease');
    await dead(owner, async () => {
      const next = asking.acquire(other, 'lease');
      await asking.wait('lease', 1, other);
      expect((await asking.post(other, `/v1/permits/${first.permit}/renew`)).status).toBe(200);
      expect((await asking.post(other, `/v1/permits/${first.permit}/release`)).status).toBe(200);
      const second = await next;
      expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
      const after = await asking.standing('lease', other);
      expect([before.placement?.replica, before.replicas.length, after.replicas.length]).toEqual([`r${owner}`, 3, 2]);
      expect(after.placement?.replica).not.toBe(before.placement?.replica);
      expect(BigInt(after.placement?.term ?? 0)).toBeGreaterThan(BigInt(before.placement?.term ?? 0));
      await asking.post(other, `/v1/permits/${second.permit}/release`);
    });
  });
});

describe('When the replica of a caller is killed', () => {
  test('the same request id finds the same place at another one', async () => {
    const home = await asking.other('line');
    const refuge = await asking.owner('line');
    await asking.acquire(refuge, 'line');
    const first = asking.acquire(home, 'line', { requestId: 'first' }).catch(() => undefined);
    await asking.wait('line', 1, refuge);
    const behind = asking.acquire(refuge, 'line');
    await asking.wait('line', 2, refuge);
    await dead(home, async () => {
      await first;
      const again = await asking.acquire(refuge, 'line', { requestId: 'first' });
      expect(again.status).toBe(200);
      expect((await behind).at).toBeGreaterThan(again.at);
    });
  });

  test('LN-16: the slot of a request that it forwarded is free when its lease has lapsed, not when a clock of days has', async () => {
    const home = await asking.other('work');
    const other = await asking.owner('work');
    const proxied = (index: number) => fetch(`http://127.0.0.1:${fleet.replicas[index]?.proxyPort}/work`);
    const lost = proxied(home).catch(() => undefined);
    await until('the backend to have it', () => backend.begun === 1);
    await dead(home, async () => {
      await lost;
      backend.script = (_seen, wire) => wire.answer(200);
      expect((await proxied(other)).status).toBe(200);
    });
  });
});

describe('X8: when a replica cannot reach NATS', () => {
  test('closed refuses, share gives its part and open lets pass, both flagged; it stays ready, and the rest goes on as before', async () => {
    const cut = await asking.other('part');
    const other = await asking.owner('part');
    const { lines, healthPort } = fleet.replicas[cut] as (typeof fleet.replicas)[number];
    for (const line of lines) line.cut();
    try {
      await until('it to go on alone', async () => (await asking.acquire(cut, 'free')).headers.get('sluice-degraded') === 'open');
      expect((await asking.acquire(cut, 'shut')).reason).toBe('undecided');
      const parts = await Promise.all(Array.from({ length: 5 }, () => asking.acquire(cut, 'part', { ttl: '0s' })));
      expect(parts.filter(({ status, headers }) => status === 200 && headers.get('sluice-degraded') === 'share')).toHaveLength(3);
      const ready = await fetch(`http://127.0.0.1:${healthPort}/readyz`);
      expect([ready.status, await ready.text()]).toEqual([200, 'ok\ncluster: unreachable\n']);
      expect(await fleet.replicas[cut]?.metrics()).toContain('sluice_degraded_total{group="part",how="share"} 3');
      const there = await Promise.all(Array.from({ length: 10 }, () => asking.acquire(other, 'part', { ttl: '0s' })));
      expect(there.filter(({ status }) => status === 200)).toHaveLength(9);
    } finally {
      await Promise.all(lines.map((line) => line.heal()));
    }
    // The window is full: nobody more passes once it is back.
    await until('it to be back', async () => (await asking.acquire(cut, 'shut')).status === 200);
    expect((await asking.acquire(cut, 'part', { ttl: '0s' })).headers.get('sluice-degraded')).toBeNull();
    expect((await asking.acquire(cut, 'part', { ttl: '0s' })).status).toBe(429);
  });
});

describe('X11: when a replica is told to stop', () => {
  test('those it holds are served where their group went, and nobody is refused', async () => {
    const owner = await asking.owner('drain');
    const other = await asking.other('drain');
    await asking.acquire(owner, 'drain');
    const asks: Promise<Answer>[] = [];
    // Paused, so that all of them are in line, in this order, when it stops.
    await asking.post(owner, '/v1/groups/drain/pause', { duration: '3s' });
    for (let caller = 0; caller < 10; caller++) {
      asks.push(asking.acquire(caller % 2 === 0 ? owner : other, 'drain'));
      await asking.wait('drain', caller + 1, other);
    }
    const replica = fleet.replicas[owner] as (typeof fleet.replicas)[number];
    const stopped = replica.stop();
    const answers = await Promise.all(asks);
    await stopped;
    await replica.start();
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
    const times = answers.map(({ at }) => at);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
});
