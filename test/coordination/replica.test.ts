import { describe, expect, it } from 'vitest';
import { LeadershipLost } from '../../src/coordination/coordinator.ts';
import { createReplica } from '../../src/coordination/replica-driver.ts';
import { TIMING } from '../../src/coordination/timing.ts';
import { MILLISECOND, SECOND } from '../../src/core/time.ts';
import { Replicas, type Rig } from './replicas.ts';

const SHARDS = 12;

async function three(): Promise<{ world: Replicas; a: Rig; b: Rig; c: Rig }> {
  const world = new Replicas(SHARDS);
  const [a, b, c] = ['a', 'b', 'c'].map((name) => world.add(name)) as [Rig, Rig, Rig];
  await world.run(3_000);
  return { world, a, b, c };
}

/** Who was gone at some change of the peers. */
function goneFor(rig: Rig) {
  return rig.events.flatMap((event) => (event.kind === 'peers' ? (event.gone ?? []) : []));
}

describe('replicas', () => {
  it('share all shards out, and each knows where each is', async () => {
    const { world, a, b, c } = await three();
    expect(world.idle()).toEqual([]);
    for (const shard of world.every()) {
      const [owner] = world.deciders(shard);
      for (const { name, replica } of [a, b, c]) {
        const at = replica.locate(shard);
        if (name === owner) expect(at.at).toBe('here');
        else expect(at).toMatchObject({ at: 'peer', instance: `${owner}-1` });
      }
    }
    expect(a.replica.peers()).toHaveLength(2);
    expect(a.replica.views().map(({ owner }) => owner)).toEqual(world.every().map((shard) => world.deciders(shard)[0]));
    for (const rig of [a, b, c]) expect(rig.troubles()).toEqual([]);
    expect(a.events).toContainEqual({ kind: 'reachable', reachable: true });
  });

  it('replace one that died: the next decision comes within 1.25 s, and not before its slots end', async () => {
    const { world, a } = await three();
    const mine = world.every().filter((shard) => a.decides(shard));
    expect(mine.length).toBeGreaterThan(0);
    const until = Math.max(...mine.map((shard) => a.shardTrees.get(shard)?.leaderLease.until() ?? 0));
    a.stop();
    await world.run((until - world.clock.now()) / MILLISECOND - 210);
    expect(world.idle()).toEqual(mine);
    await world.run(460);
    expect(world.idle()).toEqual([]);
    for (const rig of world.all) {
      if (rig === a) continue;
      expect(rig.replica.peers()).toHaveLength(1);
      expect(goneFor(rig)).toEqual([{ replica: 'a', instance: 'a-1', shards: mine.length, leaving: false }]);
    }
  });

  it('give everything away when they leave, and nobody waits for slots', async () => {
    const { world, a, b } = await three();
    let gone = false;
    const leaving = a.replica.leave().then(() => {
      gone = true;
    });
    for (let step = 0; step < 20 && !gone; step++) {
      await world.run(20);
      expect(world.idle().length).toBeLessThanOrEqual(2);
    }
    await leaving;
    expect(world.loads()['a']).toBe(0);
    expect(world.idle()).toEqual([]);
    expect(a.events.filter(({ kind }) => kind === 'reachable')).toHaveLength(1);
    await world.run(1_000);
    expect(b.replica.peers().map(({ replica }) => replica)).toEqual(['c']);
    expect(goneFor(b)).toEqual([{ replica: 'a', instance: 'a-1', shards: 0, leaving: true }]);
    expect(await a.replica.leave()).toBeUndefined();
  });

  it('leave at the bound, where a seal is never written', async () => {
    const world = new Replicas(2);
    const a = world.add('a');
    await world.run(2_000);
    a.replica.sealed = () => {};
    let gone = false;
    void a.replica.leave(SECOND).then(() => {
      gone = true;
    });
    await world.run(900);
    expect(gone).toBe(false);
    expect(world.deciders(0)).toEqual(['a']);
    await world.run(200);
    expect(gone).toBe(true);
    expect(a.shardTrees.size).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it('decide nothing when they run again after a pause, before anything has told them', async () => {
    const { world, a } = await three();
    const shardTrees = [...a.shardTrees.values()];
    a.stop();
    await world.run(3_000);
    for (const { clock, leaderLease } of shardTrees) expect(clock.now()).toBeGreaterThanOrEqual(leaderLease.until());
    await a.resume();
    await world.run(60);
    expect(a.troubles().some((what) => what.includes('was stopped for'))).toBe(true);
    for (const { clock, leaderLease } of shardTrees) await expect(leaderLease.extend(clock.now())).rejects.toBeInstanceOf(LeadershipLost);
    expect(a.events).not.toContainEqual({ kind: 'reachable', reachable: false });
    await world.run(1_000);
    expect(world.idle()).toEqual([]);
  });

  it('lose everything within the horizon when the registers do not answer, and say so; then come back', async () => {
    const { world, a, b } = await three();
    const mine = world.every().filter((shard) => a.decides(shard));
    a.cut = true;
    await world.run(1_000);
    expect(world.loads()['a']).toBe(0);
    await world.run(1_500);
    expect(world.idle()).toEqual([]);
    expect(a.events).toContainEqual({ kind: 'reachable', reachable: false });
    for (const shard of mine) expect(a.replica.locate(shard).at).toBe('peer');
    expect(b.events).not.toContainEqual({ kind: 'reachable', reachable: false });
    a.cut = false;
    await world.run(1_000);
    expect(a.events.findLast(({ kind }) => kind === 'reachable')).toEqual({ kind: 'reachable', reachable: true });
  });

  it('give everything up at once when the machine was suspended', async () => {
    const { world, a } = await three();
    const shardTrees = [...a.shardTrees.values()];
    a.asleep = SECOND;
    await world.run(50);
    expect(a.shardTrees.size).toBe(0);
    for (const { leaderLease } of shardTrees) expect(leaderLease.until()).toBe(0);
    expect(a.troubles()[0]).toContain('suspended');
    await world.run(1_000);
    expect(world.idle()).toEqual([]);
  });

  it('give all to who runs by the newest configuration, once that has stood still', async () => {
    const { world, a, b, c } = await three();
    c.replica.revise({ number: 2, hash: 'y' });
    await world.run(4_000);
    expect(world.loads()['a']).toBeGreaterThan(0);
    await world.run(3_000);
    expect(world.loads()).toEqual({ a: 0, b: 0, c: SHARDS });
    b.replica.revise({ number: 2, hash: 'y' });
    a.replica.revise({ number: 2, hash: 'other' });
    await world.run(10_000);
    expect(Math.min(...Object.values(world.loads()))).toBeGreaterThan(1);
    expect(b.troubles()).toEqual(['Replica a runs another configuration of the same revision 2.']);
    expect(a.replica.peers().map(({ revision, hash }) => [revision, hash])).toEqual([
      [2, 'y'],
      [2, 'y'],
    ]);
  });

  it('are found under their new name when the links begin anew', async () => {
    const { world, a, b } = await three();
    const shard = world.every().find((each) => a.decides(each)) ?? -1;
    a.replica.replaceInstance('a-2');
    expect(a.replica.instance).toBe('a-2');
    await world.run(220);
    expect(b.replica.locate(shard)).toMatchObject({ at: 'peer', instance: 'a-2' });
    await world.run(2_000);
    expect(a.decides(shard)).toBe(true);
  });
});

describe('the driver', () => {
  it('says what goes wrong, once, and goes on', async () => {
    const { world, a } = await three();
    world.beat(new TextEncoder().encode('{"session":"s"}'));
    world.beat(new TextEncoder().encode('nonsense'));
    await world.run(5);
    expect(a.troubles()).toEqual(['A message or a response cannot be read.']);
    a.listener = () => {
      throw new Error('a listener broke');
    };
    a.failing = true;
    await world.run(3_000);
    expect(a.troubles()).toContain('The registers cannot be reached.');
    expect(a.troubles().filter((what) => what.includes("'lost'"))).toHaveLength(1);
    a.failing = false;
    a.listener = () => {};
    await world.run(2_000);
    expect(world.idle()).toEqual([]);
  });

  it('answers an extension that comes too late with the next renewal, or with nothing after 250 ms', async () => {
    const world = new Replicas(1);
    const a = world.add('a');
    await world.run(2_000);
    const ground = a.shardTrees.get(0);
    if (ground === undefined) throw new Error('nothing was gained');
    const { leaderLease, clock } = ground;
    expect(leaderLease.extend(clock.now())).toBeUndefined();
    let looked = 0;
    const ahead = leaderLease.until();
    const waiting = leaderLease.extend(ahead)?.then(() => looked++);
    await world.run(210);
    expect([looked, leaderLease.until() > ahead]).toEqual([1, true]);
    await waiting;
    a.cut = true;
    const more = leaderLease.extend(leaderLease.until())?.then(() => looked++);
    await world.run(240);
    expect(looked).toBe(1);
    await world.run(20);
    await more;
    expect(looked).toBe(2);
  });

  it('keeps what it owns while each renewal is answered only after it was given up and asked again', async () => {
    const { world, a } = await three();
    const loads = world.loads();
    expect(loads['a']).toBeGreaterThan(0);
    a.slow = 300 * MILLISECOND;
    for (let step = 0; step < 200; step++) {
      await world.run(50);
      expect(world.idle()).toEqual([]);
    }
    expect(world.loads()).toEqual(loads);
    expect(a.troubles()).toEqual([]);
  });

  it('reads the answer to its renewal before it looks at the time, after it stood still for 0.9 s', async () => {
    const world = new Replicas(SHARDS);
    const a = world.add('a');
    await world.run(2_000);
    a.slow = 50 * MILLISECOND;
    let beats = 0;
    world.listen(() => beats++);
    while (beats === 0) await world.run(1);
    a.stop();
    await world.run(900);
    await a.resume();
    expect(a.events.filter(({ kind }) => kind === 'lost')).toEqual([]);
    await world.run(100);
    expect(world.idle()).toEqual([]);
    expect(a.events.filter(({ kind }) => kind === 'lost')).toEqual([]);
  });

  it('owns nothing while answers take longer than the slots that they make, and is back once they do not', async () => {
    const { world, a } = await three();
    a.slow = 1_100 * MILLISECOND;
    await world.run(1_100);
    expect(world.loads()['a']).toBe(0);
    await world.run(2_000);
    expect(world.idle()).toEqual([]);
    expect(world.loads()['a']).toBe(0);
    a.slow = 0;
    await world.run(2_000);
    expect(a.events.findLast(({ kind }) => kind === 'reachable')).toEqual({ kind: 'reachable', reachable: true });
    expect(a.troubles()).toEqual([]);
  });

  it('does nothing before it is started, and leaves at once then', async () => {
    const world = new Replicas(1);
    const calls: string[] = [];
    const replica = createReplica({
      replica: 'a',
      instance: 'a-1',
      shards: 1,
      timing: TIMING,
      registers: world.registers,
      messages: { publish: () => calls.push('beat'), onHeartbeat: () => () => {} },
      notify: () => calls.push('notify'),
      clocks: { reading: () => world.reading(), uptime: () => undefined },
      timers: { after: () => () => {} },
      newName: () => 'x',
      revision: { number: 1, hash: '' },
      onEvent: ({ kind }) => calls.push(kind),
    });
    replica.halt(0, 1n);
    replica.onShardOffered(0, 1n);
    expect(replica.locate(0)).toEqual({ at: 'nowhere' });
    await replica.leave();
    expect(calls).toEqual([]);
  });
});
