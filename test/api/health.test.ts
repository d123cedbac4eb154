import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Health } from '../../src/api/health.ts';
import { engineProblem } from '../../src/api/problem.ts';
import type { Engine } from '../../src/http/engine.ts';
import { selectEngine } from '../../src/http/select-engine.ts';

let why: string | undefined;
let broken = false;
let remarks: readonly string[] = [];
const faults: unknown[] = [];
const health = new Health({
  notReady: () => why,
  remarks: () => remarks,
  metrics: async () => {
    if (broken) throw new Error('broken');
    return { contentType: 'text/plain; version=0.0.4', body: 'sluice_leases 1\n' };
  },
  onError: (error) => void faults.push(error),
});
let engine: Engine;
let baseUrl = '';

beforeAll(async () => {
  const { make } = await selectEngine('node', { clientCa: false });
  engine = make({ bodyBytesMax: 1_000, receiveMsMax: 5_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem: engineProblem }, (request, reply) =>
    health.handle(request, reply),
  );
  const { host, port } = await engine.listen('127.0.0.1', 0);
  baseUrl = `http://${host}:${port}`;
});
afterAll(() => engine.close(0));

async function get(path: string, method = 'GET'): Promise<readonly [number, string]> {
  const response = await fetch(`${baseUrl}${path}`, { method });
  return [response.status, await response.text()];
}

describe('health', () => {
  it('is alive whenever it answers, ready until it says why not', async () => {
    expect(await get('/livez')).toEqual([200, 'ok\n']);
    expect(await get('/readyz')).toEqual([200, 'ok\n']);
    why = 'draining';
    expect(await get('/readyz')).toEqual([503, 'draining\n']);
    expect(await get('/healthz')).toEqual([503, 'draining\n']);
    expect(await get('/livez')).toEqual([200, 'ok\n']);
    why = undefined;
  });

  it('says what else is to be known, ready or not, and is ready all the same', async () => {
    remarks = ['cluster: unreachable', 'second'];
    expect(await get('/readyz')).toEqual([200, 'ok\ncluster: unreachable\nsecond\n']);
    why = 'draining';
    expect(await get('/readyz')).toEqual([503, 'draining\ncluster: unreachable\nsecond\n']);
    why = undefined;
    expect(await get('/livez')).toEqual([200, 'ok\n']);
    remarks = [];
  });

  it('hands out the metrics, and says when they cannot be gathered', async () => {
    expect(await get('/metrics')).toEqual([200, 'sluice_leases 1\n']);
    broken = true;
    expect((await get('/metrics'))[0]).toBe(500);
    expect(faults).toHaveLength(1);
  });

  it('only looks', async () => {
    expect((await get('/readyz', 'POST'))[0]).toBe(405);
    expect(await get('/readyz', 'HEAD')).toEqual([200, '']);
    expect([health.takes('/metrics'), health.takes('/v1/groups')]).toEqual([true, false]);
  });
});
