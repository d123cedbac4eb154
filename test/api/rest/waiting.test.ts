import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SECOND } from '../../../src/core/time.ts';
import { Wire } from '../../support/fakes/wire.ts';
import { type RestServer, startRest } from './server.ts';

/** Timers that a test fires by hand. */
class HandTimers {
  readonly each = new Set<() => void>();
  readonly once = new Set<() => void>();
  every = (_micros: number, tick: () => void): (() => void) => {
    this.each.add(tick);
    return () => void this.each.delete(tick);
  };
  after = (_micros: number, then: () => void): (() => void) => {
    this.once.add(then);
    return () => void this.once.delete(then);
  };
  tick(): void {
    for (const tick of [...this.each]) tick();
  }
  fire(): void {
    for (const then of [...this.once]) {
      this.once.delete(then);
      then();
    }
  }
}

const timers = new HandTimers();
let server: RestServer;
beforeAll(async () => {
  server = await startRest({ every: timers.every, after: timers.after });
});
afterAll(() => server.stop());

const post = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(`${server.baseUrl}${path}`, { method: 'POST', headers });
const permitOf = async (response: Response): Promise<string> => ((await response.json()) as { permit: string }).permit;

async function events(path: string): Promise<Wire> {
  const wire = await Wire.open(server.port);
  wire.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nContent-Length: 0\r\n\r\n`);
  return wire;
}

describe('plain HTTP: events', () => {
  it('tell the place at once, then when it changes, and at last the permit', async () => {
    const first = await permitOf(await post('/v1/groups/slots/acquire?key=sse'));
    const [ahead, wire] = [await events('/v1/groups/slots/acquire?key=sse'), await events('/v1/groups/slots/acquire?key=sse&holder=me')];
    const received = await wire.until((text) => text.includes('event: place'));
    expect(received).toMatch(/content-type: text\/event-stream/i);
    expect(received).toContain('data: {"place":2,"limit":"slots"}');
    timers.tick();
    ahead.destroy();
    await expect.poll(() => server.admission.waiting.length).toBe(1);
    timers.tick();
    expect(await wire.until((text) => text.includes('"place":1'))).toSatisfy((text: string) => text.split('event: place').length === 3);
    await post(`/v1/permits/${first}/release`);
    const all = await wire.until((text) => text.endsWith('0\r\n\r\n'));
    expect(all).toMatch(/event: admitted\ndata: \{"permit":"p\d+","fence":"\d+","fenceFloor":"\d+","lease":"30s","waited":"[\d.]+s"\}\n\n/);
    expect(timers.each.size).toBe(0);
    expect(server.admission.everybody.at(-1)?.state).toBe('delivered');
    wire.destroy();
  });

  it('end with the problem when the wait timeout ends', async () => {
    await post('/v1/groups/slots/acquire?key=sse-out');
    const wire = await events('/v1/groups/slots/acquire?key=sse-out&ttl=20ms');
    const all = await wire.until((text) => text.endsWith('0\r\n\r\n'));
    expect(all).toContain('event: refused\ndata: {"type":"https://iana.org');
    expect(all).toContain('"reason":"expired"');
    wire.destroy();
  });

  it('are not begun for a refusal on arrival: that is an answer with its status', async () => {
    const response = await post('/v1/groups/nobody/acquire', { Accept: 'text/event-stream' });
    expect([response.status, response.headers.get('content-type')]).toEqual([404, 'application/problem+json']);
  });

  it('come alone when there is nothing to wait for', async () => {
    const response = await post('/v1/groups/open/acquire', { Accept: 'text/event-stream' });
    expect([response.status, await response.text()]).toEqual([
      200,
      expect.stringMatching(/^event: admitted\ndata: \{"permit":"p\d+","waited":"[\d.]+s"\}\n\n$/),
    ]);
  });

  it('free the place of a caller who leaves', async () => {
    await post('/v1/groups/slots/acquire?key=sse-left');
    const wire = await events('/v1/groups/slots/acquire?key=sse-left');
    await wire.until((text) => text.includes('event: place'));
    wire.destroy();
    await expect.poll(() => server.admission.everybody.at(-1)?.state).toBe('left');
    expect(timers.each.size).toBe(0);
  });
});

describe('plain HTTP: Prefer: wait', () => {
  it('ends the hold with 202 and a Location, where the same ask goes on', async () => {
    const first = await permitOf(await post('/v1/groups/slots/acquire?key=prefer'));
    const held = post('/v1/groups/slots/acquire?key=prefer&ttl=30s&cost=1&holder=Zo%C3%AB', { Prefer: 'respond-async, wait=25' });
    await expect.poll(() => timers.once.size).toBe(1);
    timers.fire();
    const accepted = await held;
    expect([accepted.status, accepted.headers.get('preference-applied'), accepted.headers.get('retry-after')]).toEqual([202, 'wait=25', '0']);
    expect(await accepted.json()).toEqual({ place: 1, limit: 'slots' });
    const left = server.admission.everybody.at(-1);
    expect(left?.state).toBe('left');
    const location = accepted.headers.get('location') ?? '';
    expect(location).toMatch(/^\/v1\/groups\/slots\/acquire\/[\w-]+$/);
    const again = fetch(`${server.baseUrl}${location}`);
    await expect.poll(() => server.admission.waiting.length).toBe(1);
    const resumed = server.admission.waiting[0]?.ask;
    expect(resumed).toEqual({ ...left?.ask, wait: resumed?.wait, resumes: 30 * SECOND });
    expect(resumed?.wait).toBeLessThanOrEqual(30 * SECOND);
    expect(resumed?.wait).toBeGreaterThan(0);
    await post(`/v1/permits/${first}/release`);
    expect((await again).status).toBe(200);
  });

  it('keeps the request id of the caller, and changes nothing for who is admitted at once', async () => {
    const response = await post('/v1/groups/open/acquire?request_id=own', { Prefer: 'wait=5' });
    expect([response.status, response.headers.get('preference-applied')]).toEqual([200, null]);
    expect(server.admission.everybody.at(-1)?.ask.requestId).toBe('own');
    expect(timers.once.size).toBe(0);
  });

  it('asks with no time to wait left where the ttl of the first call is over', async () => {
    await post('/v1/groups/slots/acquire?key=over');
    const held = post('/v1/groups/slots/acquire?key=over&ttl=20s', { Prefer: 'wait=1' });
    await expect.poll(() => timers.once.size).toBe(1);
    timers.fire();
    const location = (await held).headers.get('location') ?? '';
    const [, path, ticket] = /^(.*\/)([\w-]+)$/.exec(location) ?? [];
    const said = JSON.parse(Buffer.from(ticket ?? '', 'base64url').toString()) as { until: number };
    const over = Buffer.from(JSON.stringify({ ...said, until: said.until - 30_000 })).toString('base64url');
    expect((await fetch(`${server.baseUrl}${path}${over}`)).status).toBe(429);
    expect(server.admission.everybody.at(-1)?.ask).toMatchObject({ wait: 0, resumes: 20 * SECOND });
  });

  it('gives up the place by DELETE of the Location', async () => {
    await post('/v1/groups/slots/acquire?key=given-up');
    const held = post('/v1/groups/slots/acquire?key=given-up', { Prefer: 'wait=1' });
    await expect.poll(() => timers.once.size).toBe(1);
    timers.fire();
    const location = (await held).headers.get('location') ?? '';
    const response = await fetch(`${server.baseUrl}${location}`, { method: 'DELETE' });
    expect([response.status, await response.json()]).toEqual([200, { ended: true }]);
  });

  it.each([
    'nonsense',
    Buffer.from('{}').toString('base64url'),
    Buffer.from('{"requestId":1}').toString('base64url'),
    Buffer.from('{"requestId":"a","session":"x"}').toString('base64url'),
  ])('refuses a Location it never gave: %s', async (ticket) => {
    const response = await fetch(`${server.baseUrl}/v1/groups/open/acquire/${ticket}`);
    expect([response.status, ((await response.json()) as { reason: string }).reason]).toEqual([404, 'unknown_request']);
  });
});
