import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSluice, type Sluice, SluiceRefused, SluiceUnreachable } from '../../src/client/client.ts';
import { type DeferredServer, startDeferred } from '../api/deferred/server.ts';
import { cut, FakeServer, json } from './fake-server.ts';

/* The `requests` part of the client. */

describe('before a server', () => {
  let server: DeferredServer;
  let sluice: Sluice;
  beforeEach(async () => {
    server = await startDeferred();
    sluice = createSluice({ address: server.api });
  });
  afterEach(() => server.stop());

  test('submits, waits in slices, and reads the response', async () => {
    const { id, existing } = await sluice.requests.submit({ path: '/erp/1', headers: { 'X-A': ['1', '2'] }, body: Buffer.alloc(20_000, 7), retries: ['1s'] });
    expect(existing).toBe(false);
    expect(server.requests.all[0]?.submission).toMatchObject({
      headers: ['X-A', '1', 'X-A', '2', 'Idempotency-Key', expect.stringMatching(/^"[0-9a-f-]{36}"$/)],
      retries: { delaysMs: [1_000] },
    });
    expect(server.requests.all[0]?.bytes.equals(Buffer.alloc(20_000, 7))).toBe(true);
    expect((await sluice.requests.get(id)).state).toBe('pending');
    await expect(sluice.requests.response(id)).rejects.toMatchObject({ reason: 'conflict', status: 409 });
    const waits = sluice.requests.wait(id, { timeout: '1m' });
    await expect.poll(() => server.requests.waiting).toBe(1);
    server.requests.change(id, {
      state: 'done',
      response: { status: 503, headers: ['Content-Type', 'text/plain'], body: Buffer.from('late'), truncated: true },
    });
    expect(await waits).toMatchObject({ state: 'done', response: { status: 503, bytes: 4, truncated: true } });
    const { status, headers, body, truncated } = await sluice.requests.response(id);
    expect([status, headers.get('content-type'), Buffer.from(body).toString(), truncated]).toEqual([503, 'text/plain', 'late', true]);
  });

  test('submits many, each with its own answer', async () => {
    const [good, bad, last] = await sluice.requests.submitMany([{ path: '/erp/1' }, { path: 'no' }, { path: '/erp/2', dedupeId: 'd' }]);
    expect([good, bad, last]).toMatchObject([{ existing: false }, { reason: 'malformed', status: 400 }, { existing: false }]);
    expect(bad).toBeInstanceOf(SluiceRefused);
    expect(server.requests.all.map(({ submission }) => submission.idempotencyKey === '')).toEqual([false, true]);
    expect(await sluice.requests.submitMany([])).toEqual([]);
  });

  test('a wait ends with its timeout, or its signal', async () => {
    const { id } = await sluice.requests.submit({ path: '/erp/1' });
    expect((await sluice.requests.wait(id, { timeout: '0' })).state).toBe('pending');
    const left = new AbortController();
    const waits = sluice.requests.wait(id, { signal: left.signal });
    await expect.poll(() => server.requests.waiting).toBe(1);
    left.abort(new Error('enough'));
    await expect(waits).rejects.toThrow('enough');
  });

  test('lists and redrives on the admin address', async () => {
    const operator = createSluice({ address: server.admin }).requests;
    for (let n = 0; n < 3; n++) server.requests.change((await sluice.requests.submit({ path: '/erp/1' })).id, { state: 'dead', error: 'timeout' });
    await expect(sluice.requests.list({ state: 'dead' })).rejects.toMatchObject({ reason: 'forbidden' });
    const page = await operator.list({ state: 'dead', error: 'timeout', size: 2, since: new Date(1_800_000_000_000) });
    expect([page.requests.length, (await operator.list({ state: 'dead', size: 2, token: page.next })).requests.length]).toEqual([2, 1]);
    await operator.redrive(page.requests[0]?.id ?? '');
    expect(await operator.redriveAll({ since: '100d', max: 10 })).toEqual({ redriven: 2, next: '' });
    expect(await sluice.requests.cancel(page.requests[0]?.id ?? '')).toEqual({ cancelled: true, aborted: false });
  });
});

describe('over a bad line', () => {
  let fake: FakeServer;
  beforeEach(async () => {
    fake = await FakeServer.start();
  });
  afterEach(() => fake.stop());

  test('a submission that was cut goes again under the same key, and gives up after three', async () => {
    const { requests } = createSluice({ address: fake.address });
    fake.answer(cut, json(202, { id: 'a', existing: true }));
    expect(await requests.submit({ path: '/a' })).toEqual({ id: 'a', existing: true });
    expect(fake.seen.map(({ body }) => body['idempotencyKey'])).toEqual([expect.any(String), fake.seen[0]?.body['idempotencyKey']]);
    fake.answer(cut, cut, cut);
    await expect(requests.submit({ path: '/a', idempotencyKey: 'k' })).rejects.toBeInstanceOf(SluiceUnreachable);
    expect(fake.seen.length).toBe(5);
  });

  test('a redrive that was cut is not sent twice', async () => {
    fake.answer(cut);
    await expect(createSluice({ address: fake.address }).requests.redrive('a')).rejects.toBeInstanceOf(SluiceUnreachable);
    expect(fake.seen.length).toBe(1);
  });
});
