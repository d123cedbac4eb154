import type { WaiterRef, WaitRange } from '../request.ts';
import { DISTANT_PAST, type Instant, type Micros } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import { WaitTraffic } from './wait-traffic.ts';

/** Waits that are remembered of callers of one priority and depth. */
const KEPT = 128;
/** Of another depth or of the estimate itself, until there are own ones. */
const LENT = 32;
/** Part of the callers that is to be admitted inside the range. */
const COVERED = 0.97;
/** Kinds of callers that are distinguished in one group; the one not asked about for longest is forgotten. */
const KINDS_MAX = 48;
/** Depths of a queue that are distinguished: each is twice the one before. */
const DEPTHS = 32;
/** What a range may be missed by, and the shortest. */
const TICK: Micros = 1_000;
/** Shorter waits are compared as if they were so long: how late an event loop is says nothing about waits of seconds. */
const SHORT: Micros = 20_000;
/** How fast waits come nearer to their estimates the more waiters are ahead: the spread falls with this power of their number. */
const NARROWS = 0.35;
/** How far one range that did not hold widens those that follow, and bounds of what has come together. */
const WIDENS = 0.08;
const WIDEN_MAX = 3;

/** A range that was given on arrival to a waiter that is observed. */
export interface Kept {
  readonly range: WaitRange;
  readonly since: Instant;
  readonly estimate: Micros;
  /** What its end is compared in. */
  readonly ratios: Ratios;
  readonly calibration: WaitCalibration;
  /** Its wait was found to be longer than the range while it went on. */
  late: boolean;
}

/** Whether a waiter that is admitted now is in its range, to a tick. */
function holds({ earliest, latest }: WaitRange, now: Instant): boolean {
  return now >= earliest - TICK && now <= latest + TICK;
}

/** Learns of waits that go on beyond their ranges, before they end. */
export function lateWaits({ observed }: WaitCalibration, now: Instant): void {
  for (const kept of observed) {
    if (kept.late || now <= kept.range.latest + TICK) continue;
    kept.late = true;
    kept.ratios.observe(now - kept.since, kept.estimate);
    kept.ratios.judge(false);
  }
}

/** Ranges that were given on arrival, and how well they hold, of all groups of one gate. */
export class WaitRanges {
  readonly #calibrations = new WeakMap<GroupNode, WaitCalibration>();
  readonly #kept = new Map<WaiterRef, Kept>();

  /** What became of the waiters of a group. */
  of(node: GroupNode): WaitCalibration {
    const known = this.#calibrations.get(node);
    if (known !== undefined) return known;
    const made = new WaitCalibration();
    this.#calibrations.set(node, made);
    return made;
  }

  /** The range that a waiter was given on arrival; undefined: it is not observed. */
  keptOf(ref: WaiterRef): WaitRange | undefined {
    return this.#kept.get(ref)?.range;
  }

  /** Observes a waiter to its end. */
  keep(ref: WaiterRef, kept: Kept): void {
    this.#kept.set(ref, kept);
    kept.calibration.observed.add(kept);
  }

  /** An observed waiter was admitted, or left. */
  ended(now: Instant, ref: WaiterRef, admitted: boolean): void {
    const kept = this.#kept.get(ref);
    if (kept === undefined) return;
    const { ratios, calibration, since, estimate, range } = kept;
    // Before the end of a pause that was ended sooner nothing is learnt of the limits.
    if (now >= since && (admitted || now > range.latest)) {
      ratios.observe(now - since, estimate);
      if (!kept.late) ratios.judge(holds(range, now));
    }
    calibration.traffic.ends(Math.max(0, now - since), !admitted);
    this.forget(ref);
  }

  /** A waiter is no longer there: nothing is learnt of it any more. */
  forget(ref: WaiterRef): void {
    const kept = this.#kept.get(ref);
    kept?.calibration.observed.delete(kept);
    this.#kept.delete(ref);
  }
}

/**
 * What became of callers of one group beside what was estimated for them: by priority and depth of the queue, the last 128 of each as wait divided by
 * estimate. It stands for all that an estimate does not know. At most 48 kinds of 1 KB.
 */
export class WaitCalibration {
  readonly traffic = new WaitTraffic();
  readonly #kinds = new Map<number, Ratios>();
  readonly #spreads = new Map<number, Spread>();
  /** Waiters that are observed now. */
  readonly observed = new Set<Kept>();
  /** The one of them that came first. */
  get oldest(): Kept | undefined {
    for (const kept of this.observed) return kept;
    return undefined;
  }
  /** When the last of them came, and how many came since. */
  observedAt: Instant = DISTANT_PAST;
  arrivals = 0;

