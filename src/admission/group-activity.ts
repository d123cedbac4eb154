import { HOUR, type Instant, later, MINUTE, type Micros, plus, SECOND } from '../core/time.ts';

/** Length of one bucket of a history, and how many there are: 15 minutes. */
export const HISTORY_STEP: Micros = 10 * SECOND;
export const HISTORY_BUCKETS = 90;

/** Groups with a history at most, in one process: 900 bytes each. */
const HISTORIES_MAX = 10_000;
/** Names of refusals kept by minute; what is beyond is counted as `other`. */
const REASONS_MAX = 16;
const REASON_BUCKETS = 15;
/** The longest gap between admissions is remembered for an hour, in parts of ten minutes. */
const GAP_BUCKETS = 6;
const GAP_STEP = HOUR / GAP_BUCKETS;
const REFUSED_MAX = 65_535;

/** What came, went on and was refused in the last 15 minutes, oldest bucket first. The last bucket is not over. */
export interface GroupHistory {
  /** Begin of the first bucket. */
  readonly from: Instant;
  /** Length of a bucket. */
  readonly step: Micros;
  readonly arrived: readonly number[];
  readonly admitted: readonly number[];
  readonly refused: readonly number[];
}

/** What a group's callers did lately, as people see it. */
export interface GroupActivityView {
  /** Callers that asked since the start of the process, whatever became of them. */
  readonly arrived: number;
  /** Callers that left by themselves while they waited. */
  readonly left: number;
  readonly lastAdmittedAt: Instant | undefined;
  /** Since when callers have waited without a break. */
  readonly busySince: Instant | undefined;
  /** When the last waiter went; undefined if none has waited yet. */
  readonly idleSince: Instant | undefined;
  /** Longest time of the last hour for which callers waited and none was admitted. */
  readonly longestGap: Micros;
  /** By reason, `shed` with its bound: of the last 15 minutes. */
  readonly refused: Readonly<Record<string, number>>;
  /** Callers that arrived and that were admitted in a second: mean of the last 10 to 20 s. */
  readonly arrivedPerSecond: number;
  readonly admittedPerSecond: number;
}

/** Arrivals, admissions and refusals of one group by time. Each event costs O(1); memory is bounded, and taken with the first event. */
export class GroupActivity {
  arrived = 0;
  left = 0;
  #lastAdmittedAt: Instant | undefined;
  #busySince: Instant | undefined;
  #idleSince: Instant | undefined;
  #gaps: number[] | undefined;
  #gapAt = 0;
  #ring: Ring | undefined;
  #reasons: ReasonRing | undefined;

  /** A caller asked. */
  arrives(now: Instant): void {
    this.arrived++;
    const ring = this.#ringAt(now);
    if (ring !== undefined) (ring.arrived[ring.index] as number)++;
  }

  /** A caller has to wait. */
  queued(now: Instant): void {
    this.#busySince ??= now;
  }

  /** A caller that waited left by itself. `waiting`: how many still do. */
  leaves(now: Instant, waiting: number): void {
    this.left++;
    this.#went(now, waiting);
  }

