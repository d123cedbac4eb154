import { describe, expect, test } from 'vitest';
import { createSluice } from '../../src/client/client.ts';
import { SluiceLeaseLost, SluiceRefused } from '../../src/client/errors.ts';
import { type KeptLease, keepAlive } from '../../src/client/keep-alive.ts';
import { HandTiming } from './hand-timing.ts';

class Lease implements KeptLease {
  readonly timing = new HandTiming();
  readonly renewals: number[] = [];
  endsAt: number;
  failing: unknown;

  readonly length: number | undefined;

  constructor(length: number | undefined, age = 0) {
    this.length = length;
    this.endsAt = this.timing.now() + (length ?? 0) - age;
  }

  leaseMs() {
    return this.length;
  }
  leftMs() {
    return this.endsAt - this.timing.now();
  }
  async renew() {
    this.renewals.push(this.timing.now() - 1000);
    if (this.failing !== undefined) throw this.failing;
    this.endsAt = this.timing.now() + (this.length ?? 0);
  }
}

const fenced = new SluiceRefused({ reason: 'fenced', status: 409, detail: 'Over.', limit: undefined, retryAfterMs: undefined });

describe('a lease that is kept alive', () => {
  test('is renewed at each third', async () => {
    const lease = new Lease(30_000);
    const { lost } = keepAlive(lease.timing, lease);
    await lease.timing.pass(35_000);
    expect(lease.renewals).toEqual([10_000, 20_000, 30_000]);
    expect(lost.aborted).toBe(false);
  });

  test('whose answer was long under way is renewed sooner', async () => {
    const lease = new Lease(30_000, 8000);
    keepAlive(lease.timing, lease);
    await lease.timing.pass(5000);
    expect(lease.renewals).toEqual([2000]);
    const old = new Lease(30_000, 31_000);
    const { lost } = keepAlive(old.timing, old);
    await old.timing.pass(5000);
    expect(old.renewals).toEqual([0]);
    expect(lost.aborted).toBe(false);
  });

  test('is lost at once when the server says so', async () => {
    const lease = new Lease(30_000);
    lease.failing = fenced;
    const { lost } = keepAlive(lease.timing, lease);
    await lease.timing.pass(10_000);
    expect(lost.reason).toBeInstanceOf(SluiceLeaseLost);
    expect((lost.reason as Error).cause).toBe(fenced);
    expect(lease.timing.waits).toEqual([]);
  });

  test('is tried again while nobody answers, and lost when its time is over', async () => {
    const lease = new Lease(30_000);
    lease.failing = new Error('cut');
    const { lost } = keepAlive(lease.timing, lease);
    await lease.timing.pass(29_999);
    expect(lease.renewals.length).toBeGreaterThan(5);
    expect(lost.aborted).toBe(false);
    await lease.timing.pass(1);
    expect(lost.aborted).toBe(true);
    expect(lease.timing.waits).toEqual([]);
  });

  test('lives on when somebody answers again', async () => {
    const lease = new Lease(30_000);
    lease.failing = new Error('cut');
    const { lost } = keepAlive(lease.timing, lease);
    await lease.timing.pass(25_000);
    lease.failing = undefined;
    await lease.timing.pass(100_000);
    expect(lost.aborted).toBe(false);
  });

  test('is left alone after the stop', async () => {
    const lease = new Lease(30_000);
    const { lost, stop } = keepAlive(lease.timing, lease);
    stop();
    await lease.timing.pass(60_000);
    expect(lease.renewals).toEqual([]);
    expect(lost.aborted).toBe(false);
  });

  test('needs nothing where there is none', () => {
    const lease = new Lease(undefined);
    keepAlive(lease.timing, lease);
    expect(lease.timing.waits).toEqual([]);
  });
});

describe('a lease over HTTP', () => {
  /** A client of a server whose renewals get these answers, and its permit with a lease of so many seconds. */
  async function held(seconds: number, renewals: readonly ('silent' | 'ok')[]) {
    const timing = new HandTiming();
    const calls: number[] = [];
    const send = (_url: unknown, { signal }: { readonly signal: AbortSignal }): Promise<Response> => {
      const how = calls.length === 0 ? 'ok' : renewals[calls.length - 1];
      calls.push(timing.now() - 1000);
      if (how === 'ok') return Promise.resolve(Response.json({ permit: 'p', fence: '1', fenceFloor: '1', lease: `${seconds}s`, waited: '0s' }));
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    };
    const permit = await createSluice({ address: 'http://sluice', fetch: send as unknown as typeof fetch, timing }).acquire('g');
    return { timing, calls, permit, lost: permit.keepAlive() };
  }

  test('of 6 s outlives a silent connection, and two', async () => {
    const once = await held(6, ['silent', 'ok', 'ok', 'ok', 'ok']);
    await once.timing.pass(8_000);
    expect([once.lost.aborted, once.permit.leftMs > 0]).toEqual([false, true]);
    expect(once.calls.slice(1, 3)).toEqual([2_000, 3_300]);
    const twice = await held(6, ['silent', 'silent', 'ok', 'ok', 'ok']);
    await twice.timing.pass(8_000);
    expect(twice.lost.aborted).toBe(false);
  });

  test.each([1, 2, 3, 6, 15, 30, 60, 600])('of %i s is tried again before it is over', async (seconds) => {
    const { timing, calls, lost } = await held(seconds, ['silent', ...Array.from({ length: 20 }, () => 'ok' as const)]);
    await timing.pass(seconds * 1500);
    expect(lost.aborted).toBe(false);
    expect(calls[2]).toBeLessThan(seconds * 1000);
  });

  test('of 30 s and more waits for an answer as long as before', async () => {
    const { timing, calls } = await held(30, ['silent', 'ok', 'ok']);
    await timing.pass(16_500);
    expect(calls.slice(1)).toEqual([10_000, 16_500]);
  });
});