  /** Returns the ratios of a kind of callers, `courses` are those of the estimate where nothing is known of them. */
  ratiosOf(priority: number, place: number, courses: () => readonly number[]): Ratios {
    const depth = Math.min(DEPTHS - 1, Math.floor(Math.log2(Math.max(1, place))));
    const kind = priority * DEPTHS + depth;
    const known = this.#kinds.get(kind);
    if (known !== undefined) {
      this.#kinds.delete(kind);
      this.#kinds.set(kind, known);
      return known;
    }
    const made = new Ratios(this.#spreadOf(priority), this.#nearest(kind) ?? courses());
    const [oldest] = this.#kinds.keys();
    if (this.#kinds.size >= KINDS_MAX && oldest !== undefined) this.#kinds.delete(oldest);
    this.#kinds.set(kind, made);
    return made;
  }

  #spreadOf(priority: number): Spread {
    const known = this.#spreads.get(priority);
    if (known !== undefined) return known;
    const made = new Spread();
    if (this.#spreads.size < KINDS_MAX) this.#spreads.set(priority, made);
    return made;
  }

  /** Ratios of the nearest depth of the same priority, as near to each other as they are to be at this depth. */
  #nearest(kind: number): readonly number[] | undefined {
    for (let apart = 1; apart < DEPTHS; apart++) {
      for (const near of [kind - apart, kind + apart]) {
        if (Math.floor(near / DEPTHS) !== Math.floor(kind / DEPTHS)) continue;
        const found = this.#kinds.get(near);
        if (found === undefined) continue;
        const middle = found.middle;
        const power = Math.min(1, 2 ** (NARROWS * (near - kind)));
        return found.last(LENT).map((ratio) => middle * (ratio / middle) ** power);
      }
    }
    return undefined;
  }
}

/** Keeps ranges so wide that as many hold as are to. */
class Spread {
  factor = 1;

  /** A range held, or did not. */
  judge(held: boolean): void {
    const next = this.factor * Math.exp(WIDENS * ((held ? 0 : 1) - (1 - COVERED)));
    this.factor = Math.min(WIDEN_MAX, Math.max(1 / WIDEN_MAX, next));
  }
}

/** Waits divided by their estimates. */
export class Ratios {
  readonly #spread: Spread;
  readonly #ring = new Float64Array(KEPT);
  #count = 0;
  #next = 0;
  #low = 1;
  #middle = 1;
  #high = 1;
  #stale = true;

  constructor(spread: Spread, first: readonly number[]) {
    this.#spread = spread;
    for (const ratio of first) this.#add(ratio);
  }

  /** A waiter was admitted after `waited`, or has waited so long. */
  observe(waited: Micros, estimate: Micros): void {
    this.#add(Math.abs(waited - estimate) <= TICK ? 1 : Math.max(waited, SHORT) / Math.max(estimate, SHORT));
  }

  /** A range that this gave held, or did not. */
  judge(held: boolean): void {
    this.#spread.judge(held);
  }

  #add(ratio: number): void {
    this.#ring[this.#next] = ratio;
    this.#next = (this.#next + 1) % KEPT;
    if (this.#count < KEPT) this.#count++;
    this.#stale = true;
  }

  get middle(): number {
    this.#refresh();
    return this.#middle;
  }

  /** Returns the last ones, at most so many. */
  last(most: number): readonly number[] {
    const count = Math.min(most, this.#count);
    return Array.from({ length: count }, (_, back) => this.#ring[(this.#next - 1 - back + KEPT) % KEPT] as number);
  }

  /** Returns the range of a wait that is estimated so long. */
  range(now: Instant, estimate: Micros): WaitRange {
    this.#refresh();
    const end = (ratio: number): number => {
      const wide = Math.max(0, this.#middle + (ratio - this.#middle) * this.#spread.factor);
      return wide === 1 ? estimate : Math.max(estimate, TICK) * wide;
    };
    return { earliest: (now + Math.floor(end(this.#low))) as Instant, latest: (now + Math.ceil(end(this.#high))) as Instant };
  }

  #refresh(): void {
    if (!this.#stale) return;
    this.#stale = false;
    const sorted = this.#ring.slice(0, this.#count).sort();
    const outside = Math.floor(((1 - COVERED) / 2) * (this.#count + 1));
    this.#low = sorted[outside] ?? 1;
    this.#middle = sorted[this.#count >> 1] ?? 1;
    this.#high = sorted[this.#count - 1 - outside] ?? 1;
  }
}