  /** A caller was admitted after `waited`. `waiting`: how many still wait. */
  admits(now: Instant, waited: Micros, waiting: number): void {
    if (this.#busySince === undefined && waited > 0) this.#busySince = plus(now, -waited);
    if (this.#busySince !== undefined) this.#gap(now, now - later(this.#busySince, this.#lastAdmittedAt ?? this.#busySince));
    this.#lastAdmittedAt = now;
    const ring = this.#ringAt(now);
    if (ring !== undefined) (ring.admitted[ring.index] as number)++;
    this.#went(now, waiting);
  }

  /** A caller was refused; `reason` names the bound where it was shed. `waiting`: how many still wait. */
  refuses(now: Instant, reason: string, waiting: number): void {
    const ring = this.#ringAt(now);
    if (ring !== undefined && (ring.refused[ring.index] as number) < REFUSED_MAX) (ring.refused[ring.index] as number)++;
    this.#reasons ??= new ReasonRing();
    this.#reasons.count(now, reason);
    this.#went(now, waiting);
  }

  view(now: Instant): GroupActivityView {
    return {
      arrived: this.arrived,
      left: this.left,
      lastAdmittedAt: this.#lastAdmittedAt,
      busySince: this.#busySince,
      idleSince: this.#idleSince,
      longestGap: this.#longestGap(now),
      refused: this.#reasons?.sum(now) ?? {},
      ...(this.#ring?.rates(now) ?? { arrivedPerSecond: 0, admittedPerSecond: 0 }),
    };
  }

  /** The last 15 minutes; undefined if nothing came, or the process decides for more groups than it keeps histories. */
  history(now: Instant): GroupHistory | undefined {
    return this.#ring?.history(now);
  }

  #went(now: Instant, waiting: number): void {
    if (waiting > 0 || this.#busySince === undefined) return;
    this.#busySince = undefined;
    this.#idleSince = now;
  }

  #gap(now: Instant, gap: Micros): void {
    this.#forgetGaps(now);
    const at = this.#gapAt % GAP_BUCKETS;
    this.#gaps ??= new Array<number>(GAP_BUCKETS).fill(0);
    if (gap > (this.#gaps[at] as number)) this.#gaps[at] = gap;
  }

  #longestGap(now: Instant): Micros {
    this.#forgetGaps(now);
    return Math.max(0, ...(this.#gaps ?? []));
  }

  #forgetGaps(now: Instant): void {
    const at = Math.floor(now / GAP_STEP);
    const gaps = this.#gaps;
    for (let step = Math.max(this.#gapAt + 1, at - GAP_BUCKETS + 1); gaps !== undefined && step <= at; step++) gaps[step % GAP_BUCKETS] = 0;
    this.#gapAt = Math.max(this.#gapAt, at);
  }

  #ringAt(now: Instant): Ring | undefined {
    if (this.#ring === undefined) {
      if (!HISTORIES.mayAdd(now)) return undefined;
      this.#ring = new Ring(now);
      HISTORIES.add(this);
    }
    this.#ring.advance(now);
    return this.#ring;
  }

  /** Gives the history back if all of it is over. */
  dropIfIdle(now: Instant): boolean {
    if (this.#ring === undefined || !this.#ring.isOver(now)) return false;
    this.#ring = undefined;
    return true;
  }
}

class Ring {
  readonly arrived = new Uint32Array(HISTORY_BUCKETS);
  readonly admitted = new Uint32Array(HISTORY_BUCKETS);
  readonly refused = new Uint16Array(HISTORY_BUCKETS);
  /** Number of the current bucket since the beginning of time, and its place. */
  #at: number;
  readonly #first: number;
  index: number;

  constructor(now: Instant) {
    this.#at = Math.floor(now / HISTORY_STEP);
    this.#first = this.#at;
    this.index = this.#at % HISTORY_BUCKETS;
  }

  advance(now: Instant): void {
    const at = Math.floor(now / HISTORY_STEP);
    if (at <= this.#at) return;
    for (let step = Math.max(this.#at + 1, at - HISTORY_BUCKETS + 1); step <= at; step++) this.#clear(step % HISTORY_BUCKETS);
    this.#at = at;
    this.index = at % HISTORY_BUCKETS;
  }

  isOver(now: Instant): boolean {
    return Math.floor(now / HISTORY_STEP) - this.#at >= HISTORY_BUCKETS;
  }

  /** Begins with the first bucket that can have something. */
  history(now: Instant): GroupHistory {
    this.advance(now);
    const from = Math.max(this.#first, this.#at - HISTORY_BUCKETS + 1);
    const take = (values: Uint32Array | Uint16Array): number[] =>
      Array.from({ length: this.#at - from + 1 }, (_, step) => values[(from + step) % HISTORY_BUCKETS] as number);
    return {
      from: (from * HISTORY_STEP) as Instant,
      step: HISTORY_STEP,
      arrived: take(this.arrived),
      admitted: take(this.admitted),
      refused: take(this.refused),
    };
  }

  rates(now: Instant): Pick<GroupActivityView, 'arrivedPerSecond' | 'admittedPerSecond'> {
    this.advance(now);
    const before = (this.index + HISTORY_BUCKETS - 1) % HISTORY_BUCKETS;
    const seconds = ((this.#at === this.#first ? 0 : HISTORY_STEP) + (now % HISTORY_STEP)) / SECOND;
    const per = (values: Uint32Array): number => ((values[before] as number) + (values[this.index] as number)) / Math.max(1, seconds);
    return { arrivedPerSecond: per(this.arrived), admittedPerSecond: per(this.admitted) };
  }

  #clear(index: number): void {
    this.arrived[index] = 0;
    this.admitted[index] = 0;
    this.refused[index] = 0;
  }
}

/** Refusals by reason, minute by minute. */
class ReasonRing {
  readonly #minutes: Map<string, number>[] = Array.from({ length: REASON_BUCKETS }, () => new Map());
  #at = 0;

  count(now: Instant, reason: string): void {
    this.#advance(now);
    const counts = this.#minutes[this.#at % REASON_BUCKETS] as Map<string, number>;
    const name = counts.has(reason) || counts.size < REASONS_MAX - 1 ? reason : 'other';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }

  sum(now: Instant): Record<string, number> {
    this.#advance(now);
    const sums: Record<string, number> = {};
    for (const minute of this.#minutes) for (const [name, count] of minute) sums[name] = (sums[name] ?? 0) + count;
    return sums;
  }

  #advance(now: Instant): void {
    const at = Math.floor(now / MINUTE);
    for (let step = Math.max(this.#at + 1, at - REASON_BUCKETS + 1); step <= at; step++) this.#minutes[step % REASON_BUCKETS]?.clear();
    this.#at = Math.max(this.#at, at);
  }
}

/** Histories of this process: beyond the bound a new one is kept where an old one is over. */
class HistoryPool {
  readonly #owners = new Set<GroupActivity>();
  #nextSweep = 0;

  mayAdd(now: Instant): boolean {
    if (this.#owners.size < HISTORIES_MAX) return true;
    if (now < this.#nextSweep) return false;
    this.#nextSweep = now + HISTORY_STEP;
    for (const owner of this.#owners) if (owner.dropIfIdle(now)) this.#owners.delete(owner);
    return this.#owners.size < HISTORIES_MAX;
  }

  add(owner: GroupActivity): void {
    this.#owners.add(owner);
  }
}

const HISTORIES = new HistoryPool();
