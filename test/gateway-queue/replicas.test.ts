import { describe, expect, test } from 'vitest';
import { gatewayQueueGroup, SESSION_STARTS } from '../../src/config/gateway-queue-options.ts';
import type { Config } from '../../src/config/load.ts';
import { SECOND } from '../../src/core/time.ts';
import { START } from '../core/specs.ts';
import { type Fleet, launched, type Node } from '../relay/fleet.ts';
import { FakeDiscord, type FakeDiscordOptions } from './discord.ts';
import { optionsOf, QueueFront, type Shard, times } from './rig.ts';

/* Three replicas in virtual time, whose clocks have nothing to do with each other: one line, one spacing and one budget over all of them. */

interface Fronts {
  readonly fleet: Fleet;
  readonly fronts: readonly QueueFront[];
  readonly discord: FakeDiscord | undefined;
  readonly group: string;
}

async function replicas(text = '', given?: Omit<FakeDiscordOptions, 'now'>): Promise<Fronts> {
  const options: Config['gatewayQueue'] = optionsOf(given === undefined ? text : `token: { env: T }, ${text}`);
  const fleet = await launched([gatewayQueueGroup(options)]);
  const discord = given && new FakeDiscord({ now: () => fleet.clock.now(), ...given });
  const seconds = (): number => (fleet.clock.now() - START) / SECOND;
  const fronts = fleet.nodes.map((node) => new QueueFront({ options, admission: node.relay.admission, clock: node.clock, discord, seconds }));
  await fleet.pass(0.1);
  return { fleet, fronts, discord, group: options.group };
}

/** Session starts that are left, asked at one replica. */
async function leftAt(fleet: Fleet, node: Node, group: string): Promise<number> {
  const asked = node.relay.admission.group(group);
  await fleet.pass(0.1);
  const view = await asked;
  if ('reason' in view) throw new Error(view.reason);
  const { capacity = 0, used = 0 } = view.limits.find(({ name }) => name === SESSION_STARTS) ?? {};
  return capacity - used;
}

describe('Three replicas', () => {
  test('GQ-16: thirty clients spread over them go one per period, in the order in which they came', async () => {
    const { fleet, fronts } = await replicas();
    const shards: Shard[] = [];
    for (let client = 0; client < 30; client++) {
      shards.push(fronts[client % 3]!.ask(client));
      await fleet.pass(0.01);
    }
    await fleet.pass(160);
    const at = times(shards);
    expect(at).toEqual(at.toSorted((a, b) => a! - b!));
    for (let next = 1; next < at.length; next++) expect(at[next]! - at[next - 1]!).toBeGreaterThanOrEqual(5 - 0.002);
    expect(Math.abs(at[29]! - at[0]! - 145)).toBeLessThanOrEqual(1);
  });

  test('The budget is one over all of them, and exact when the one that decides dies', async () => {
    const { fleet, fronts, discord, group } = await replicas('', { total: 1000, remaining: 100, maxConcurrency: 4 });
    const shards = Array.from({ length: 16 }, (_, shard) => fronts[shard % 3]!.ask(shard));
    await fleet.pass(7);
    const dead = shards.filter((_, shard) => shard % 3 === 0 && shards[shard]!.at === undefined);
    fronts[0]!.stop();
    fleet.kill(fleet.nodes[0]!);
    for (const shard of dead) shard.leave();
    await fleet.pass(0.5);
    for (const shard of [0, 1, 2, 3]) await fleet.give(shard, fleet.nodes[1]!, { from: SECOND });
    const again = dead.map(({ shard }) => fronts[1 + (shard % 2)]!.ask(shard));
    await fleet.pass(60);
    const all = [...shards.filter((shard) => !dead.includes(shard)), ...again];
    expect(times(all).filter((at) => at === undefined)).toEqual([]);
    discord!.judge(5 * SECOND - 2_000);
    expect(discord!.identifies).toHaveLength(16);
    expect(await leftAt(fleet, fleet.nodes[2]!, group)).toBe(84);
  });

  test('What others spend is counted once, though all three report it', async () => {
    const { fleet, discord, group } = await replicas('refresh: 60s', { total: 100 });
    for (let other = 0; other < 30; other++) discord!.identify(other);
    await fleet.pass(200);
    expect(await leftAt(fleet, fleet.nodes[2]!, group)).toBe(70);
  });

  test('A shard that comes back to its replica within 10 s finds its place', async () => {
    const { fleet, fronts } = await replicas();
    fronts[0]!.ask(0);
    await fleet.pass(0.1);
    const lost = fronts[1]!.ask(1);
    await fleet.pass(0.1);
    const later = fronts[2]!.ask(2);
    await fleet.pass(1);
    lost.leave();
    await fleet.pass(1);
    const back = fronts[1]!.ask(1);
    await fleet.pass(30);
    expect(back.at).toBeLessThan(later.at!);
  });
});
