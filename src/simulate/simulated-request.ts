import type { Costs } from '../core/group.ts';
import type { Micros } from '../core/time.ts';

/** One request of a trace, in the order in which it came; times count from the first of the trace. */
export interface SimulatedRequest {
  readonly at: Micros;
  readonly group: string;
  readonly key: string;
  /** A class of the group by name, or a priority by number; undefined: the group's default. */
  readonly priority: string | number | undefined;
  readonly costs: Costs;
  /** How long it waits; undefined: as long as the group says. */
  readonly wait: Micros | undefined;
  /** How long its lease is held, where it gets one. */
  readonly hold: Micros;
  /** What it cost in the end, settled when it is released; undefined: what it was admitted for. */
  readonly settled: Costs | undefined;
}

/** Requests of one trace at most: each keeps some 200 bytes. */
export const REQUESTS_MAX = 10_000_000;
