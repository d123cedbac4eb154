import { expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { type Caller, settingsOf } from '../admission/rig.ts';
import { concurrency, group, spacing } from '../core/specs.ts';
import { Dice } from '../sim/dice.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Fleet, launched, type Node } from './fleet.ts';

const settings: readonly GroupSettings[] = [settingsOf(group('lease', [concurrency(3)])), settingsOf(group('pace', [spacing(SECOND / 2)]))];

/** What the judge knows: only what callers saw and did. */
interface Actor {
  readonly caller: Caller;
  readonly node: Node;
  readonly group: string;
  /** Left before it was told anything, or without having written its permit. */
  gone: boolean;
  delivered: boolean;
  released: boolean;
}

interface Life {
  readonly seed: number;
  readonly dice: Dice;
  readonly fleet: Fleet;
  readonly actors: Actor[];
}

/** Leases that somebody surely holds. */
function held({ actors }: Life): number {
  const ids = new Set<string>();
  for (const { caller, node, group: name, delivered, released } of actors) {
    if (name !== 'lease' || !delivered || released || caller.outcome?.kind !== 'admitted') continue;
    if ((caller.permit.lease?.expiresAt ?? 0) - node.clock.now() > SECOND / 2) ids.add(caller.id);
  }
  return ids.size;
}

function ask({ dice, fleet, actors }: Life): void {
  const node = dice.pick(fleet.nodes);
  const name = dice.pick(['lease', 'pace']);
  const caller = node.ask({
    group: name,
    wait: dice.pick([0, 2, 20, 60]) * SECOND,
    lease: 600 * SECOND,
    ...(dice.chance(0.2) ? { requestId: `r${actors.length}` } : {}),
  });
  actors.push({ caller, node, group: name, gone: false, delivered: false, released: false });
}

function act(life: Life): void {
  const { dice, actors } = life;
  if (actors.length === 0) return;
  const actor = dice.pick(actors);
  const { caller, node } = actor;
  if (actor.gone) return;
  const admitted = caller.outcome?.kind === 'admitted';
  if (admitted && !actor.delivered && dice.chance(0.8)) {
    caller.held.delivered();
    actor.delivered = true;
  } else if (!actor.delivered && dice.chance(0.3)) {
    caller.held.cancel();
    actor.gone = true;
  } else if (actor.delivered && !actor.released && actor.group === 'lease') {
    actor.released = true;
    void dice.pick([node, dice.pick(life.fleet.nodes)]).relay.admission.release({ caller: '', permit: caller.id, disposition: 'used' });
  }
}

/** A new term for some shard, as a hand-over, or as after a lost session. */
async function move({ dice, fleet }: Life): Promise<void> {
  const moving = fleet.give(dice.below(4), dice.pick(fleet.nodes), { sealed: dice.chance(0.7) });
  await fleet.pass(0.02);
  await moving;
}

async function play(seed: number): Promise<void> {
  const dice = new Dice(seed);
  const fleet = await launched(settings, { seed });
  for (const node of fleet.nodes) node.delivers = false;
  const life: Life = { seed, dice, fleet, actors: [] };
  const bad = dice.chance(0.7);
  fleet.bus.network = { loss: bad ? 0.2 * dice.unit() : 0, doubling: bad ? 0.2 : 0, lateness: bad ? 0.2 : 0 };
  for (let step = 0; step < 250; step++) {
    const what = dice.unit();
    if (what < 0.35) ask(life);
    else if (what < 0.8) act(life);
    else if (what < 0.82) await move(life);
    else await fleet.pass(dice.unit());
    await settled();
    expect(held(life)).toBeLessThanOrEqual(3);
    for (const { caller } of life.actors) expect(caller.told).toBeLessThanOrEqual(1);
  }
  await end(life);
}

/** Everybody has one end, and what is out there is what callers know to hold. */
async function end(life: Life): Promise<void> {
  const { fleet, actors } = life;
  fleet.bus.network = { loss: 0, doubling: 0, lateness: 0 };
  for (let round = 0; round < 30; round++) {
    await fleet.pass(4);
    for (const actor of actors) {
      if (actor.gone || actor.caller.outcome?.kind !== 'admitted') continue;
      if (!actor.delivered) {
        actor.caller.held.delivered();
        actor.delivered = true;
      }
    }
  }
  await fleet.pass(5);
  for (const { caller, gone } of actors) expect(caller.told).toBe(gone ? caller.told : 1);
  for (const node of fleet.nodes) expect(node.relay.figures).toMatchObject({ remoteWaiters: 0 });
  expect(fleet.nodes.flatMap(({ events }) => events)).toEqual([]);
  const asking = fleet.nodes[1]!.relay.admission.leases('lease', { size: 1000, token: '' });
  await fleet.pass(1);
  const leases = await asking;
  if ('reason' in leases) throw new Error(leases.reason);
  const known = new Set(actors.filter(({ delivered, released, group: name }) => name === 'lease' && delivered && !released).map(({ caller }) => caller.id));
  const out = leases.items.map(({ id }) => id);
  for (const id of known) expect(out, 'held by a caller').toContain(id);
  // An end that was not on disk when its owner lost the shard is lost with it: that lease lasts to its own end.
  const excused = fleet.lostTerms.get(fleet.shardOf('lease')) ?? 0n;
  for (const { id, fence } of leases.items) if (!known.has(id)) expect(fence >> 40n, `${id} is nobody's`).toBeLessThanOrEqual(excused);
}

test(
  'Whatever callers, owners and the network do: everybody is told once, and the leases that are out are those that callers hold',
  async () => {
    for (let seed = 1; seed <= 12; seed++) {
      try {
        await play(seed);
      } catch (cause) {
        throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause });
      }
    }
  },
  MINUTE / 1000,
);

