import { setTimeout as wait } from 'node:timers/promises';
import type { NatsServer } from '../support/fakes/nats-server.ts';
import { monotonic } from './callers.ts';
import { type FaultKind, isOfNats, quietAfter } from './fault-kinds.ts';
import type { Fleet, FleetReplica } from './fleet.ts';
import { PROBED_SHARDS } from './groups.ts';
import type { HistoryLine } from './history.ts';
import type { NatsWatch } from './nats-watch.ts';
import { overrun } from './overrun.ts';
import type { Probes } from './probes.ts';

/** What a nemesis needs. */
export interface NemesisOptions {
  readonly fleet: Fleet;
  readonly watch: NatsWatch;
  readonly probes: Probes;
  /** The wall clocks can be set. */
  readonly walls: boolean;
  readonly write: (line: HistoryLine) => void;
  /** Evenly in [0, 1). */
  readonly random: () => number;
  readonly kinds: readonly FaultKind[];
  /** Told before each fault. */
  readonly progress: (count: number, kind: FaultKind, target: string) => void;
  /** How much of the usual quiet there is after a fault; 1 is all. */
  readonly quiet: number;
  /** Aborted: nothing more is begun. */
  readonly signal: AbortSignal;
}

/** One of so many faults comes with another. */
const TWO_OF = 7;

/** One of so many quiet times is long enough for shards to be moved. */
const LONG_OF = 8;
const LONG_MS = 7_000;

const HOUR_S = 3_600;

/** How far apart wall clocks are set around a reload. */
const APART_S = 600;

/** A file that has not changed is reloaded within this, also where wall clocks differ. */
const RELOADED_MS = 15_000;

interface Planned {
  readonly kind: FaultKind;
  readonly target: string;
  readonly run: () => Promise<void>;
}

/** Hurts a fleet: a fault, now and then two at once, until all is as before, then a while of quiet so that what it cost can be seen. */
export class Nemesis {
  readonly #parts: NemesisOptions;
  #left: FaultKind[] = [];

  constructor(parts: NemesisOptions) {
    this.#parts = parts;
  }

