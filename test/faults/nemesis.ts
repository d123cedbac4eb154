import { setTimeout as wait } from 'node:timers/promises';
import type { NatsServer } from '../fakes/nats-server.ts';
import { monotonic } from './callers.ts';
import { type FaultKind, isOfNats, quietAfter } from './fault-kinds.ts';
import type { Fleet, FleetReplica } from './fleet.ts';
import type { HistoryLine } from './history.ts';
import type { NatsWatch } from './nats-watch.ts';

/** What a nemesis needs. */
export interface NemesisParts {
  readonly fleet: Fleet;
  readonly watch: NatsWatch;
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

interface Planned {
  readonly kind: FaultKind;
  readonly target: string;
  readonly run: () => Promise<void>;
}

/** Hurts a fleet: a fault, now and then two at once, until all is as before, then a while of quiet so that what it cost can be seen. */
export class Nemesis {
  readonly #parts: NemesisParts;
  #left: FaultKind[] = [];

  constructor(parts: NemesisParts) {
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
    const replica = this.#pick(fleet.replicas);
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

/** Two faults of one target would end each other; with a rolling restart each replica is one. */
function goTogether(one: Planned | undefined, other: Planned): boolean {
  const alone = (fault: Planned | undefined) => fault === undefined || fault.kind === 'rolling' || fault.kind === 'nats-rolling';
  return !alone(one) && !alone(other) && one?.target.slice(-2) !== other.target.slice(-2);
}
