import { expect, test } from 'vitest';
import { judge } from './checker.ts';
import type { AskLine, CheckedLimit, HistoryLine } from './history.ts';

/*
 * The judge is judged first: it must find what is over, doubled, out of line or late, and nothing where all is right.
 */

const S = 1_000_000;
let made = 0;

function ask(more: Partial<AskLine> = {}): AskLine {
  const id = `a${made++}`;
  const base = {
    op: 'ask',
    id,
    group: 'g',
    key: '',
    priority: 1,
    invoke: 0,
    complete: 0,
    outcome: 'admitted',
    reason: '',
    permit: `p${id}`,
    fence: '',
    lease: 0,
    ttl: 20 * S,
  } as const;
  return { ...base, ...more };
}

/** Permits at these moments, each asked and answered at once. */
function at(...moments: number[]): readonly AskLine[] {
  return moments.map((moment) => ask({ invoke: moment, complete: moment + 1 }));
}

function violations(limit: CheckedLimit, lines: readonly HistoryLine[]): readonly string[] {
  return judge([{ op: 'groups', groups: [{ name: 'g', limits: [limit] }] }, ...lines]).violations;
}

test.each<[string, CheckedLimit, number[], number[]]>([
  ['window', { kind: 'window', permits: 2, per: S }, [0, 10, S + 100, S + 200], [0, 10, S - 2_000]],
  ['rate', { kind: 'rate', burst: 2, every: S }, [0, 1, S + 10, 2 * S + 10], [0, 1, S - 2_000]],
  ['spacing', { kind: 'spacing', every: S }, [0, S + 10, 2 * S + 20], [0, S - 2_000]],
  ['fixed', { kind: 'fixed', permits: 1, per: S }, [0, S - 10], [0, S / 4, S / 2]],
])('Over a %s is found, and what keeps to it passes', (_kind, limit, right, wrong) => {
  expect(violations(limit, at(...right))).toEqual([]);
  expect(violations(limit, at(...wrong))).toHaveLength(1);
});

test('What may have been admitted at different times is not called over', () => {
  const slow = [0, 1, 2].map(() => ask({ invoke: 0, complete: 2.4 * S }));
  expect(violations({ kind: 'spacing', every: S }, slow)).toEqual([]);
});

test('One lease too many is found; a lease given back, or lapsed, makes room', () => {
  const limit: CheckedLimit = { kind: 'concurrency', max: 1 };
  const first = ask({ invoke: 0, complete: 10, lease: 10 * S });
  const second = ask({ invoke: 20, complete: S, lease: 10 * S });
  const release = { op: 'release', permit: first.permit, invoke: 20, complete: 30, ok: true } as const;
  expect(violations(limit, [first, second])).toHaveLength(1);
  expect(violations(limit, [first, release, second])).toEqual([]);
  expect(violations(limit, [first, ask({ invoke: 20, complete: 11 * S, lease: S })])).toEqual([]);
});

test('A parent is over when its children together are', () => {
  const groups = [
    { name: 'p', limits: [{ kind: 'spacing', every: S } as const] },
    { name: 'a', parent: 'p', limits: [] },
    { name: 'b', parent: 'p', limits: [] },
  ];
  const both = [ask({ group: 'a', invoke: 0, complete: 1 }), ask({ group: 'b', invoke: 100, complete: 101 })];
  expect(judge([{ op: 'groups', groups }, ...both]).violations).toHaveLength(1);
});

test('A fence that does not grow, a permit told twice and an ask with two permits are found', () => {
  const none: CheckedLimit = { kind: 'concurrency', max: 100 };
  const fenced = (fence: string, invoke: number) => ask({ fence, invoke, complete: invoke + 1, lease: S });
  expect(violations(none, [fenced('5', 0), fenced('6', 10)])).toEqual([]);
  expect(violations(none, [fenced('6', 0), fenced('5', 10)])).toHaveLength(1);
  expect(violations(none, [ask({ permit: 'same' }), ask({ permit: 'same' })])).toHaveLength(1);
  expect(violations(none, [ask({ id: 'x', permit: 'one' }), ask({ id: 'x', permit: 'two' })])).toHaveLength(1);
  expect(violations(none, [ask({ id: 'y', permit: 'one' }), ask({ id: 'y', permit: 'one' })])).toEqual([]);
});

const FREE: HistoryLine = { op: 'groups', groups: [{ name: 'g', limits: [] }] };

function found(...lines: readonly HistoryLine[]): readonly string[] {
  return judge([FREE, ...lines]).violations;
}

/** One try of an ask at a replica, for as long as the ask took. */
function tried({ id, group, invoke, complete, outcome, reason }: AskLine, replica: number): HistoryLine {
  return { op: 'try', id, group, replica, invoke, complete, end: outcome === 'admitted' ? outcome : reason };
}

