import { describe, expect, test } from 'vitest';
import { LoopPace, type LoopPaceDeps, type Pace } from '../../src/admission/pace.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../../src/core/time.ts';
import { Replicas, type Rig } from '../coordination/replicas.ts';
import { FakeClock } from '../support/fakes/clock.ts';

const SHARDS = 12;

/** What a slice of 3 ms takes of the clock where the processor has many other things to do. */
const SLICE_MS = 600;

/** Registers that take as long to answer as NATS does. */
const ANSWER_MS = 10;

/** Resolves in the next turn of the event loop, whatever else is behind: as slices did before they had a pace. */
const everyTurn: Pace = { turn: () => Promise.resolve() };

function paceOf({ clock }: Replicas, { replica }: Rig): Pace {
  const after = (delay: Micros, act: () => void) => void clock.at(plus(clock.now(), delay), act);
  return new LoopPace({ mono: () => clock.now(), after, defer: (run) => run(), slack: () => replica.slack() });
}

/** Three replicas, one of which reloads in so many slices, each of which stops its event loop. Returns the shards that it lost, and how long it took. */
async function reload(
  slices: number,
  pace: (world: Replicas, rig: Rig) => Pace,
  answerMs = ANSWER_MS,
): Promise<{ readonly lost: number; readonly ms: number }> {
  const world = new Replicas(SHARDS);
  const [a] = ['a', 'b', 'c'].map((name) => world.add(name)) as [Rig, Rig, Rig];
  for (const rig of world.all) rig.slow = answerMs * MILLISECOND;
  await world.run(5_000);
  expect(world.idle()).toEqual([]);
  const turns = pace(world, a);
  const began = world.clock.now();
  for (let slice = 0; slice < slices; slice++) {
    let mayRun = false;
    void turns.turn().then(() => {
      mayRun = true;
    });
    await world.run(0);
    // In steps of a millisecond, the least that a timer of the event loop knows.
    for (let waited = 0; !mayRun && waited < 5_000; waited++) await world.run(1);
    expect(mayRun).toBe(true);
    a.stop();
    await world.run(SLICE_MS);
    await a.resume();
  }
  return { lost: a.events.filter(({ kind }) => kind === 'lost').length, ms: (world.clock.now() - began) / MILLISECOND };
}

describe('A reload whose slices take 200 times what they should', () => {
  test('starves the renewals when slices follow each other in every turn of the event loop', async () => {
    expect((await reload(20, () => everyTurn)).lost).toBeGreaterThan(0);
  });

  test('loses no shard when slices wait for renewals', async () => {
    const { lost, ms } = await reload(20, paceOf);
    expect(lost).toBe(0);
    expect(ms).toBeLessThan(20 * (SLICE_MS + 250));
  });

  test('comes to its end and loses no shard where the registers are slow to answer as well', async () => {
    expect((await reload(20, paceOf, 150)).lost).toBe(0);
  });
});

describe('A pace', () => {
  function paced(slack: LoopPaceDeps['slack'] = () => Number.POSITIVE_INFINITY) {
    const clock = new FakeClock();
    const world = { clock, lateMs: 0, slack };
    const after = (delay: Micros, act: () => void) => void clock.at(plus(clock.now(), delay + world.lateMs * MILLISECOND), act);
    const pace = new LoopPace({ mono: () => clock.now(), after, defer: (run) => run(), slack: () => world.slack() });
    /** How long a turn is waited for, in milliseconds. */
    const waits = async (): Promise<number> => {
      let turned = false;
      const began = clock.now();
      void pace.turn().then(() => {
        turned = true;
      });
      for (let step = 0; !turned && step < 10_000; step++) await clock.advanceAsync(MILLISECOND);
      return turned ? (clock.now() - began) / MILLISECOND : Number.NaN;
    };
    return { world, waits };
  }

  test('leaves the event loop half of its time while nothing is late', async () => {
    expect(await paced().waits()).toBe(3);
  });

  test('waits longer while timers are late, and a quarter of a second at most', async () => {
    const { world, waits } = paced();
    world.lateMs = 30;
    const waited = await waits();
    expect(waited).toBeGreaterThanOrEqual(250);
    expect(waited).toBeLessThan(350);
  });

  test('waits while too little is left of the slots, and goes on once they are renewed, however short they are', async () => {
    let left = 0.5 * SECOND;
    const { world, waits } = paced(() => left);
    expect(await waits()).toBeNaN();
    left = 0.4 * SECOND;
    const { waits: again } = paced(() => (left += 1));
    expect(await again()).toBeLessThan(20);
    world.slack = () => Number.POSITIVE_INFINITY;
    expect(await waits()).toBe(3);
  });
});
