import { expect, test } from 'vitest';
import { LeaseAccount } from '../../../src/core/leases/lease-account.ts';
import type { LiveLease } from '../../../src/core/leases/live-lease.ts';
import type { Instant } from '../../../src/core/time.ts';

const at = (time: number): Instant => time as Instant;

function lease(fence: bigint, expiresAt: number): LiveLease {
  return {
    serial: Number(fence),
    fence,
    tag: { high: 0, low: 0 },
    node: { name: 'g' },
    keyState: { key: '' },
    costs: { requests: 1 },
    grantedAt: at(0),
    holder: '',
    instances: [],
    duration: 10,
    expiresAt: at(expiresAt),
    ended: undefined,
    nextFence: undefined,
    previousFence: undefined,
  };
}

function fencesOf(account: LeaseAccount): readonly bigint[] {
  const fences: bigint[] = [];
  for (let each = account.first; each !== undefined; each = each.nextFence) fences.push(each.fence);
  return fences;
}

test('live leases stand in order of their fences, whichever of them ends', () => {
  const account = new LeaseAccount();
  const [a, b, c] = [lease(1n, 10), lease(2n, 10), lease(3n, 10)];
  for (const each of [a, b, c]) account.add(each);
  expect([fencesOf(account), account.live]).toEqual([[1n, 2n, 3n], 3]);
  account.remove(b);
  expect(fencesOf(account)).toEqual([1n, 3n]);
  account.remove(a);
  account.add(lease(4n, 10));
  expect(fencesOf(account)).toEqual([3n, 4n]);
  account.remove(c);
  expect([fencesOf(account), account.live]).toEqual([[4n], 1]);
});

test('the fence floor is the smallest fence alive, and leases that lapse at this very moment are no longer alive', () => {
  const account = new LeaseAccount();
  const [a, b, c] = [lease(1n, 10), lease(2n, 20), lease(3n, 30)];
  for (const each of [a, b, c]) account.add(each);
  expect([9, 10, 20, 40].map((now) => account.fenceFloor(c, at(now)))).toEqual([1n, 2n, 3n, 3n]);
});

test('an account is idle once no lease lives, no permit can be settled and nothing on disk stands for it', () => {
  const account = new LeaseAccount();
  expect(account.idle(at(0))).toBe(true);
  const one = lease(1n, 10);
  account.add(one);
  expect(account.idle(at(0))).toBe(false);
  account.remove(one);
  account.settleables = 1;
  expect(account.idle(at(0))).toBe(false);
  account.settleables = 0;
  expect(account.idle(at(0))).toBe(true);
});
