import { afterEach, describe, expect, test } from 'vitest';
import { StoreUnavailable } from '../../src/deferred/store.ts';
import { LmdbDeferredStore } from '../../src/deferred/stores/lmdb.ts';
import { DiskUnavailable, LmdbFile } from '../../src/storage/lmdb.ts';
import { opened, row, submit } from '../conformance/deferred-requests.ts';
import { settled } from '../support/fakes/clock.ts';
import { folder } from '../support/fakes/folder.ts';
import { DeferredProxyRig } from './proxy-rig.ts';

/* Scenarios of reQue (RQ) that are about what crosses the wire, over real HTTP. */

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function started(route: string, limits = '{ name: open, window: 100/1s }'): Promise<DeferredProxyRig> {
  const rig = await DeferredProxyRig.start(
    `backends: { shop: { urls: [ BACKEND ] } }\ngroups: { erp: { limits: [ ${limits} ] } }\nroutes: [ { backend: shop, group: erp, mode: deferred, ${route} } ]\n`,
  );
  ends.push(() => rig.stop());
  return rig;
}

const stored = (rig: DeferredProxyRig): number => rig.disk.rows.size + rig.disk.ended.size;
const idOf = (body: string): string => (JSON.parse(body) as { id: string }).id;

describe('reQue, over HTTP', () => {
  test.each([
    ['202 with Location and id', '', 202],
    ['200 in its own shape', 'answer: { status: 200, shape: empty }, ', 200],
  ])('RQ-1: a webhook is answered %s only once it is committed, and delivered later', async (_what, answer, status) => {
    const rig = await started(`${answer}match: { path: '/plugins/*' }`);
    const { commit } = rig.store;
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    rig.store.commit = async (batch) => {
      await held;
      await commit.call(rig.store, batch);
    };
    let answered = false;
    const asked = rig.ask({ method: 'POST', path: '/plugins/shopify/', headers: { 'Content-Type': 'application/json' }, body: '{"order":7}' });
    void asked.then(() => {
      answered = true;
    });
    for (let turn = 0; turn < 50; turn++) await settled();
    expect([answered, stored(rig), rig.backend.seen.length]).toEqual([false, 0, 0]);
    release();
    const { status: got, headers, body } = await asked;
    expect(got).toBe(status);
    if (status === 202) expect([headers.location, headers['sluice-request-id']]).toEqual([`/.sluice/requests/${idOf(body)}`, idOf(body)]);
    const [seen] = await rig.seen(1);
    expect([seen?.method, seen?.target, seen?.body.toString()]).toEqual(['POST', '/plugins/shopify/', '{"order":7}']);
  });

  test('RQ-6: the backend sees the same method, path, query, end-to-end fields and 1 MiB of bytes', async () => {
    const rig = await started("match: { path: '/*' }");
    const many = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`X-Field-${index}`, `value ${index}`]));
    const body = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => (index * 131 + (index >> 8)) % 256));
    const headers = {
      ...many,
      'Content-Type': 'application/octet-stream',
      'X-Repeated': ['one', 'two', 'one'],
      'X-Empty': '',
      Connection: 'keep-alive, X-Hop',
      'X-Hop': 'gone',
      'Keep-Alive': 'timeout=5',
      Host: 'shop.example',
    };
    const answer = await rig.ask({ method: 'PUT', path: '/x?a=1&a=2', headers, body });
    expect(answer.status).toBe(202);
    const [seen] = await rig.seen(1);
    expect([seen?.method, seen?.target, seen?.body.equals(body)]).toEqual(['PUT', '/x?a=1&a=2', true]);
    const fields = seen?.headers ?? [];
    for (const [name, value] of Object.entries(many)) expect(fields).toContainEqual([name, value]);
    expect(fields.filter(([name]) => name === 'X-Repeated').map(([, value]) => value)).toEqual(['one', 'two', 'one']);
    expect(fields).toContainEqual(['X-Empty', '']);
    expect(fields).toContainEqual(['Content-Type', 'application/octet-stream']);
    expect(fields.filter(([name]) => /^(x-hop|keep-alive|te|transfer-encoding)$/i.test(name))).toEqual([]);
  });

  test('RQ-7: bodies of 6,255, 6,256 and 8,193 bytes are stored whole; one byte above the maximum is 413, never a success', async () => {
    const rig = await started('body: { max: 10000B }, answer: { status: 200, shape: empty }');
    for (const size of [6_255, 6_256, 8_193, 10_000]) expect((await rig.ask({ method: 'POST', body: Buffer.alloc(size, 'x') })).status).toBe(200);
    expect((await rig.seen(4)).map(({ body }) => body.byteLength)).toEqual([6_255, 6_256, 8_193, 10_000]);
    expect((await rig.ask({ method: 'POST', body: Buffer.alloc(10_001) })).status).toBe(413);
    expect(stored(rig)).toBe(4);
  });

  test.each(['full', 'failed'] as const)('RQ-8: while the store is %s every method is answered 503 with Retry-After, and nothing is stored', async (reason) => {
    const rig = await started('answer: { status: 200, shape: empty }');
    const { commit } = rig.store;
    rig.store.commit = () => Promise.reject(new StoreUnavailable(reason, 'no'));
    for (const method of ['GET', 'POST', 'PUT']) {
      const answer = await rig.ask({ method, path: '/x', ...(method === 'GET' ? {} : { body: 'x' }) });
      expect([answer.status, answer.headers['sluice-reason']]).toEqual([503, 'unstored']);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    }
    expect([stored(rig), rig.backend.seen.length]).toEqual([0, 0]);
    rig.store.commit = commit;
    expect((await rig.ask({ path: '/x' })).status).toBe(200);
  });

  test('RQ-8: a disk that does not answer is given up after its deadline, and a commit that comes late is taken back', async () => {
    const { path, end } = await folder();
    ends.push(end);
    const file = new SlowFile(path, 100, 'binary');
    ends.push(() => file.close());
    const store = new LmdbDeferredStore(file, { bytesMax: 2 ** 40 });
    await opened(store);
    file.slow = true;
    await expect(store.commit([submit(row(1))])).rejects.toMatchObject({ name: 'StoreUnavailable' });
    file.slow = false;
    await file.late;
    await store.commit([submit(row(2))]);
    expect(await store.load(1)).toBeUndefined();
    expect(await store.load(2)).toBeDefined();
  });

  test('RQ-17: a path that no route matches is 404 with any method, and never a silent success', async () => {
    const rig = await started("match: { path: '/known/*' }, answer: { status: 200, shape: empty }");
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD']) {
      expect((await rig.ask({ method, path: '/unknown' })).status).toBe(404);
      expect((await rig.ask({ method, path: '/knownelse/1' })).status).toBe(404);
    }
    expect([stored(rig), rig.backend.seen.length]).toEqual([0, 0]);
    expect((await rig.ask({ method: 'PATCH', path: '/known/1' })).status).toBe(200);
    expect((await rig.seen(1)).map(({ method, target }) => [method, target])).toEqual([['PATCH', '/known/1']]);
  });
});

/** A disk that answers only after the deadline of its commits, though it has committed. */
class SlowFile extends LmdbFile {
  slow = false;
  late: Promise<unknown> = Promise.resolve();

  override async change(...args: Parameters<LmdbFile['change']>): Promise<boolean> {
    if (!this.slow) return super.change(...args);
    this.late = super.change(...args);
    throw new DiskUnavailable('The disk did not answer within 100 ms.');
  }
}