test('A gap is time in which somebody waited and nobody went, however it ended', () => {
  const lines = [ask({ invoke: 0, complete: S }), ask({ invoke: 0, complete: 4 * S }), ask({ invoke: 20 * S, complete: 21 * S })];
  expect(judge([FREE, ...lines]).gaps.map(({ from, until }) => [from, until])).toEqual([
    [S, 4 * S],
    [0, S],
    [20 * S, 21 * S],
  ]);
  expect(found(...lines)).toHaveLength(1);
  expect(found(ask({ outcome: 'unknown', invoke: 0, complete: 4 * S }))).toHaveLength(1);
});

test('Who stands at a replica that is hurt waits for nothing that the others could do', () => {
  const stuck = ask({ invoke: 0, complete: 6 * S });
  const pause = { op: 'fault', kind: 'pause', target: 'r1', from: S, until: 5 * S } as const;
  expect(found(stuck, tried(stuck, 1), pause)).toEqual([]);
  expect(found(stuck, tried(stuck, 0), pause)).toHaveLength(1);
});

test('An outage of NATS counts only after its end, and a machine that stands still not at all', () => {
  const waiting = ask({ invoke: 0, complete: 12 * S });
  expect(found(waiting, { op: 'outage', from: 0, until: 10 * S })).toEqual([]);
  expect(found(waiting, { op: 'outage', from: 0, until: 8 * S })).toHaveLength(1);
  expect(found(waiting, { op: 'stall', from: S, until: 12 * S })).toEqual([]);
});

test('What a takeover keeps a limit shut for is its own', () => {
  const groups: HistoryLine = { op: 'groups', groups: [{ name: 'g', limits: [{ kind: 'window', permits: 2, per: 3 * S }] }] };
  expect(judge([groups, ask({ complete: 4 * S })]).violations).toEqual([]);
  expect(judge([groups, ask({ complete: 5 * S })]).violations).toHaveLength(1);
});

test('A limit may be used up when a fault begins, and again when another takes over', () => {
  const groups: HistoryLine = { op: 'groups', groups: [{ name: 'g', limits: [{ kind: 'window', permits: 2, per: 3 * S }] }] };
  const kill = { op: 'fault', kind: 'kill', target: 'r1', from: 2.9 * S, until: 4 * S } as const;
  expect(judge([groups, ask({ complete: 7 * S }), kill]).violations).toEqual([]);
  expect(judge([groups, ask({ complete: 8 * S }), kill]).violations).toHaveLength(1);
});

test('Who was passed is told, but not where a fault explains it', () => {
  const lines: HistoryLine[] = [ask({ id: 'early', invoke: 0, complete: 1.4 * S }), ask({ id: 'late', invoke: S / 2, complete: S })];
  expect(found(...lines)).toHaveLength(1);
  lines.push({ op: 'fault', kind: 'kill', target: 'r1', from: S, until: 2 * S });
  expect(found(...lines)).toEqual([]);
});

test('Who was told late by a machine that stood still was not passed', () => {
  const lines: HistoryLine[] = [ask({ invoke: 0, complete: 1.4 * S }), ask({ invoke: S / 2, complete: S })];
  expect(found(...lines, { op: 'stall', from: 1.2 * S, until: 1.4 * S })).toEqual([]);
  expect(found(...lines, { op: 'stall', from: 1.35 * S, until: 1.4 * S })).toHaveLength(1);
  const lag = { op: 'lag', replica: 0, from: 1.1 * S, until: 1.3 * S } as const;
  expect(found(...lines, lag)).toEqual([]);
  expect(found(...lines, { ...lag, until: 1.15 * S }, { ...lag, replica: 1, until: 1.14 * S })).toHaveLength(1);
});

test('The more urgent goes before who came earlier, and must not be passed by him', () => {
  const early = ask({ priority: 1, invoke: 0, complete: 1.4 * S });
  const urgent = { priority: 0, invoke: S / 2, complete: S } as const;
  expect(found(early, ask(urgent))).toEqual([]);
  expect(found({ ...early, complete: S }, ask({ ...urgent, complete: 1.4 * S }))).toHaveLength(1);
});

test('Who is never answered is found', () => {
  const silent = ask({ outcome: 'unknown', reason: 'silent', complete: S });
  expect(found(silent, tried(silent, 0))).toHaveLength(1);
  expect(found(silent, tried(silent, 0), { op: 'fault', kind: 'pause', target: 'r0', from: 0, until: S })).toEqual([]);
  expect(found(tried(ask({ id: 'lost', complete: S }), 0))).toEqual(['lost never ended']);
});

test('Who was refused although a later one was served is found; not where his own replica was hurt', () => {
  const refused = ask({ outcome: 'refused', reason: 'expired', complete: 20 * S });
  const served = Array.from({ length: 19 }, (_, at) => at).map((at) => ask({ invoke: at * S, complete: (at + 1) * S }));
  expect(found(refused, ...served, tried(refused, 2))).toHaveLength(1);
  expect(found(refused, ...served, tried(refused, 2), { op: 'fault', kind: 'pause', target: 'r2', from: 12 * S, until: 15 * S })).toEqual([]);
});
