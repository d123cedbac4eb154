import type { Heartbeat } from '../../src/coordination/membership/session-record.ts';
import type { DecisionWindow } from '../../src/coordination/ownership/owned-shards.ts';
import type { Timing } from '../../src/coordination/timing.ts';
import type { Micros } from '../../src/core/time.ts';
import type { Frame } from '../../src/relay/transport/channel.ts';
import type { Agenda } from './agenda.ts';
import type { Dice } from './dice.ts';
import type { GateWorld, Told } from './gate-world.ts';
import type { Judge } from './judge.ts';
import type { SimModules } from './modules.ts';
import type { SimRegisters } from './sim-registers.ts';
import type { Weather } from './weather.ts';

/** What one process says to another: that it gave it a shard, or a number, to be counted. */
export type Word = { readonly kind: 'gave'; readonly shard: number; readonly term: bigint } | { readonly kind: 'count'; readonly count: number };

/** The world as one process meets it. */
export interface SimWorld {
  readonly parts: SimModules;
  readonly agenda: Agenda;
  readonly dice: Dice;
  readonly weather: Weather;
  readonly judge: Judge;
  readonly registers: SimRegisters;
  readonly gates: GateWorld | undefined;
  readonly shards: number;
  readonly timing: Timing;
  /** Nobody sends anything new from then on. */
  readonly quietFrom: Micros;
  /** A name never used before. */
  fresh(prefix: string): string;
  /** The lives of processes that go on. */
  instances(): readonly string[];
  broadcast(from: number, beat: Heartbeat): void;
  /** The holder of a permit asks whoever decides for it now. */
  giveBack(told: Told, how: 'renew' | 'release'): void;
  post(from: number, frame: Frame<Word>): void;
}

/** What the gates of one process need of it. */
export interface ShardGatesDeps {
  readonly world: SimWorld;
  readonly gates: GateWorld;
  readonly replica: number;
  right(shard: number): DecisionWindow | undefined;
  wake(act: () => void): void;
  halt(shard: number, term: bigint): void;
  sealed(shard: number, term: bigint): void;
}
