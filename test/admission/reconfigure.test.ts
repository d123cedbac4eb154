import { expect, test } from 'vitest';
import { Gate } from '../../src/core/gate/gate.ts';
import type { GateOptions } from '../../src/core/gate/snapshot.ts';
import type { LimitSpec } from '../../src/core/group.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const under = (parent: string) => ({ parent: { group: parent, share: undefined } });

test('waiters stay in line under the new limits, and counters go on', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(60 * SECOND)]))]);
  const callers = [rig.ask(), rig.ask(), rig.ask()];
  expect(await rig.admission.reconfigure([settingsOf(group('g', [spacing(5 * SECOND)]), { lease: { default: SECOND, max: SECOND } })])).toEqual([]);
  await rig.pass(11);
  expect(callers.map((caller) => caller.seconds)).toEqual([0, 5, 10]);
  const view = rig.admission.group('g');
  expect('reason' in view ? 0 : view.counters.admitted).toBe(3);
});

test('groups come, also into a tree with callers in line, and go: their waiters are told so', async () => {
  const rig = await rigged([
    settingsOf(group('root', [concurrency(1)])),
    settingsOf(group('a', [rate(1, SECOND)], under('root'))),
    settingsOf(group('old', [concurrency(1)])),
  ]);
  const lease = await rig.asked({ group: 'a' });
  await rig.asked({ group: 'old' });
  const [inLine, gone, child] = [rig.ask({ group: 'root' }), rig.ask({ group: 'old' }), rig.ask({ group: 'a' })];
  const next = [settingsOf(group('root', [concurrency(1)])), settingsOf(group('b', [], under('root'))), settingsOf(group('new', [rate(1, SECOND)]))];
  expect(await rig.admission.reconfigure(next)).toEqual([]);
  await settled();
  for (const caller of [gone, child]) {
    expect(caller.refusal).toMatchObject({ reason: 'undecided', detail: expect.stringContaining('taken out of the configuration') });
    expect(caller.refusal?.retryAt).toBeGreaterThan(rig.clock.now());
  }
  expect(rig.notices).toEqual([
    { kind: 'withdrawn', group: 'a', waiting: 1, leases: 1 },
    { kind: 'withdrawn', group: 'old', waiting: 1, leases: 1 },
  ]);
  expect(rig.ask({ group: 'old' }).refusal?.reason).toBe('unknown_group');
  expect(rig.ledger.trees.get('old')?.sealed).toBeDefined();
  expect(rig.ask({ group: 'new' }).outcome?.kind).toBe('admitted');
  expect(inLine.outcome).toBeUndefined();
  expect(await rig.admission.release({ caller: '', permit: lease.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(inLine.outcome?.kind).toBe('admitted');
  expect((await rig.admission.groups()).map((view) => view.name).sort()).toEqual(['b', 'new', 'root']);
});

test('what cannot be done changes nothing at all', async () => {
  const rig = await rigged([settingsOf(group('a', [rolling(1, SECOND)])), settingsOf(group('b', [rolling(1, SECOND)]))]);
  const wrong = [settingsOf(group('a', [rolling(50, SECOND)])), settingsOf(group('b', [rolling(50, SECOND)], under('nope')))];
  expect(await rig.admission.reconfigure(wrong)).toHaveLength(1);
  rig.ask({ group: 'a' });
  expect(rig.ask({ group: 'a' }).outcome).toBeUndefined();
});

test('a group moves to another tree only while nobody waits or holds, and takes with it what it spent', async () => {
  const before = [settingsOf(group('a', [rolling(2, MINUTE), concurrency(1)])), settingsOf(group('b', [rolling(10, MINUTE)]))];
  const after = [settingsOf(group('a', [rolling(2, MINUTE), concurrency(1)], under('b'))), settingsOf(group('b', [rolling(10, MINUTE)]))];
  const rig = await rigged(before);
  const lease = await rig.asked({ group: 'a' });
  await rig.asked({ group: 'b' });
  const answer = await rig.admission.reconfigure(after);
  expect(answer).toHaveLength(1);
  expect(answer[0]).toMatch(/tree of a/);
  await rig.admission.release({ caller: '', permit: lease.id, disposition: 'used' });
  expect(await rig.admission.reconfigure(after)).toEqual([]);
  expect([rig.used('a'), rig.used('b')]).toEqual([1, 1]);
  const second = await rig.asked({ group: 'a' });
  expect(second.outcome?.kind).toBe('admitted');
  expect([rig.used('a'), rig.used('b')]).toEqual([2, 2]);
  await rig.admission.release({ caller: '', permit: second.id, disposition: 'used' });
  expect(rig.ask({ group: 'a', wait: 0 }).refusal?.reason).toBe('infeasible');
  expect(rig.ledger.trees.get('b')?.snapshots[0]?.reservations.map((one) => one.group)).toContain('a');
});

test('a change of configuration under way is waited for by the next', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, SECOND)]))]);
  const both = [
    rig.admission.reconfigure([settingsOf(group('x', []))]),
    rig.admission.reconfigure([settingsOf(group('g', [rolling(5, SECOND)])), settingsOf(group('x', []))]),
  ];
  expect(await Promise.all(both)).toEqual([[], []]);
  expect((await rig.admission.groups()).map((view) => view.name).sort()).toEqual(['g', 'x']);
});

