import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSluice } from '../../src/client/client.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/* The client and a whole server on loopback: what both sides have to agree on. */

const FILE =
  'listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: "127.0.0.1:0" }\nhttp: { engine: node }\nstore: memory\ndrain: { delay: 0s, grace: 0s }\ngroups: { slots: { limits: [ { name: one, concurrency: 1 } ] }, plain: { limits: [ { name: rpm, rate: 100/1m, burst: 100 } ], refusal: { status: 503, contentType: text/plain, body: "Busy." } } }\n';

let running: RunningServer;
let address: string;

beforeAll(async () => {
  const loaded = loadConfig({ text: FILE, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
  address = `http://${running.addresses['api']}`;
});
afterAll(() => running.drain(true));

async function waiters(): Promise<{ holder: string }[]> {
  const answer = await fetch(`http://${running.addresses['admin']}/v1/groups/slots/waiters`);
  return ((await answer.json()) as { waiters: { holder: string }[] }).waiters;
}

/** A fetch that counts, and whose connections can be cut. */
function cuttable() {
  let now = new AbortController();
  const sent: string[] = [];
  const send: typeof fetch = (input, init = {}) => {
    sent.push(String(input));
    return fetch(input, { ...init, signal: AbortSignal.any([now.signal, ...(init.signal ? [init.signal] : [])]) });
  };
  const cut = (): void => {
    now.abort(new Error('cut'));
    now = new AbortController();
  };
  return { send, cut, sent };
}

describe('the client against a server', () => {
  test.each([undefined, () => {}])('a cut connection comes back to the same place, before those who came later (%o)', async (onPlace) => {
    const { send, cut, sent } = cuttable();
    const sluice = createSluice({ address });
    const held = await sluice.acquire('slots');
    const order: string[] = [];
    const first = createSluice({ address, fetch: send, holder: 'first' }).acquire('slots', { ttl: '60s', onPlace });
    await expect.poll(async () => (await waiters()).length).toBe(1);
    const second = sluice.acquire('slots', { holder: 'second', ttl: '60s' });
    await expect.poll(async () => (await waiters()).map(({ holder }) => holder)).toEqual(['first', 'second']);
    cut();
    await expect.poll(() => sent.length).toBe(2);
    cut();
    await expect.poll(() => sent.length).toBe(3);
    const both = [first, second].map(async (asked, index) => {
      const permit = await asked;
      order.push(['first', 'second'][index] ?? '');
      await permit.release();
    });
    // Back in line before the slot is free; while it was away, others would have passed it.
    await expect.poll(async () => (await waiters()).map(({ holder }) => holder)).toEqual(['first', 'second']);
    await held.release();
    await Promise.all(both);
    expect(order).toEqual(['first', 'second']);
  });

  test('a lease is kept over more than one of its lives, and lost when it is revoked', async () => {
    const { send, sent } = cuttable();
    const permit = await createSluice({ address, fetch: send }).acquire('slots', { lease: '2s' });
    const lost = permit.keepAlive();
    await expect.poll(() => sent.length).toBeGreaterThan(7);
    expect(lost.aborted).toBe(false);
    await permit.renew();
    await fetch(`http://${running.addresses['admin']}/v1/groups/slots/leases/${permit.id}`, { method: 'DELETE' });
    await expect.poll(() => lost.aborted).toBe(true);
    await expect(permit.renew()).rejects.toMatchObject({ reason: 'fenced' });
  });

  test('a group that answers in its own words is still understood', async () => {
    const options = { ttl: '0', costs: { requests: 100 } };
    const sluice = createSluice({ address });
    await sluice.acquire('plain', options);
    await expect(sluice.acquire('plain', options)).rejects.toMatchObject({
      reason: expect.stringMatching(/^(expired|infeasible)$/) as string,
      status: 503,
      limit: 'rpm',
    });
    await expect(sluice.acquire('plain', { ...options, onPlace: () => {} })).rejects.toMatchObject({ status: 503, limit: 'rpm' });
  });

  test('the same request id gets the same permit', async () => {
    const sluice = createSluice({ address });
    const [one, two] = await Promise.all([1, 2].map(() => sluice.acquire('slots', { requestId: 'same' })));
    expect(one?.id).toBe(two?.id);
    expect(await one?.release()).toBe(true);
  });
});
