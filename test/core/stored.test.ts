import { describe, expect, test } from 'vitest';
import { Gate } from '../../src/core/gate/gate.ts';
import { type GroupSpec, ONE_REQUEST, PRIORITY_DEFERRED } from '../../src/core/group.ts';
import { DISTANT_PAST, type Instant, NEVER, plus } from '../../src/core/time.ts';
import { isStored } from '../../src/core/tree/stored-requests.ts';
import { group, rate, rolling, START, sec, t } from './specs.ts';

const TAG = { high: 1, low: 2 };

function gateOf(...groups: readonly GroupSpec[]): Gate {
  return new Gate({ term: 1n, groups, from: DISTANT_PAST, recording: false, restored: undefined });
}

interface More {
  readonly deadline?: Instant;
  readonly arrivedAt?: Instant;
  readonly cost?: number;
}

function store(gate: Gate, now: Instant, sequence: number, key = '', more: More = {}): number {
  const { deadline = NEVER, arrivedAt = now, cost } = more;
  const costs = cost === undefined ? ONE_REQUEST : { requests: cost };
  const queued = gate.enqueueStored(now, { group: 0, key, priority: PRIORITY_DEFERRED, costs, sequence, arrivedAt, deadline, lease: sec(10), tag: TAG });
  if (queued === undefined || !('entry' in queued)) throw new Error(`request ${sequence} was not queued: ${JSON.stringify(queued)}`);
  gate.decideStored(now);
  return queued.entry;
}

function live(gate: Gate, now: Instant, ttl: number, priority = 999, key = ''): void {
  gate.acquire(now, {
    group: 0,
    key,
    priority,
    costs: ONE_REQUEST,
    waitUntil: plus(now, sec(ttl)),
    lease: sec(10),
    bytes: 0,
    holder: '',
    tag: TAG,
    token: 'live',
  });
}

/** Sequences that were admitted or refused since the last call; live callers as 'live'. */
function told(gate: Gate, kind: 'admitted' | 'refused'): readonly unknown[] {
  return gate.takeEvents().flatMap((event) => (event.kind === kind ? [isStored(event.token) ? event.token.sequence : event.token] : []));
}

describe('a stored request', () => {
  test('whose deadline passed while it stood in line is refused at its turn, and the next one goes', () => {
    const gate = gateOf(group('g', [rolling(1, sec(10))]));
    for (const [sequence, deadline] of [
      [1, NEVER],
      [2, t(5)],
      [3, NEVER],
    ] as const)
      store(gate, START, sequence, '', { deadline });
    expect(told(gate, 'admitted')).toEqual([1]);
    gate.tick(t(10));
    const events = gate.takeEvents();
    expect(events.map((event) => [event.kind, 'token' in event && isStored(event.token) ? event.token.sequence : 0])).toEqual([
      ['refused', 2],
      ['admitted', 3],
    ]);
    expect(gate.audit(t(10))).toEqual([]);
  });

  test('that is cancelled in line is passed over, once, and is known no more', () => {
    const gate = gateOf(group('g', [rolling(1, sec(10))]));
    const entries = [1, 2, 3, 4].map((sequence) => store(gate, START, sequence));
    expect(gate.cancelStored(entries[2] as number, 3)).toBe(true);
    expect(gate.cancelStored(entries[2] as number, 3)).toBe(false);
    expect(gate.cancelStored(entries[1] as number, 2)).toBe(true);
    expect(gate.cancelStored(entries[0] as number, 1)).toBe(false);
    gate.tick(t(10));
    expect(told(gate, 'admitted')).toEqual([1, 4]);
    expect(gate.status(t(10), 0)).toMatchObject({ waiting: 0 });
    expect(gate.audit(t(10))).toEqual([]);
  });

  test('does not fill the backlog of live callers, and is counted', () => {
    const gate = gateOf(group('g', [rolling(1, sec(10))], { backlog: { requests: 1, bytes: 1_000, perKey: 1, keys: 10, wait: undefined, onFull: 'newest' } }));
    for (let sequence = 0; sequence < 50; sequence++) store(gate, START, sequence);
    live(gate, START, 60);
    expect(told(gate, 'refused')).toEqual([]);
    expect(gate.status(START, 0)).toMatchObject({ waiting: 50 });
    live(gate, START, 60);
    expect(told(gate, 'refused')).toEqual(['live']);
  });

  test('that could never pass is not queued', () => {
    const gate = gateOf(group('g', [rolling(2, sec(10))]));
    const wide = {
      group: 0,
      key: '',
      priority: PRIORITY_DEFERRED,
      costs: { requests: 3 },
      sequence: 1,
      arrivedAt: START,
      deadline: NEVER,
      lease: sec(10),
      tag: TAG,
    };
    expect(gate.enqueueStored(START, wide)).toEqual({ refusal: { reason: 'oversized', limit: 'window' } });
    expect(gate.status(START, 0)).toMatchObject({ waiting: 0 });
  });

  test('that a reload made too large is refused at its turn instead of holding the line', () => {
    const gate = gateOf(group('g', [rolling(2, sec(10))]));
    store(gate, START, 1, '', { cost: 2 });
    store(gate, START, 2, '', { cost: 2 });
    store(gate, START, 3);
    gate.takeEvents();
    gate.reconfigure(START, [group('g', [rolling(1, sec(10))])]);
    gate.tick(t(10));
    const events = gate.takeEvents().flatMap((event) => ('token' in event && isStored(event.token) ? [[event.kind, event.token.sequence]] : []));
    expect(events).toEqual([
      ['refused', 2],
      ['admitted', 3],
    ]);
  });

  test('of a group that left the configuration is dropped from the line without a refusal', () => {
    const shrunk = gateOf(group('root', [rolling(1, sec(10))]), group('g', [rolling(1, sec(10))], { parent: { group: 'root', share: undefined } }));
    const index = shrunk.groupOf('g') as number;
    for (let sequence = 0; sequence < 5; sequence++) {
      shrunk.enqueueStored(START, {
        group: index,
        key: `${sequence % 2}`,
        priority: PRIORITY_DEFERRED,
        costs: ONE_REQUEST,
        sequence,
        arrivedAt: START,
        deadline: NEVER,
        lease: sec(10),
        tag: TAG,
      });
    }
    shrunk.decideStored(START);
    shrunk.takeEvents();
    shrunk.reconfigure(START, [group('root', [rolling(1, sec(10))])]);
    expect(shrunk.takeEvents().map((event) => event.kind)).toContain('unqueued');
    expect(shrunk.audit(START)).toEqual([]);
  });
});

