import type { Readable } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { canStream } from '../../src/proxy/request-admission.ts';
import type { Route, RouteAdmission } from '../../src/proxy/route.ts';
import { concurrency, rate } from '../core/specs.ts';
import { type ForwardCaller, type ForwardRig, type ForwardRigOptions, forwardRigged, groupOf, quiet, routeOf } from './forward-rig.ts';

/* With `charge: body` a body is held whole, unless its request would pass this moment and its sender holds nothing by it. */

const MEMORY = 1_000;
const LENGTH = 3_000;
const SLOT = groupOf([concurrency(1)]);
const ONE_A_MINUTE = groupOf([rate(1, MINUTE)]);

let all: ForwardRig;
const open = async (options: ForwardRigOptions): Promise<ForwardRig> => {
  all = await forwardRigged(options);
  return all;
};

const large = (admission: Partial<RouteAdmission> = {}, more: Partial<Route> = {}): Route =>
  routeOf(admission, { hold: { bodyBytesMax: 10_000, memoryBytesMax: MEMORY, groupBytesMax: 1 << 20, receiveMax: MINUTE, bytesPerSecondMin: 10 }, ...more });

/** A request with a body of `LENGTH` bytes, of which these are there. */
async function begun(
  bytes: number,
  route = large(),
  more: { method?: string; wait?: number; headers?: readonly string[]; length?: number } = {},
): Promise<ForwardCaller> {
  const caller = all.send({ method: 'POST', body: 'open', length: LENGTH, ...more }, route);
  caller.sender.write('a'.repeat(bytes));
  await quiet();
  return caller;
}

async function finish(caller: ForwardCaller, had: number): Promise<void> {
  caller.sender.end('b'.repeat(LENGTH - had));
  await quiet();
}

const bodyFrom = (had: number): string => 'a'.repeat(had) + 'b'.repeat(LENGTH - had);

