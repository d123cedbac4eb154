import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSluice, type Place, SluiceRefused, SluiceUnreachable } from '../../src/client/client.ts';
import { cut, FakeServer, json, PERMIT, problem, type Seen, silence } from './fake-server.ts';

let server: FakeServer;
beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(() => server.stop());

const sluice = () => createSluice({ address: server.address, token: 'secret', holder: 'me' });

function events(text: string, end = true) {
  return ({ response }: Seen) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(text);
    if (end) response.end();
  };
}

test.each(['127.0.0.1:8080', '', undefined, 'ftp://a'])('an address that is no URL of http is refused at once, by name: %j', (address) => {
  expect(() => createSluice({ address: address as string })).toThrow(/^`address` is .*http:\/\/127\.0\.0\.1:8080/);
});

describe('acquire', () => {
  test('sends what was asked, and answers the permit', async () => {
    server.answer(json(200, { ...PERMIT, waited: '1.84s', shadow: { limit: 'rpm' } }));
    const permit = await sluice().acquire('g', { ttl: '30s', key: 'a', priority: 3, costs: { tokens: 4 }, lease: '30s', requestId: 'r' });
    const { method, path, body, request } = server.seen[0]!;
    expect({ method, path, body }).toEqual({
      method: 'POST',
      path: '/v1/groups/g/acquire',
      body: { ttl: '30s', key: 'a', priority: 3, costs: { tokens: 4 }, lease: '30s', requestId: 'r', holder: 'me' },
    });
    expect(request.headers).toMatchObject({ authorization: 'Bearer secret', prefer: 'wait=25', accept: 'application/json' });
    expect(permit).toMatchObject({ id: 'p1', fence: 1_099_511_627_777n, fenceFloor: 1_099_511_627_776n, leaseMs: 30_000, waitedMs: 1840, shadowLimit: 'rpm' });
    expect(permit.leftMs).toBeLessThanOrEqual(30_000);
  });

  test('names a class in words, and makes a request id of its own each time', async () => {
    server.answer(json(200, { permit: 'a', waited: '0s' }), json(200, { permit: 'b', waited: '0s' }), json(200, { permit: 'c', waited: '0s' }));
    const permit = await sluice().acquire('g', { priority: 'production' });
    await sluice().acquire('g');
    await sluice().acquire('g', { class: 'staging' });
    expect(server.seen[2]?.body).toMatchObject({ priorityClass: 'staging' });
    await expect(sluice().acquire('g', { class: 'staging', priority: 3 })).rejects.toThrow(RangeError);
    expect(server.seen[0]?.body).toMatchObject({ priorityClass: 'production' });
    expect(server.seen[0]?.body['requestId']).not.toBe(server.seen[1]?.body['requestId']);
    expect(permit).toMatchObject({ fence: undefined, leaseMs: undefined, leftMs: Number.POSITIVE_INFINITY });
  });

  test('comes back to the same place when a hold ends or a connection is cut, with what is left of its wait timeout', async () => {
    server.answer(json(202, { place: 3, limit: 'x' }), cut, problemFromBetween(503), json(200, PERMIT));
    await sluice().acquire('g', { ttl: '30s', key: 'k' });
    const [first, ...rest] = server.seen.map(({ body }) => body);
    expect(rest).toHaveLength(3);
    for (const body of rest) {
      expect({ ...body, ttl: '30s' }).toEqual(first);
      expect(Number.parseInt(String(body['ttl']), 10)).toBeGreaterThan(20_000);
      expect(Number.parseInt(String(body['ttl']), 10)).toBeLessThan(30_001);
    }
  });

  test('tells the place as it moves', async () => {
    const places: Place[] = [];
    server.answer(
      events(
        'event: place\ndata: {"place":2,"expectedIn":"9.5s","limit":"pace"}\n\n: still here\n\nevent: place\r\ndata: {"place":1,"limit":""}\r\n\r\nevent: admitted\ndata: {"permit":"p","waited":"9.5s"}\n\n',
        false,
      ),
    );
    expect(await sluice().acquire('g', { onPlace: (place) => places.push(place) })).toMatchObject({ id: 'p', waitedMs: 9500 });
    expect(places).toEqual([
      { place: 2, expectedMs: 9500, limit: 'pace' },
      { place: 1, expectedMs: undefined, limit: '' },
    ]);
    expect(server.seen[0]?.request.headers.accept).toBe('text/event-stream, application/json');
  });

  test('an event stream that is cut is taken up again', async () => {
    server.answer(events('event: place\ndata: {"place":2,"limit":""}\n\n'), events('event: admitted\ndata: {"permit":"p","waited":"1s"}\n\n'));
    expect(await sluice().acquire('g', { onPlace: () => {} })).toMatchObject({ id: 'p' });
    expect(server.seen[1]?.body).toEqual(server.seen[0]?.body);
  });

  test('a refusal says why, by which limit, and when to ask again', async () => {
    server.answer(
      problem(429, { reason: 'infeasible', limit: 'rpm', retryAfter: '12.5s', detail: 'Later.' }),
      events('event: refused\ndata: {"reason":"expired","status":429,"detail":"Too late."}\n\n'),
    );
    const refused = await sluice()
      .acquire('g')
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(SluiceRefused);
    expect(refused).toMatchObject({ reason: 'infeasible', status: 429, limit: 'rpm', retryAfterMs: 12_500, message: 'Later.', isPassing: true });
    await expect(sluice().acquire('g', { onPlace: () => {} })).rejects.toMatchObject({ reason: 'expired', status: 429, retryAfterMs: undefined });
    expect(server.seen).toHaveLength(2);
  });

  test('an answer that is not from Sluice is no refusal of the group', async () => {
    server.answer(({ response }) => response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not found</h1>'));
    await expect(sluice().acquire('g')).rejects.toMatchObject({ reason: 'http', status: 404, isPassing: false });
  });

  test('asks again only when told to, and no earlier than said', async () => {
    server.answer(problem(429, { reason: 'shed', retryAfter: '200ms' }), json(200, PERMIT));
    const began = performance.now();
    expect(await sluice().acquire('g', { retry: { for: '10s' } })).toMatchObject({ id: 'p1' });
    expect(performance.now() - began).toBeGreaterThanOrEqual(199);
    server.answer(problem(429, { reason: 'shed', retryAfter: '20s' }), problem(404, { reason: 'unknown_group' }));
    await expect(sluice().acquire('g', { retry: { for: '10s' } })).rejects.toMatchObject({ reason: 'shed' });
    await expect(sluice().acquire('g', { retry: { for: '10s' } })).rejects.toMatchObject({ reason: 'unknown_group' });
    expect(server.seen).toHaveLength(4);
  });

  test('gives its place up at once when its signal is aborted', async () => {
    server.answer(silence, json(200, { ended: true }));
    const leave = new AbortController();
    const asked = sluice().acquire('g h', { requestId: 'r/1', signal: leave.signal });
    await server.saw(1);
    leave.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
    expect(server.seen[1]).toMatchObject({ method: 'DELETE', path: '/v1/groups/g%20h/requests/r%2F1' });
    expect(server.seen[0]?.request.socket.destroyed || server.seen[0]?.response.destroyed).toBe(true);
  });

  test('and when whoever is told its place throws', async () => {
    server.answer(events('event: place\ndata: {"place":2,"limit":""}\n\n', false), json(200, { ended: true }));
    const onPlace = () => {
      throw new Error('mine');
    };
    await expect(sluice().acquire('g', { onPlace })).rejects.toThrow('mine');
    expect(server.seen[1]?.method).toBe('DELETE');
  });

  test('says so when nobody is there', async () => {
    const { address } = server;
    await server.stop();
    const failed = await createSluice({ address })
      .acquire('g')
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(SluiceUnreachable);
    expect((failed as Error).cause).toBeInstanceOf(Error);
    server = await FakeServer.start();
  });

  test.each([{ ttl: '30' }, { ttl: 'soon' }, { retry: { for: '-1s' } }])('refuses %j before anything is sent', async (options) => {
    await expect(sluice().acquire('g', options)).rejects.toThrow(RangeError);
    expect(server.seen).toHaveLength(0);
  });
});

describe('a permit', () => {
  test('is renewed and released once', async () => {
    server.answer(json(200, PERMIT), json(200, { permit: 'p1', lease: '60s' }), json(200, { ended: true }));
    const permit = await sluice().acquire('g');
    await permit.renew('60s');
    expect(permit.leftMs).toBeGreaterThan(30_000);
    expect(await permit.release({ outcome: 'dropped', costs: { tokens: 3 }, retryAfter: '5s' })).toBe(true);
    expect(await permit.release()).toBe(true);
    expect(server.seen.slice(1).map(({ method, path, body }) => [method, path, body])).toEqual([
      ['POST', '/v1/permits/p1/renew', { lease: '60s' }],
      ['POST', '/v1/permits/p1/release', { outcome: 'dropped', costs: { tokens: 3 }, retryAfter: '5s' }],
    ]);
  });

  test('is released although the first answer was cut off', async () => {
    server.answer(json(200, PERMIT), cut, json(200, { ended: false }));
    expect(await (await sluice().acquire('g')).release()).toBe(false);
  });

  test('renewing one that is over is refused', async () => {
    server.answer(json(200, PERMIT), problem(409, { reason: 'fenced' }));
    const permit = await sluice().acquire('g');
    await expect(permit.renew()).rejects.toMatchObject({ reason: 'fenced', status: 409 });
  });
});

describe('withPermit', () => {
  test('answers what the work answered, and releases', async () => {
    server.answer(json(200, PERMIT), json(200, { ended: true }));
    expect(await sluice().withPermit('g', {}, (permit, lost) => `${permit.id} ${lost.aborted}`)).toBe('p1 false');
    expect(server.seen[1]?.path).toBe('/v1/permits/p1/release');
  });

  test('releases when the work throws', async () => {
    server.answer(json(200, PERMIT), json(200, { ended: true }));
    const work = () => {
      throw new Error('broken');
    };
    await expect(sluice().withPermit('g', {}, work)).rejects.toThrow('broken');
    expect(server.seen[1]?.path).toBe('/v1/permits/p1/release');
  });
});

function problemFromBetween(status: number) {
  return ({ response }: Seen) => response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>');
}
