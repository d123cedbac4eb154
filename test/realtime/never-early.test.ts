import { Agent, request } from 'node:http';
import { performance } from 'node:perf_hooks';
import { afterAll, describe, expect, test } from 'vitest';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { type Seen, worstExcess } from './conformance.ts';

/*
 * Real time is the subject: a thousand slots a second on a real listener, client-side stamps, an analyser that shares no
 * code. Nothing here asserts how fast anything is.
 */

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: none }
http: { engine: node }
store: memory
groups:
  even: { limits: [ { name: rate, rate: 1000/1s } ] }
  window: { limits: [ { name: window, window: 100/100ms } ] }
`;
const CALLERS = 200;
const FOR_MS = 2_500;

describe('never early, at 1,000 slots a second', () => {
  const server = new ServerProcess(CONFIGURATION);
  const agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
  const address = server.until('serving').then(({ api }) => String(api));
  afterAll(() => {
    agent.destroy();
    server.clean();
  });

  test('a rate of 1000/1s: no interval has more than its slots', async () => {
    const seen = await load(await address, agent, 'even');
    expect(seen.length).toBeGreaterThan(500);
    expect(worstExcess(seen, 1)).toBeLessThanOrEqual(0);
  });

  test('a window of 100/100ms: no interval of its length has more than its permits', async () => {
    const seen = await load(await address, agent, 'window');
    expect(seen.length).toBeGreaterThan(500);
    const byEnd = [...seen].sort((a, b) => a.latest - b.latest);
    const certain = byEnd.map(({ earliest }) => byEnd.filter((each) => each.earliest >= earliest && each.latest < earliest + 100).length);
    expect(Math.max(...certain)).toBeLessThanOrEqual(100);
  });

  test('the analyser sees a clock that runs 5 % fast, and one slot given early', () => {
    const at = (moment: number): Seen => ({ earliest: moment, latest: moment + 0.4 });
    const fair = Array.from({ length: 400 }, (_, slot) => at(slot));
    expect(worstExcess(fair, 1)).toBeLessThanOrEqual(0);
    expect(
      worstExcess(
        Array.from({ length: 400 }, (_, slot) => at(slot * 0.95)),
        1,
      ),
    ).toBeGreaterThan(0);
    expect(worstExcess([...fair.slice(0, 200), at(199.2), ...fair.slice(200)], 1)).toBeGreaterThan(0);
  });
});

/** Callers who ask again as soon as they are let go, for a while. */
async function load(address: string, agent: Agent, group: string): Promise<Seen[]> {
  const seen: Seen[] = [];
  const end = performance.now() + FOR_MS;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) seen.push(await acquire(address, agent, group));
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return seen;
}

function acquire(address: string, agent: Agent, group: string): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const sent = performance.now();
    const asking = request(`http://${address}/v1/groups/${group}/acquire?ttl=30s`, { method: 'POST', agent }, (answer) => {
      const latest = performance.now();
      let body = '';
      answer.on('data', (chunk) => {
        body += String(chunk);
      });
      answer.on('end', () => {
        const { waited } = JSON.parse(body) as { readonly waited?: string };
        if (answer.statusCode !== 200 || waited === undefined) reject(new Error(body));
        else resolve({ earliest: sent + Number.parseFloat(waited) * 1_000, latest });
      });
    });
    asking.on('error', reject);
    asking.end();
  });
}
