import fc from 'fast-check';
import type { Gate } from '../../../src/core/gate/gate.ts';
import type { Adapt } from '../../../src/core/group.ts';
import { arrivalOf } from '../../../src/core/request.ts';
import { HOUR, MILLISECOND, SECOND } from '../../../src/core/time.ts';
import { Checker } from '../checker.ts';
import { Driver } from '../driver.ts';
import { type Handle, permitOf } from '../handle.ts';
import { forwardLivesOf, forwardTrees, livesOf, liveThrough, longTree } from '../lives.ts';
import { withinNow } from '../model/agree.ts';
import { NaiveAdaptation } from '../model/naive-adaptation.ts';
import { planOf, treeOf } from '../model/plans.ts';
import { Play } from '../model/play.ts';
import { playStored, storedShape, storedStep } from '../model/stored-play.ts';
import { adaptive, backlog, concurrency, fixed, group, rate, rolling, START } from '../specs.ts';

type GateClass = typeof Gate;

/** The same plans for every hunt: a mutant that escapes today is not caught by luck tomorrow. */
const seed = 20_260_105;
const compared = fc.sample(planOf('none'), { seed, numRuns: 600 });
const adapting = fc.sample(planOf('none', { adapting: true }), { seed, numRuns: 200 });
const fair = fc.sample(planOf('key'), { seed, numRuns: 200 });
const lives = fc.sample(livesOf, { seed, numRuns: 250 });
const forwarding = fc.sample(fc.tuple(fc.constantFrom(...forwardTrees), forwardLivesOf), { seed, numRuns: 600 });
const storing = fc.sample(fc.tuple(storedShape, fc.array(storedStep, { minLength: 30, maxLength: 60 })), { seed, numRuns: 60 });
const trees = fc.sample(treeOf('none'), { seed, numRuns: 100 });

