import { quantile } from '../lib/figures.ts';
import { readStamps } from './stamps.ts';

/** What callers saw of one paced group with a backlog. Times in milliseconds. */
export interface Lateness {
  readonly grants: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly most: number;
  /** Answers that certainly came before their slot. */
  readonly early: number;
  /** Grants over slots that opened while somebody waited. */
  readonly conserved: number;
  /** Most waiters at once. */
  readonly waiting: number;
}

/**
 * The independent analyser: knows the quota (`burst` at once, then one each `period` microseconds) and the callers' own
 * stamps, nothing of the server.
 *
 * Slot k opens when the grid of slots says so: the grid moves to later only when a grant is later than the burst makes up
 * for, never to earlier. So `answered(k) - k * period`, less the transport of the answer, is never below the grid, and the
 * lowest of all that follow says where the grid was at most; that of the admission before is taken, which is no later.
 * `floor`: the least time of an answer's transport, which this hides; it is added again.
 *
 * Early is judged by the first ask, made when nobody waited: admission k is not legal before `asked(1) + (k - burst) *
 * period`, whatever the transport took.
 */
export function lateness(file: string, { period, burst, floor, skip }: { period: number; burst: number; floor: number; skip: number }): Lateness {
  const stamps = readStamps(file);
  const drift = stamps.map(({ answered }, k) => answered - k * period);
  const lowest = Float64Array.from(drift);
  for (let k = lowest.length - 2; k >= 0; k--) lowest[k] = Math.min(lowest[k] as number, lowest[k + 1] as number);
  const first = stamps[0]?.asked ?? 0;
  const early = stamps.filter(({ answered }, k) => answered < first + (k + 1 - burst) * period).length;
  const began = first + skip * 1e6;
  const late: number[] = [];
  let waiting = 0;
  for (const [k, { asked, answered }] of stamps.entries()) {
    if (k === 0 || answered < began) continue;
    const open = (lowest[k - 1] as number) + k * period;
    // Who asked after the slot opened was not late by it.
    late.push((answered - Math.max(open, asked) + floor) / 1_000);
    waiting = Math.max(waiting, Math.round((answered - asked) / period));
  }
  const inside = stamps.filter(({ answered }) => answered >= began);
  const spanned = (inside.at(-1)?.answered ?? 0) - (inside[0]?.answered ?? 0);
  return {
    grants: late.length,
    p50: quantile(late, 0.5),
    p99: quantile(late, 0.99),
    p999: quantile(late, 0.999),
    most: quantile(late, 1),
    early,
    conserved: (inside.length - 1) / (spanned / period),
    waiting,
  };
}
