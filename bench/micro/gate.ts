/**
 * B6 of the proof: a million waiters in the core. Enqueue, grant and the timer of each, with cancels; and the trap: most
 * of the waiters blocked on their keys, a few admissible, at the same cost.
 */
import { performance } from 'node:perf_hooks';
import { Gate } from '../../src/core/gate.ts';
import { type GroupSpec, ONE_REQUEST } from '../../src/core/group.ts';
import { type Instant, LONG_AGO, MINUTE, SECOND } from '../../src/core/time.ts';
import type { WaiterRef } from '../../src/core/waiter.ts';

const TAG = { high: 1, low: 2 };
const START = 1_700_000_000_000_000 as Instant;

function spec(name: string, over: Partial<GroupSpec> = {}): GroupSpec {
  return {
    name,
    limits: [],
    parent: undefined,
    enforce: true,
    backlog: { requests: 2_000_000, bytes: 1e12, perKey: 2_000_000, keys: 2_000_000, wait: undefined },
    aging: undefined,
    fairness: { by: 'key', weights: new Map() },
    ...over,
  };
}

function gateOf(groups: readonly GroupSpec[]): Gate {
  return new Gate({ term: 1n, groups, from: LONG_AGO, recording: false, restored: undefined });
}

/** One gate for each group: a rate that is used up, then waiters, then time. */
export function millionWaiters(waiters: number, groups: number): { nsPerWaiter: number; bytesPerWaiter: number; worstMs: number } {
  const rate = { name: 'rate', unit: 'requests', scope: 'group', quota: { kind: 'rate', permits: 10_000, per: SECOND, burst: 1 }, keys: new Map() } as const;
  const gates = Array.from({ length: groups }, (_, at) => gateOf([spec(`g${at}`, { limits: [rate] })]));
  globalThis.gc?.();
  const before = memory();
  const refs: WaiterRef[][] = gates.map(() => []);
  let worst = 0;
  const began = performance.now();
  for (let at = 0; at < waiters; at++) {
    const gate = gates[at % groups] as Gate;
    const ref = gate.acquire(START, {
      group: 0,
      key: '',
      priority: at % 3,
      costs: ONE_REQUEST,
      waitUntil: (START + 10 * MINUTE + (at % 977) * 1000) as Instant,
      lease: 0,
      bytes: 0,
      holder: '',
      tag: TAG,
      token: at,
    });
    if (at % 100 === 0) (refs[at % groups] as WaiterRef[]).push(ref);
    gate.takeEvents();
  }
  const queued = performance.now();
  globalThis.gc?.();
  const held = memory() - before;
  const resumed = performance.now();
  let granted = 0;
  for (const [at, gate] of gates.entries()) {
    for (const ref of refs[at] as WaiterRef[]) gate.cancel(START, ref);
    let now = START;
    for (;;) {
      const one = performance.now();
      now = gate.wakeAt(now);
      if (now === Number.POSITIVE_INFINITY) break;
      gate.tick(now);
      for (const event of gate.takeEvents()) if (event.kind === 'admitted') granted++;
      worst = Math.max(worst, performance.now() - one);
    }
  }
  const done = performance.now();
  if (granted < waiters * 0.98) throw new Error(`only ${granted} of ${waiters} were admitted`);
  return { nsPerWaiter: ((queued - began + done - resumed) / waiters) * 1e6, bytesPerWaiter: held / waiters, worstMs: worst };
}

/** One group, a spacing for each key: `blocked` waiters of busy keys in front of those that may go. */
export function trap(blocked: number, free: number): number {
  const pace = { name: 'pace', unit: 'requests', scope: 'key', quota: { kind: 'spacing', spacing: MINUTE * 60, slack: 0 }, keys: new Map() } as const;
  const gate = gateOf([spec('trap', { limits: [pace] })]);
  const ask = (key: string): void => {
    gate.acquire(START, { group: 0, key, priority: 1, costs: ONE_REQUEST, waitUntil: (START + 120 * MINUTE) as Instant, lease: 0, bytes: 0, holder: '', tag: TAG, token: undefined });
    gate.takeEvents();
  };
  for (let at = 0; at < blocked; at++) ask(`busy${at % 100}`);
  const began = performance.now();
  for (let at = 0; at < free; at++) ask(`free${at}`);
  return ((performance.now() - began) / free) * 1e6;
}

function memory(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