/** Looks for a broken promise by a bounded number of plans; answers the first complaint, undefined when there is none. */
export function hunt(gateClass: GateClass): string | undefined {
  try {
    mergesLate(gateClass);
    sharesByWeight(gateClass);
    outlivesItsBound(gateClass);
    outlivesItsAggregate(gateClass);
    comesAgain(gateClass);
    comesAgainInTime(gateClass);
    holdsTheKeyless(gateClass);
    boundsDebts(gateClass);
    for (const plan of fair) new Play(plan.groups, { gateClass, model: false, recording: true }).run(plan);
    for (const plan of compared) new Play(plan.groups, { gateClass, model: true }).run(plan);
    for (const plan of adapting) new Play(plan.groups, { gateClass, model: true }).run(plan);
    measures(gateClass);
    offersAnew(gateClass);
    for (const [shape, steps] of storing) playStored(shape, steps, gateClass);
    for (const [index, life] of lives.entries()) liveThrough(trees[index] ?? longTree, life, gateClass);
    for (const [tree, life] of forwarding) liveThrough(tree, life, gateClass);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Windows merge what is closer than per/4096: many admissions in few of these grains. */
function mergesLate(gateClass: GateClass): void {
  const groups = [group('grains', [rolling(40, 40_960)])];
  const driver = new Driver({ groups, gateClass });
  const checker = new Checker(groups);
  driver.onAdmitted = (handle) => checker.admitted((handle.at ?? START) - START, 'grains', '', handle.ask.costs, 0);
  for (let step = 0; step < 400; step += 1) {
    driver.ask({ ttl: HOUR });
    driver.advance(3 + (step % 7));
  }
  driver.advance(SECOND);
  if (checker.complaints.length > 0) throw new Error(checker.complaints.join('; '));
}

/** Two keys of weights 1 and 3 over a backlog. */
function sharesByWeight(gateClass: GateClass): void {
  const groups = [group('fair', [rate(1000, SECOND)], { fairness: { by: 'key', weights: new Map([['heavy', 3]]) } })];
  const driver = new Driver({ groups, gateClass });
  for (let index = 0; index < 400; index += 1) for (const key of ['light', 'heavy']) driver.ask({ key });
  driver.advance(0.4 * SECOND);
  const heavy = driver.log.filter((line) => line.what === 'admitted' && line.handle.ask.key === 'heavy').length;
  if (Math.abs(heavy / driver.times().length - 0.75) > 0.01) throw new Error(`weight 3 of 4 had ${heavy} of ${driver.times().length}`);
}

/** Busy, then hardly asked, then busy again and fast: how many may be held at every moment is as the naive reading says. */
function measures(gateClass: GateClass): void {
  const spec = adaptive(40, { initial: 30 });
  const driver = new Driver({ groups: [group('backend', [spec])], gateClass });
  const naive = new NaiveAdaptation((spec.quota as { adapt: Adapt }).adapt, 40);
  const held: Handle[] = [];
  driver.onAdmitted = (handle) => {
    naive.took(driver.now, handle, 1);
    held.push(handle);
  };
  for (let end = 0; end < 4_000; end += 1) {
    const [servers, wanted] = end < 1_500 ? [8, 100] : end < 2_000 ? [8, 4] : [1_000, 100];
    const waiting = (): number => driver.gate.status(driver.now, 0).waiting;
    while (held.length < wanted && waiting() < 2) driver.ask({ lease: HOUR });
    const told = driver.gate.limits(driver.now, 0, '')[0];
    if (told?.capacity !== naive.limitAt(driver.now)) throw new Error(`${told?.capacity} may be held, ${naive.limitAt(driver.now)} should`);
    if (waiting() > 0 && held.length < naive.limitAt(driver.now)) throw new Error(`somebody waits, and ${held.length} are held of ${told.capacity}`);
    driver.advance(Math.ceil((100 * MILLISECOND) / Math.min(servers, held.length)));
    const handle = held.shift() as Handle;
    const how = end % 400 === 399 ? 'dropped' : 'used';
    naive.ended(driver.now, handle, how);
    driver.release(handle, how);
  }
}

/** Offered to the root under a limit that then becomes smaller. */
function offersAnew(gateClass: GateClass): void {
  const adapting = adaptive(4, { by: 'aimd', initial: 4, backoff: 0.5 });
  const groups = [group('root', [rolling(3, SECOND)]), group('child', [adapting], { parent: { group: 'root', share: undefined } })];
  const driver = new Driver({ groups, gateClass });
  driver.onAdmitted = (handle) => withinNow(driver, handle, groups);
  const [first] = ['a', 'b', 'c', 'd'].map((name) => driver.ask({ name, group: 'child', lease: HOUR }));
  driver.advance(SECOND / 2);
  driver.release(first as Handle, 'dropped');
  driver.advance(SECOND);
}

/** Two who were admitted come again, one after the other, to where they stood: before who waits now. */
function comesAgain(gateClass: GateClass): void {
  const driver = new Driver({ groups: [group('line', [rate(2, SECOND, 2)])], gateClass });
  const [first, second] = ['first', 'second'].map((name) => permitOf(driver.ask({ name })));
  driver.ask({ name: 'behind' });
  for (const permit of [first, second]) driver.ask({ name: `again ${permit?.order}`, since: permit && arrivalOf(permit) });
  driver.advance(2 * SECOND);
  const order = driver.admitted().slice(2).join(', ');
  if (order !== 'again 1, again 2, behind') throw new Error(`the order is ${order}`);
}

/** Who comes again, and has aged past whoever its key waits for, goes at once: it needs less. */
function comesAgainInTime(gateClass: GateClass): void {
  const driver = new Driver({ groups: [group('line', [rate(1, SECOND, 3, { scope: 'key' })], { aging: SECOND })], gateClass });
  const first = permitOf(driver.ask({ key: 'a', priority: 2 }));
  driver.advance(10 * SECOND);
  driver.ask({ key: 'a', cost: 3 });
  driver.ask({ key: 'a', cost: 3, priority: 1 });
  driver.advance(SECOND);
  const again = driver.ask({ key: 'a', priority: 2, since: arrivalOf(first) });
  if (again.fate !== 'admitted') throw new Error(`who came again is ${again.fate}`);
}

/** A huge settlement blocks a window for as many of its lengths as the group says. */
function boundsDebts(gateClass: GateClass): void {
  const driver = new Driver({ groups: [group('debt', [rolling(10, SECOND, { unit: 'tokens' })], { settleMax: 3 })], gateClass });
  driver.release(driver.ask({ costs: { tokens: 1 } }), 'used', { tokens: 1_000_000 });
  const waits = driver.ask({ costs: { tokens: 1 } });
  driver.advance(3 * SECOND + 1_000);
  if (waits.fate !== 'admitted') throw new Error(`after a debit of 3 windows at most it is ${waits.fate}`);
}

/** Callers without a key are no tenant: only the group's own bound holds for them. */
function holdsTheKeyless(gateClass: GateClass): void {
  const driver = new Driver({ groups: [group('full', [concurrency(1)], backlog({ requests: 3, perKey: 1 }))], gateClass });
  for (let index = 0; index < 5; index += 1) driver.ask();
  const { waiting } = driver.gate.status(driver.now, 0);
  if (waiting !== 3) throw new Error(`${waiting} wait without a key, of 3`);
}

/** A waiter of a child waits for the root; when it goes, the bound that it was first offered with no longer covers it. Then the process dies. */
export function outlivesItsBound(gateClass: GateClass): void {
  const groups = [
    group('root', [fixed(1, 100 * MILLISECOND)]),
    group('child', [rolling(1, 3_001 * MILLISECOND)], { parent: { group: 'root', share: undefined } }),
  ];
  const ask = (index: number, ttl: number) => ({ do: 'ask' as const, group: index, key: 'a', cost: 1, tokens: 0, ttl, lease: SECOND });
  const life = { ackDelay: 0, survivors: 0, down: 0, early: 0 };
  liveThrough(
    groups,
    [
      { ...life, deeds: [ask(0, 0), ask(1, 100 * MILLISECOND), { do: 'run', by: 100 * MILLISECOND }] },
      { ...life, deeds: [ask(1, 2_942 * MILLISECOND), { do: 'run', by: 2_942 * MILLISECOND }] },
    ],
    gateClass,
  );
}

/** Told just before the process dies, a reported lease lives longer than what stood for one before it. */
function outlivesItsAggregate(gateClass: GateClass): void {
  const ask = { do: 'ask' as const, group: 0, key: 'a', cost: 1, tokens: 0, ttl: 0, lease: SECOND };
  const run = (millis: number) => ({ do: 'run' as const, by: millis * MILLISECOND });
  const life = { ackDelay: 100 * MILLISECOND, survivors: 0, down: 0, early: 0 };
  liveThrough(
    [group('slot', [concurrency(1)])],
    [
      { ...life, deeds: [{ ...ask, reported: true }, run(500), { do: 'release', pick: 0 }, run(1_000), { ...ask, reported: true }] },
      { ...life, deeds: [run(600), ask, run(100)] },
    ],
    gateClass,
  );
}
