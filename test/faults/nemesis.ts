import { monotonic } from './callers.ts';
import { callersPause, type FaultKind } from './fault-kinds.ts';
import type { Fleet, FleetReplica } from './fleet.ts';
import type { HistoryLine } from './history.ts';

/** What a nemesis needs. */
export interface NemesisParts {
  readonly fleet: Fleet;
  readonly write: (line: HistoryLine) => void;
  /** Evenly in [0, 1). */
  readonly random: () => number;
  readonly kinds: readonly FaultKind[];
  /** Told before each fault. */
  readonly progress: (count: number, kind: FaultKind, target: string) => void;
}

/** Hurts a fleet: one fault at a time, each until all is as before, then a while of quiet so that what it cost can be seen. */
export class Nemesis {
  readonly #parts: NemesisParts;

  constructor(parts: NemesisParts) {
    this.#parts = parts;
  }

  /** This many faults, of kinds and at targets by chance. */
  async run(faults: number): Promise<void> {
    for (let count = 1; count <= faults; count++) {
      const kind = this.#pick(this.#parts.kinds);
      await this.#one(count, kind);
      await sleep(callersPause(kind) + this.#below(1_000));
    }
  }

  async #one(count: number, kind: FaultKind): Promise<void> {
    const { fleet, write, progress } = this.#parts;
    const replica = this.#pick(fleet.replicas);
    const node = kind === 'nats-leader' ? ((await fleet.leader()) ?? this.#pick(fleet.nats)) : this.#pick(fleet.nats);
    const target = kind.startsWith('nats') ? node.name : kind === 'rolling' ? 'all' : `r${replica.index}`;
    progress(count, kind, target);
    const from = monotonic();
    switch (kind) {
      case 'kill':
        replica.process.kill();
        await replica.process.exit;
        await sleep(500 + this.#below(3_000));
        await replica.start();
        break;
      case 'pause':
        await this.#paused(replica, 300 + this.#below(5_700));
        break;
      case 'cut':
        for (const line of replica.lines) line.cut();
        await sleep(300 + this.#below(4_700));
        await this.#healed(replica);
        break;
      case 'cut-up':
      case 'cut-down':
        for (const line of replica.lines) line.freeze(kind === 'cut-up' ? 'up' : 'down');
        await sleep(300 + this.#below(4_700));
        await this.#healed(replica);
        break;
      case 'slow':
        for (const line of replica.lines) line.delay(50 + this.#below(400));
        await sleep(1_000 + this.#below(3_000));
        await this.#healed(replica);
        break;
      case 'rolling':
        for (const each of fleet.replicas) {
          await each.stop();
          await each.start();
          await sleep(500);
        }
        break;
      case 'nats-kill':
      case 'nats-leader':
        await node.kill();
        await sleep(300 + this.#below(2_700));
        await node.start();
        break;
      case 'nats-pause':
        node.pause();
        await sleep(300 + this.#below(3_700));
        node.resume();
        break;
    }
    write({ op: 'fault', kind, target, from, until: monotonic() });
  }

  async #paused(replica: FleetReplica, ms: number): Promise<void> {
    const { child } = replica.process;
    child.kill('SIGSTOP');
    await sleep(ms);
    child.kill('SIGCONT');
  }

  async #healed(replica: FleetReplica): Promise<void> {
    await Promise.all(replica.lines.map((line) => line.heal()));
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }

  #below(count: number): number {
    return Math.floor(this.#parts.random() * count);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