describe('the floor of a group', () => {
  const floor = { after: sec(600), every: 20 };

  /** 100 slots a second, 150 live callers a second who wait at most 3 s, so many stored requests that are older than the floor: served in `seconds`. */
  function overload(
    keys: readonly string[],
    overdue: number,
    seconds: number,
  ): { readonly stored: number; readonly live: number; readonly largestGap: number } {
    const gate = gateOf(group('g', [rate(100, sec(1))], { fairness: { by: 'key', weights: new Map() }, floor }));
    const arrivedAt = t(-3_600);
    for (let sequence = 0; sequence < overdue; sequence++) store(gate, START, sequence, keys[sequence % keys.length], { arrivedAt });
    const order: unknown[] = [];
    const hear = () => order.push(...told(gate, 'admitted'));
    hear();
    for (let tick = 0; tick < seconds * 200; tick++) {
      const now = t(tick / 200);
      gate.tick(now);
      hear();
      if (tick % 4 !== 3) live(gate, now, 3, 1, keys[tick % keys.length]);
      hear();
    }
    const positions = order.flatMap((token, index) => (token === 'live' ? [] : [index]));
    const gaps = positions.slice(1).map((at, index) => at - (positions[index] as number));
    return { stored: positions.length, live: order.length - positions.length, largestGap: Math.max(0, ...gaps) };
  }

  test.each([[['']], [['a', 'b', 'c']]])(
    'gives at least one of every 20 admissions to an overdue request, and no more while live callers wait, with keys %j',
    (keys) => {
      const { stored, live: served, largestGap } = overload(keys, 20_000, 60);
      expect(largestGap).toBeLessThanOrEqual(floor.every);
      // At the start nobody else waits for some moments; from then on it is exactly one in twenty.
      expect(stored / (stored + served)).toBeGreaterThanOrEqual(1 / floor.every);
      expect(stored / (stored + served)).toBeLessThan(1.1 / floor.every);
    },
  );

  test('gives nothing to requests that are not overdue while a more urgent caller waits', () => {
    const gate = gateOf(group('g', [rate(1, sec(1))], { floor }));
    for (let sequence = 0; sequence < 10; sequence++) store(gate, START, sequence);
    const admitted: unknown[] = [...told(gate, 'admitted')];
    for (let second = 0; second < 100; second++) {
      live(gate, t(second), 1_000, 1);
      gate.tick(t(second));
      admitted.push(...told(gate, 'admitted'));
    }
    expect(admitted.slice(1)).not.toContain(1);
  });

  test('holds its bound through a parent that is fought for by a more urgent group', () => {
    const parent = { group: 'root', share: undefined };
    const specs = [group('g', [], { parent, floor: { after: sec(10), every: 4 } }), group('root', [rate(10, sec(1))]), group('other', [], { parent })];
    const gate = gateOf(...specs);
    const arrivedAt = t(-100);
    for (let sequence = 100; sequence < 200; sequence++) store(gate, START, sequence, '', { arrivedAt });
    const mine: unknown[] = [];
    for (let tick = 0; tick < 1_000; tick++) {
      const now = t(tick / 10);
      for (const index of [0, 2])
        gate.acquire(now, {
          group: index,
          key: '',
          priority: 1,
          costs: ONE_REQUEST,
          waitUntil: t(tick / 10 + 2),
          lease: sec(10),
          bytes: 0,
          holder: '',
          tag: TAG,
          token: index,
        });
      gate.tick(now);
      mine.push(...told(gate, 'admitted').filter((token) => token !== 2));
    }
    expect(mine.filter((token) => token !== 0).length).toBeGreaterThan(50);
    const gaps = mine.flatMap((token, index) => (token === 0 ? [] : [index])).map((at, index, all) => at - (all[index - 1] ?? -1));
    expect(Math.max(...gaps)).toBe(4);
  });
});
