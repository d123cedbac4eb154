import fc from 'fast-check';
import type { Gate } from '../../../src/core/gate.ts';
import { arrivalOf } from '../../../src/core/permit.ts';
import { HOUR, MILLISECOND, SECOND } from '../../../src/core/time.ts';
import { Checker } from '../checker.ts';
import { Driver } from '../driver.ts';
import { permitOf } from '../handle.ts';
import { livesOf, liveThrough, longTree } from '../lives.ts';
import { planOf, treeOf } from '../model/plans.ts';
import { Play } from '../model/play.ts';
import { fixed, group, rate, rolling, START } from '../specs.ts';

type GateClass = typeof Gate;

/** The same plans for every hunt: a mutant that escapes today is not caught by luck tomorrow. */
const seed = 20_260_105;
const compared = fc.sample(planOf('none'), { seed, numRuns: 600 });
const fair = fc.sample(planOf('key'), { seed, numRuns: 200 });
const lives = fc.sample(livesOf, { seed, numRuns: 250 });
const trees = fc.sample(treeOf('none'), { seed, numRuns: 100 });

/** Looks for a broken promise by a bounded number of plans; answers the first complaint, undefined when there is none. */
export function hunt(gateClass: GateClass): string | undefined {
  try {
    mergesLate(gateClass);
    sharesByWeight(gateClass);
    outlivesItsBound(gateClass);
    comesAgain(gateClass);
    for (const plan of fair) new Play(plan.groups, { gateClass, model: false, recording: true }).run(plan);
    for (const plan of compared) new Play(plan.groups, { gateClass, model: true }).run(plan);
    for (const [index, life] of lives.entries()) liveThrough(trees[index] ?? longTree, life, gateClass);
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