/** More groups than one slice of a change takes. */
const MANY = 2_500;

const many = (limit: LimitSpec) => Array.from({ length: MANY }, (_, at) => settingsOf(group(`g${at}`, [limit])));

test('a reload with one changed group among many touches only its tree', async () => {
  const touched: string[] = [];
  const gate = (options: GateOptions): Gate => {
    const made = new Gate(options);
    const reconfigure = made.reconfigure.bind(made);
    made.reconfigure = (now, groups) => {
      touched.push(options.groups[0]?.name ?? '');
      return reconfigure(now, groups);
    };
    return made;
  };
  const before = many(spacing(5 * SECOND));
  const rig = await rigged(before, { gate });
  const after = before.map((settings, at) => (at === 7 ? settingsOf(group('g7', [spacing(SECOND)])) : settings));
  const callers = [rig.ask({ group: 'g7' }), rig.ask({ group: 'g7' }), rig.ask({ group: 'g8' }), rig.ask({ group: 'g8' })];
  expect(await rig.admission.reconfigure(after)).toEqual([]);
  expect(touched).toEqual(['g7']);
  await rig.pass(6);
  expect(callers.map(({ seconds }) => seconds)).toEqual([0, 1, 0, 5]);
});

test('a reload of many groups lets callers in between, and loses none of those who wait', async () => {
  const rig = await rigged(many(spacing(60 * SECOND)));
  const names = Array.from({ length: MANY }, (_, at) => `g${at}`);
  const first = names.map((name) => rig.ask({ group: name }));
  const waiting = names.map((name) => rig.ask({ group: name }));
  let applied = false;
  const change = rig.admission.reconfigure([...many(spacing(5 * SECOND)), settingsOf(group('between', []))]).then((answer) => {
    applied = true;
    return answer;
  });
  let between = 0;
  while (!applied) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!applied) between++;
  }
  expect(between).toBeGreaterThan(2);
  expect(await change).toEqual([]);
  await rig.pass(5);
  expect(first.every(({ seconds, told }) => seconds === 0 && told === 1)).toBe(true);
  expect(waiting.every(({ seconds, told }) => seconds === 5 && told === 1)).toBe(true);
});

test('a reload of one tree of many groups lets callers in between, and loses none of those who wait', async () => {
  const tree = (root: LimitSpec, limit: LimitSpec) => [
    settingsOf(group('root', [root])),
    ...Array.from({ length: MANY }, (_, at) => settingsOf(group(`g${at}`, [limit], under('root')))),
  ];
  const rig = await rigged(tree(rate(1_000_000, SECOND, 1_000_000), spacing(3 * SECOND)));
  const names = Array.from({ length: MANY }, (_, at) => `g${at}`);
  const first = names.map((name) => rig.ask({ group: name }));
  const waiting = names.map((name) => rig.ask({ group: name }));
  let applied = false;
  const change = rig.admission.reconfigure(tree(rate(2_000_000, SECOND, 2_000_000), spacing(2 * SECOND))).then((answer) => {
    applied = true;
    return answer;
  });
  let between = 0;
  while (!applied) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!applied) between++;
  }
  expect(between).toBeGreaterThan(5);
  expect(await change).toEqual([]);
  // Thousands at once are told some in each turn.
  await rig.pass(2);
  for (let turns = 0; turns < 1_000 && waiting.some(({ told }) => told === 0); turns++) await settled();
  expect(first.every(({ seconds, told }) => seconds === 0 && told === 1)).toBe(true);
  expect(waiting.every(({ seconds, told }) => seconds === 2 && told === 1)).toBe(true);
});

