import fc from 'fast-check';
import { describe, it } from 'vitest';
import { planOf } from './plans.ts';
import { Play } from './play.ts';

/** More by `RUNS=10`; a failure prints the seed and path, kept below as a test of its own. */
const runs = Number(process.env['RUNS'] ?? 1);

describe('the gate against the model', () => {
  it('decides as the model does, for every tree, limit, order and change whose order is fully determined', () => {
    fc.assert(
      fc.property(planOf('none'), (plan) => new Play(plan.groups, { model: true }).run(plan)),
      { numRuns: 1_500 * runs },
    );
  });

  it('decides the same when bounds are recorded and acknowledged at once (who waits for the disk is passed by other keys and groups: one group, no keys)', () => {
    fc.assert(
      fc.property(planOf('none', { requests: 100, scope: 'group', groups: 1 }), (plan) => new Play(plan.groups, { model: true, recording: true }).run(plan)),
      { numRuns: 500 * runs },
    );
  });

  it('decides as the model does where limits adapt', () => {
    fc.assert(
      fc.property(planOf('none', { adapting: true }), (plan) => new Play(plan.groups, { model: true }).run(plan)),
      { numRuns: 1_000 * runs },
    );
  });

  it('keeps every promise between keys that share fairly limits that adapt, and shares of them', () => {
    fc.assert(
      fc.property(planOf('key', { adapting: true }), (plan) => new Play(plan.groups, { model: false, recording: true }).run(plan)),
      { numRuns: 500 * runs },
    );
  });

  it('keeps every promise where limits adapt and timers come late', () => {
    fc.assert(
      fc.property(planOf('key', { adapting: true }), (plan) => new Play(plan.groups, { model: false, late: true }).run(plan)),
      { numRuns: 500 * runs },
    );
  });

  it('keeps every promise when bounds are recorded', () => {
    fc.assert(
      fc.property(planOf('key'), (plan) => new Play(plan.groups, { model: false, recording: true }).run(plan)),
      { numRuns: 500 * runs },
    );
  });

  it('keeps every promise between keys that share fairly', () => {
    fc.assert(
      fc.property(planOf('key'), (plan) => new Play(plan.groups, { model: false }).run(plan)),
      { numRuns: 1_000 * runs },
    );
  });

  it('keeps every promise when timers come late', () => {
    fc.assert(
      fc.property(planOf('key'), (plan) => new Play(plan.groups, { model: false, late: true }).run(plan)),
      { numRuns: 1_000 * runs },
    );
  });
});