afterEach(async () => {
  expect(all.faults).toEqual([]);
  await quiet();
  expect(all.forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
});

describe('where only rates are spent', () => {
  test('what passes at once reaches the backend before its sender has sent the last byte, and is not held', async () => {
    const { played } = await open({ settings: [ONE_A_MINUTE] });
    const caller = await begun(500);
    expect(played.attempts).toHaveLength(1);
    const arrived = played.last.body();
    await quiet();
    expect(all.forwarding.held.memory).toBe(0);
    await finish(caller, 500);
    expect(await arrived).toBe(bodyFrom(500));
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('what does not pass at once is held whole, and asked for then', async () => {
    const { played } = await open({ settings: [groupOf([rate(1, 4 * SECOND)])] });
    await all.sent();
    played.last.answer(200);
    const caller = await begun(500);
    expect([played.attempts.length, all.forwarding.held.memory]).toEqual([1, 500]);
    await all.pass(4);
    caller.sender.write('a'.repeat(100));
    await quiet();
    expect(played.attempts).toHaveLength(1);
    await finish(caller, 600);
    expect([played.attempts.length, await played.last.body()]).toEqual([2, bodyFrom(600)]);
    played.last.answer(200);
  });

  test('less than half of what memory holds, a small body, one without a length, and one whose JSON is read are held whole', async () => {
    const { played } = await open({ settings: [groupOf([])] });
    const costs = [{ unit: 'tokens', ask: { from: 'json', path: ['n'] }, fallback: 1, settle: undefined }] as const;
    const callers = [
      await begun(499),
      await begun(900, large(), { length: MEMORY }),
      await all.sent({ method: 'POST', body: 'open' }, large()),
      await begun(2_000, large({ costs })),
    ];
    callers[2]?.sender.write('a'.repeat(2_000));
    await quiet();
    expect(played.attempts).toHaveLength(0);
    for (const caller of callers) caller.delivery.leave();
  });

  test('over the maximum is refused before anything is charged', async () => {
    const { played } = await open({ settings: [ONE_A_MINUTE] });
    const announced = await begun(0, large(), { length: 10_001 });
    const grown = await all.sent({ method: 'POST', body: 'open' }, large());
    grown.sender.write('a'.repeat(10_001));
    await quiet();
    expect([announced.refused, grown.refused, played.attempts.length]).toEqual(['too_large', 'too_large', 0]);
    await all.sent({ wait: 0 });
    expect(played.attempts).toHaveLength(1);
    played.last.answer(200);
  });

  test('a sender that leaves in the middle ends its attempt; what it cost is spent', async () => {
    const { played } = await open({ settings: [ONE_A_MINUTE] });
    const caller = await begun(500);
    const { last } = played;
    const arrived = last.body().catch((cause: Error & { code?: string }) => {
      last.fail('sender');
      return cause.code;
    });
    caller.sender.destroy();
    expect(await arrived).toBe('ERR_SLUICE_SENDER');
    expect((await all.sent({ wait: 0 })).refused).toBeDefined();
    expect(played.attempts).toHaveLength(1);
  });

  test('a sender that falls below its speed is told 408, and its attempt ends', async () => {
    const { played } = await open({ settings: [ONE_A_MINUTE] });
    const caller = await begun(500);
    const { last } = played;
    last.body().catch(() => last.fail('sender'));
    await all.pass(10);
    await quiet();
    expect([caller.refused, caller.told]).toEqual(['slow', 1]);
  });

  test('a pushback to a body that was not held is the answer', async () => {
    const { played } = await open({ settings: [groupOf([])] });
    const caller = await begun(500, large(), { method: 'PUT' });
    const arrived = played.last.body();
    await finish(caller, 500);
    await arrived;
    played.last.answer(429, ['Retry-After', '1']);
    expect([caller.head?.status, played.attempts.length]).toEqual([429, 1]);
  });

  test('a backend without a connection is left for another: nothing of the body was read', async () => {
    const { played } = await open({ settings: [ONE_A_MINUTE] });
    const caller = await begun(500);
    played.last.request.body?.open();
    played.last.fail('connect', false);
    await quiet();
    const arrived = played.last.body();
    await finish(caller, 500);
    expect([played.attempts.length, await arrived]).toEqual([2, bodyFrom(500)]);
    played.last.answer(200);
  });
});

describe('without a group', () => {
  const straight = routeOf({}, { admission: undefined });

  test('a small body that comes with its head is sent on in one piece, and can be sent again', async () => {
    const { played } = await open({});
    const caller = all.send({ method: 'PUT', body: 'small' }, straight);
    await quiet();
    expect(played.last.request.body?.replayable).toBe(true);
    expect(await played.last.body()).toBe('small');
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('one that is late is not waited for', async () => {
    const { played } = await open({});
    const caller = all.send({ method: 'PUT', body: 'open', length: 5 }, straight);
    await quiet();
    const arrived = played.last.body();
    caller.sender.end('small');
    expect(await arrived).toBe('small');
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test('who leaves before it is sent on is sent nowhere', async () => {
    const { played } = await open({});
    const caller = all.send({ method: 'PUT', body: 'open', length: 5 }, straight);
    caller.delivery.leave();
    await quiet();
    expect(played.attempts).toHaveLength(0);
  });
});

describe('where a slot is held', () => {
  test('a prompt sender holds it while it sends', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await begun(500);
    expect([played.attempts.length, all.leases]).toEqual([1, 1]);
    const arrived = played.last.body();
    await finish(caller, 500);
    expect(await arrived).toBe(bodyFrom(500));
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });

  test.each([
    ['a limit of concurrency', [SLOT], undefined],
    ['the backend', [groupOf([])], 1],
  ])('of %s, a slow sender holds none', async (_whose, settings, slots) => {
    const { played } = await open({ settings, backend: { concurrency: slots, urls: ['http://a'] } });
    const slow = await begun(499);
    await all.pass(4);
    slow.sender.write('a'.repeat(1_001));
    await quiet();
    const quick = await all.sent();
    expect([played.attempts.length, all.forwarding.held.memory]).toEqual([1, 1_500]);
    played.last.answer(200);
    await finish(slow, 1_500);
    expect(await played.last.body()).toBe(bodyFrom(1_500));
    played.last.answer(200);
    expect([quick.told, slow.told]).toEqual([1, 1]);
  });

  test('it is held whole while another has the slot', async () => {
    const { played } = await open({ settings: [SLOT] });
    await all.sent();
    const caller = await begun(500);
    const first = played.last;
    first.answer(200);
    await quiet();
    expect([played.attempts.length, all.leases]).toEqual([1, 0]);
    await finish(caller, 500);
    expect(await played.last.body()).toBe(bodyFrom(500));
    played.last.answer(200);
  });

  test('two at the same moment: one streams, the other is held whole, and neither is refused', async () => {
    const { played } = await open({ settings: [SLOT] });
    const [one, other] = [0, 1].map(() => all.send({ method: 'POST', body: 'open', length: LENGTH }, large())) as [ForwardCaller, ForwardCaller];
    for (const { sender } of [one, other]) sender.write('a'.repeat(500));
    await quiet();
    expect(played.attempts).toHaveLength(1);
    const arrived = played.last.body();
    for (const caller of [one, other]) await finish(caller, 500);
    expect(await arrived).toBe(bodyFrom(500));
    played.last.answer(200);
    await quiet();
    expect(await played.last.body()).toBe(bodyFrom(500));
    played.last.answer(200);
    expect([one.head?.status, other.head?.status]).toEqual([200, 200]);
  });

  test('one that stalls is cut ten seconds later at the most, and the slot is free', async () => {
    const { played } = await open({ settings: [SLOT] });
    const caller = await begun(500);
    const { last } = played;
    last.body().catch(() => last.fail('sender'));
    for (let second = 0; second < 9; second++) {
      caller.sender.write('a'.repeat(20));
      await all.pass(1);
    }
    expect([caller.told, all.leases]).toEqual([0, 1]);
    caller.sender.write('a'.repeat(20));
    await all.pass(1);
    await quiet();
    expect([caller.refused, all.leases]).toEqual(['slow', 0]);
  });

  test('the time in which the backend does not read is not held against the sender', async () => {
    const { played } = await open({ settings: [SLOT] });
    const route = large({}, { hold: { ...large().hold, bodyBytesMax: 1 << 20 } });
    const caller = await begun(500, route, { length: 400_000 });
    // Opened, and not read.
    const body = played.last.request.body?.open() as Readable;
    body.read(0);
    caller.sender.end('b'.repeat(399_500));
    await quiet();
    await all.pass(30);
    expect(caller.told).toBe(0);
    expect((await body.toArray()).reduce((bytes, piece: Uint8Array) => bytes + piece.byteLength, 0)).toBe(400_000);
    played.last.answer(200);
    expect(caller.told).toBe(1);
  });
});

test('who is not prompt, or would not pass, does not stream', () => {
  const limits = [{ kind: 'concurrency' }] as never;
  const explained = { group: 'g', admitted: true, refusal: undefined, place: { place: 1, expectedAt: 0, limit: '' }, limits } as never;
  const prompt = { announced: 3_000, received: 1_000, took: SECOND / 2 };
  expect(canStream(prompt, false, explained)).toBe('hurry');
  expect(canStream({ ...prompt, took: SECOND / 2 + 1 }, false, explained)).toBe('no');
  expect(canStream(prompt, false, { reason: 'undecided' })).toBe('no');
  expect(canStream(prompt, true, { ...(explained as object), limits: [] } as never)).toBe('hurry');
  expect(canStream({ ...prompt, took: MINUTE }, false, { ...(explained as object), limits: [] } as never)).toBe('yes');
  expect(canStream(prompt, false, { ...(explained as object), admitted: false } as never)).toBe('no');
});