  /** This many faults, at targets by chance; every kind comes before any comes again. Rejects where a replica ended by itself. */
  async run(faults: number): Promise<void> {
    for (let count = 1; count <= faults && !this.#parts.signal.aborted; count++) {
      const planned = [await this.#plan()];
      if (count < faults && this.#below(TWO_OF) === 0) {
        const other = await this.#plan();
        if (goTogether(planned[0], other)) planned.push(other);
      }
      await Promise.all(planned.map((fault, index) => this.#one(count + index, fault)));
      count += planned.length - 1;
      this.#noneDied();
      const quiet = Math.max(...planned.map(({ kind }) => quietAfter(kind))) + this.#below(1_500);
      await wait(this.#parts.quiet * (this.#below(LONG_OF) === 0 ? LONG_MS : quiet));
    }
  }

  async #plan(): Promise<Planned> {
    const kind = this.#kind();
    const { fleet } = this.#parts;
    if (isOfNats(kind)) {
      const node = (kind === 'nats-leader' ? await fleet.leader() : undefined) ?? this.#pick(fleet.nats);
      return { kind, target: kind === 'nats-rolling' ? 'nats' : node.name, run: () => this.#hurtNats(kind, node) };
    }
    if (kind === 'rolling') return { kind, target: 'all', run: () => this.#roll() };
    // Callers are to notice nothing of it.
    if (kind === 'reload') return { kind, target: 'files', run: () => this.#reload() };
    const replica = this.#pick(fleet.replicas);
    if (kind === 'reload-kill') return { kind, target: 'all', run: () => this.#reloadAndKill(replica) };
    if (kind === 'overrun') {
      const owner = this.#ownerOfProbed() ?? replica;
      return { kind, target: `r${owner.index}`, run: () => this.#overrun(owner) };
    }
    // Its callers are to notice nothing of a wall clock.
    const target = kind === 'wall' ? `wall of r${replica.index}` : `r${replica.index}`;
    return { kind, target, run: () => this.#hurtReplica(kind, replica) };
  }

  #kind(): FaultKind {
    if (this.#left.length === 0) this.#left = [...this.#parts.kinds];
    return this.#left.splice(this.#below(this.#left.length), 1)[0] as FaultKind;
  }

  async #one(count: number, { kind, target, run }: Planned): Promise<void> {
    const { write, watch, progress } = this.#parts;
    progress(count, kind, target);
    const from = monotonic();
    const looking = isOfNats(kind) ? watch.during(write) : undefined;
    await run();
    await looking?.end();
    write({ op: 'fault', kind, target, from, until: monotonic() });
  }

  async #hurtReplica(kind: FaultKind, replica: FleetReplica): Promise<void> {
    switch (kind) {
      case 'kill':
        replica.process.kill();
        await replica.process.exit;
        await wait(500 + this.#below(3_000));
        return replica.start();
      case 'pause':
        return this.#pause(replica, 300 + this.#below(5_700));
      case 'cut':
        for (const line of replica.lines) line.cut();
        return this.#heal(replica, 300 + this.#below(4_700));
      case 'cut-up':
      case 'cut-down':
        for (const line of replica.lines) line.freeze(kind === 'cut-up' ? 'up' : 'down');
        return this.#heal(replica, 300 + this.#below(4_700));
      case 'slow':
        for (const line of replica.lines) line.delay(50 + this.#below(400));
        return this.#heal(replica, 1_000 + this.#below(3_000));
      case 'wall':
        // Stays so: later faults find replicas whose wall clocks disagree.
        replica.setWall(this.#pick([-HOUR_S, 0, HOUR_S]));
        return void (await wait(2_000));
      default:
        throw new Error(`Not a fault of a replica: ${kind}`);
    }
  }

  async #hurtNats(kind: FaultKind, node: NatsServer): Promise<void> {
    if (kind === 'nats-rolling') {
      for (const each of this.#parts.fleet.nats) {
        await each.restart();
        await this.#parts.fleet.natsSettled();
      }
    } else if (kind === 'nats-pause') {
      await node.pause();
      await wait(300 + this.#below(3_700));
      node.resume();
    } else {
      await node.kill();
      await wait(300 + this.#below(2_700));
      await node.start();
    }
    await this.#parts.fleet.natsSettled();
  }

  async #roll(): Promise<void> {
    for (const replica of this.#parts.fleet.replicas) {
      await replica.stop();
      await replica.start();
      await wait(500);
    }
  }

  /** All of them, whose wall clocks differ where they can be set; settles when all say that it is done. */
  async #reload(): Promise<void> {
    const { replicas } = this.#parts.fleet;
    this.#partWalls();
    await Promise.all(replicas.map((replica) => replica.reload(RELOADED_MS)));
  }

  /** Reloads all, and kills all but one up to six seconds later, before the reload is done or after. */
  async #reloadAndKill(survivor: FleetReplica): Promise<void> {
    const { fleet, write } = this.#parts;
    this.#partWalls();
    for (const { process: running } of fleet.replicas) running.child.kill('SIGHUP');
    await wait(this.#below(6_000));
    const dead = fleet.replicas.filter((replica) => replica !== survivor);
    const from = monotonic();
    for (const replica of dead) replica.process.kill();
    await Promise.all(dead.map((replica) => replica.process.exit));
    await wait(4_000 + this.#below(4_000));
    await Promise.all(dead.map((replica) => replica.start()));
    for (const { index } of dead) write({ op: 'fault', kind: 'kill', target: `r${index}`, from, until: monotonic() });
  }

  #partWalls(): void {
    if (!this.#parts.walls) return;
    const turn = this.#below(3);
    for (const replica of this.#parts.fleet.replicas) replica.setWall((((replica.index + turn) % 3) - 1) * APART_S);
  }

  /** Who owns most of the probed groups. */
  #ownerOfProbed(): FleetReplica | undefined {
    const { fleet, watch } = this.#parts;
    const shards = [...PROBED_SHARDS.values()];
    const count = ({ index }: FleetReplica) => watch.beats.owned(`r${index}`, shards).length;
    return [...fleet.replicas].sort((a, b) => count(b) - count(a))[0];
  }

  async #overrun(owner: FleetReplica): Promise<void> {
    const { fleet, watch, probes } = this.#parts;
    const others = fleet.replicas.filter((replica) => replica !== owner).map(({ index }) => index);
    const lateMs = 22 + this.#below(18);
    await overrun({ owner, other: this.#pick(others), beats: watch.beats, probes, lateMs });
    await this.#heal(owner, 300);
  }

  async #pause(replica: FleetReplica, ms: number): Promise<void> {
    const { child } = replica.process;
    child.kill('SIGSTOP');
    await wait(ms);
    child.kill('SIGCONT');
  }

  async #heal(replica: FleetReplica, after: number): Promise<void> {
    await wait(after);
    await Promise.all(replica.lines.map((line) => line.heal()));
  }

  #noneDied(): void {
    for (const {
      index,
      process: { child, unread },
    } of this.#parts.fleet.replicas) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`Replica ${index} ended by itself (${child.signalCode ?? child.exitCode}). Its last lines:\n${unread.slice(-10).join('\n')}`);
    }
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }

  #below(count: number): number {
    return Math.floor(this.#parts.random() * count);
  }
}

/** Each of these hurts all replicas, or counts on the others being whole. */
const ALONE: readonly FaultKind[] = ['rolling', 'nats-rolling', 'reload', 'reload-kill', 'overrun'];

/** Two faults of one target would end each other; with a rolling restart each replica is one. */
function goTogether(one: Planned | undefined, other: Planned): boolean {
  const alone = (fault: Planned | undefined) => fault === undefined || ALONE.includes(fault.kind);
  return !alone(one) && !alone(other) && one?.target.slice(-2) !== other.target.slice(-2);
}
