import { expect, test } from 'vitest';
import { OwnersWorld, type Process, wrongDeliveries } from './owners-world.ts';

/* Owners of a shard that change in order, by silence and by kills, in virtual time: what they send, and what they send again. */

/** What befalls the replicas, by what may. */
async function play(seed: number, more: { readonly silences?: boolean; readonly kills?: boolean; readonly lag?: boolean; readonly lossy?: number } = {}) {
  const world = new OwnersWorld(seed);
  for (let count = 0; count < 3; count++) await world.process();
  world.give(world.processes[0] as Process);
  const silent = new Set<Process>();
  const ids: string[] = [];
  const anyOf = <T>(from: readonly T[]): T => from[Math.floor(world.random() * from.length)] as T;
  world.lossy = more.lossy ?? 0;
  for (let step = 0; step < 40; step++) {
    const drawn = world.random();
    const { owner } = world;
    const other = anyOf(world.alive.filter((each) => each !== owner));
    if (drawn < 0.15) await world.handOver(other);
    else if (drawn < 0.25 && more.silences === true && owner !== undefined) {
      silent.add(owner);
      await world.takeOver(other, 200 + world.random() * 2_000);
    } else if (drawn < 0.3 && more.kills === true) {
      owner?.kill();
      await world.pass(1_000);
      await world.takeOver(other, 0);
      await world.process();
    } else if (drawn < 0.4 && more.lag === true) world.streams.lag = world.streams.lag > 0 ? 0 : Math.ceil(world.random() * 20);
    else {
      // Edges are asked where nothing is lost: what they do about it is shown elsewhere.
      const { lossy } = world;
      world.lossy = 0;
      for (let count = 0; count < 3; count++) ids.push(await anyOf(world.alive).submit());
      world.lossy = lossy;
    }
    await world.pass(world.random() ** 2 * 1_500);
  }
  world.lossy = 0;
  world.streams.lag = 0;
  await world.pass(120_000);
  const states = [];
  for (const id of ids) states.push(await (world.alive[0] as Process).stateOf(id));
  return { world, states, wrong: wrongDeliveries(ids, world.seen, silent) };
}

const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1);

test.each(SEEDS)('Owners that change in order send each request once, numbers and all, and each ends as done (seed %i)', async (seed) => {
  const { states, wrong, world } = await play(seed);
  expect(wrong).toEqual([]);
  expect(new Set(states)).toEqual(new Set(['done']));
  expect(world.faults).toEqual([]);
});

test.each(SEEDS)(
  'Owners that are silent, killed, or lose messages repeat what they had on its way, one attempt on, and nothing else (seed %i)',
  async (seed) => {
    const { states, wrong } = await play(seed, { silences: true, kills: true, lossy: 0.05 });
    expect(wrong).toEqual([]);
    expect(new Set(states)).toEqual(new Set(['done']));
  },
);

test.each(SEEDS)('None is given up since the leader of a stream lags behind what it has acknowledged (seed %i)', async (seed) => {
  const { states, wrong } = await play(seed, { silences: true, kills: true, lossy: 0.05, lag: true });
  // An end that cannot be seen yet may be repeated.
  expect(wrong.filter((each) => !each.includes('lived on'))).toEqual([]);
  expect(new Set(states)).toEqual(new Set(['done']));
});

test('What a request waits for is said by its owner; of another replica its due time is known', async () => {
  const world = new OwnersWorld(1);
  const [owner, other] = [await world.process(), await world.process()] as const;
  world.give(owner);
  const id = await other.submit({ notBeforeMs: world.clock.epoch(world.clock.now()) + 60_000 });
  const next = await other.submit({ key: 'k', notBeforeMs: undefined });
  await world.pass(2_000);
  expect(await owner.show(id)).toMatchObject({ state: 'pending', waitsFor: 'due' });
  expect(await other.show(id)).toMatchObject({ state: 'pending', waitsFor: 'due' });
  expect(await other.show(next)).toMatchObject({ waitsFor: '' });
});