test(
  'Over replicas that lose, double and delay messages, waiters go in the order in which the owner met them',
  async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const dice = new Dice(seed);
      const fleet = await launched([settingsOf(group('pace', [spacing(SECOND)]))], { seed });
      fleet.bus.network = { loss: 0.1, doubling: 0.1, lateness: 0.2 };
      fleet.nodes[0]!.ask({ group: 'pace' });
      const callers: Caller[] = [];
      for (let count = 0; count < 12; count++) {
        callers.push(dice.pick(fleet.nodes).ask({ group: 'pace' }));
        // Further apart than any message is late, resent twice.
        await fleet.pass(0.3);
      }
      for (let moves = 0; moves < 2; moves++) {
        const moving = fleet.give('pace'.charCodeAt(3) % 4, dice.pick(fleet.nodes), { sealed: dice.chance(0.5) });
        await fleet.pass(1.5);
        await moving;
      }
      await fleet.pass(60);
      const times = callers.map(({ at }) => at as number);
      expect(times, `seed ${seed}`).toEqual([...times].sort((a, b) => a - b));
      expect(
        callers.every(({ told, outcome }) => told === 1 && outcome?.kind === 'admitted'),
        `seed ${seed}`,
      ).toBe(true);
    }
  },
  MINUTE / 1000,
);

/** A reload of all replicas, whose process clocks differ by a thousand seconds each, then the death of two of them. */
async function reloadThenKill(seed: number): Promise<void> {
  const dice = new Dice(seed);
  const groups = [0, 1, 2, 3].map((shard) => settingsOf(group(`pace${shard}`, [spacing(SECOND)])));
  const fleet = await launched(groups, { seed });
  const survivor = dice.pick(fleet.nodes);
  for (const shard of [0, 1, 2, 3]) await fleet.give(shard, dice.pick(fleet.nodes), { sealed: true, from: -SECOND });
  await fleet.pass(dice.unit());
  const callers = groups.map(({ spec }) => survivor.ask({ group: spec.name, wait: MINUTE }));
  const reloads = fleet.nodes.map(async (node) => ({ node, refused: await node.relay.admission.reconfigure(groups) }));
  await fleet.pass(dice.chance(0.3) ? 0 : 6 * dice.unit());
  const dead = fleet.nodes.filter((node) => node !== survivor);
  for (const node of dead) fleet.kill(node);
  await fleet.pass(1);
  for (const [shard, { node }] of [...fleet.owners]) if (node.dead) await fleet.give(shard, survivor, { from: dice.unit() * SECOND });
  callers.push(...groups.map(({ spec }) => survivor.ask({ group: spec.name, wait: MINUTE })));
  await fleet.pass(6);
  for (const { outcome, told } of callers) expect({ kind: outcome?.kind, told }).toEqual({ kind: 'admitted', told: 1 });
  for (const { node, refused } of await Promise.all(reloads)) if (!node.dead) expect(refused).toEqual([]);
}

test(
  'After a reload of all replicas, whose clocks differ, and the death of two of them at any moment, the third decides for all groups within seconds',
  async () => {
    for (let seed = 1; seed <= 30; seed++) {
      try {
        await reloadThenKill(seed);
      } catch (cause) {
        throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause });
      }
    }
  },
  MINUTE / 1000,
);