test('in a tree of many groups some come, some go, some move below others and the rest changes, all in one reload', async () => {
  const leaf = (at: number, parent: string, limit: LimitSpec, more: object = {}) => settingsOf(group(`g${at}`, [limit], under(parent)), more);
  const before = [
    settingsOf(group('root', [concurrency(1_000_000)])),
    settingsOf(group('wide', [], under('root'))),
    settingsOf(group('narrow', [concurrency(2)], under('root'))),
    ...Array.from({ length: 300 }, (_, at) => leaf(at, 'wide', spacing(60 * SECOND))),
  ];
  const rig = await rigged(before);
  const gone = rig.ask({ group: 'g299', lease: MINUTE });
  const waitsGone = rig.ask({ group: 'g299', lease: MINUTE });
  const first = rig.ask({ group: 'g5', lease: MINUTE });
  const second = rig.ask({ group: 'g5', lease: MINUTE });
  await settled();
  const after = [
    settingsOf(group('root', [concurrency(1_000_000)])),
    settingsOf(group('wide', [], under('root'))),
    settingsOf(group('narrow', [concurrency(3)], under('root'))),
    ...Array.from({ length: 299 }, (_, at) => leaf(at, at < 150 ? 'wide' : 'narrow', spacing(SECOND), { lease: { default: 2 * SECOND, max: MINUTE } })),
    leaf(300, 'narrow', spacing(SECOND)),
  ];
  expect(await rig.admission.reconfigure(after)).toEqual([]);
  await settled();
  expect([gone.told, waitsGone.refusal?.reason]).toEqual([1, 'undecided']);
  await rig.pass(1);
  expect([first.seconds, second.seconds]).toEqual([0, 1]);
  // Three slots for all that stand below `narrow` now.
  const clientLimiter = [150, 151, 152, 153, 300].map((at) => rig.ask({ group: `g${at}`, lease: MINUTE }));
  await settled();
  expect(clientLimiter.filter(({ outcome }) => outcome?.kind === 'admitted')).toHaveLength(3);
  expect(await rig.admission.groups()).toHaveLength(303);
  expect((await rig.asked({ group: 'g7' })).permit.lease?.duration).toBe(2 * SECOND);
});

test('a tree that is too deep, the last of many, leaves all of them as they were', async () => {
  const rig = await rigged(many(spacing(60 * SECOND)));
  const deep = Array.from({ length: 9 }, (_, at) => settingsOf(group(`d${at}`, [], at === 0 ? {} : under(`d${at - 1}`))));
  const [first, waiting] = [rig.ask({ group: 'g0' }), rig.ask({ group: 'g0' })];
  await expect(rig.admission.reconfigure([...many(spacing(SECOND)), ...deep])).rejects.toThrow('more than 8 groups above one another');
  const grown = [...many(spacing(60 * SECOND)).slice(1), ...deep.slice(0, 8)];
  expect(await rig.admission.reconfigure([settingsOf(group('g0', [spacing(60 * SECOND)])), ...grown])).toEqual([]);
  expect(await rig.admission.reconfigure([...many(spacing(SECOND)), ...deep])).toEqual(['group d8: more than 8 groups above one another']);
  await rig.pass(59);
  expect([first.seconds, waiting.outcome]).toEqual([0, undefined]);
  await rig.pass(1);
  expect(waiting.seconds).toBe(60);
});

test('groups that are taken out and come back are decided anew, each in one tree only', async () => {
  const all = many(spacing(SECOND));
  const rig = await rigged(all);
  expect(await rig.admission.reconfigure(all.slice(0, 10))).toEqual([]);
  expect(await rig.admission.groups()).toHaveLength(10);
  expect(await rig.admission.reconfigure(all)).toEqual([]);
  expect(await rig.admission.groups()).toHaveLength(MANY);
  // What its tree had on disk counts as spent up to now.
  const last = rig.ask({ group: `g${MANY - 1}` });
  await rig.pass(1);
  expect(last.seconds).toBe(1);
});
