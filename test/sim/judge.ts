import { decodeOwnership } from '../../src/coordination/ownership/ownership-record.ts';
import type { Instant, Micros } from '../../src/core/time.ts';

/** Clocks may be this much faster than real time (invariant I2). */
const DRIFT_ALLOWED = 1e-3;

/** Whole microseconds are floored on the way, once for each clock that was handed on. */
const ROUNDING: Micros = 5;

interface Term {
  readonly term: bigint;
  readonly from: Instant;
  readonly owner: string;
  first: Instant | undefined;
  last: Instant | undefined;
}

interface Shard {
  readonly terms: Term[];
  /** Least of stamp less stretched real time so far. */
  lead: number;
  stampedAt: Micros;
}

/**
 * Watches all replicas with what nobody in the simulation has: the real time, and the registers as they are. Says the first
 * thing that is wrong. Shares no rule with what it judges; it only reads what a record says.
 */
export class Judge {
  readonly complaints: string[] = [];
  /** Longer than this nobody may be without the right to decide, once there was an owner. */
  gapMax: Micros = Number.POSITIVE_INFINITY;
  readonly #shards = new Map<number, Shard>();
  #terms = 0;
  #stamps = 0;

  get counts(): { terms: number; stamps: number } {
    return { terms: this.#terms, stamps: this.#stamps };
  }

  /** A shard's register was changed: terms are one after the other, and begin after all that was decided before. */
  changed(shard: number, bytes: Uint8Array): void {
    const { term, from, owner } = decodeOwnership(bytes);
    const { terms } = this.#shard(shard);
    const before = terms.at(-1);
    this.#terms++;
    if (term !== (before?.term ?? 0n) + 1n) this.#complain(`shard ${shard}: term ${term} came after ${before?.term}`);
    if (before !== undefined && from < before.from) this.#complain(`shard ${shard}: term ${term} begins before ${before.term} began`);
    for (const { last, term: older } of terms) {
      if (last !== undefined && last >= from) this.#complain(`shard ${shard}: term ${term} begins at ${from}, but ${older} decided at ${last}`);
    }
    terms.push({ term, from, owner, first: undefined, last: undefined });
  }

  /** The owner of `term` read its clock at the real time `now`, and had the right to decide. */
  stamped(shard: number, term: bigint, at: Instant, now: Micros): void {
    const known = this.#shard(shard);
    const mine = known.terms.find((one) => one.term === term);
    this.#stamps++;
    if (mine === undefined) return this.#complain(`shard ${shard}: term ${term} decides and is in no register`);
    if (at < mine.from) this.#complain(`shard ${shard}: term ${term} decides at ${at}, before it begins at ${mine.from}`);
    if (mine.last !== undefined && at < mine.last) this.#complain(`shard ${shard}: the clock of term ${term} goes back to ${at}`);
    for (const other of known.terms) {
      if (other.term > term && at >= other.from)
        this.#complain(`shard ${shard}: term ${term} decides at ${at}, which is of ${other.term} from ${other.from} on`);
      if (other.term > term && other.first !== undefined && other.first <= at)
        this.#complain(`shard ${shard}: term ${term} decides at ${at} after ${other.term} decided`);
      if (other.term < term && other.last !== undefined && other.last >= at)
        this.#complain(`shard ${shard}: term ${term} decides at ${at}, behind ${other.term}`);
    }
    mine.first ??= at;
    mine.last = at;
    // Shard time never gains on real time: between any two stamps no more of it passes than real time allows.
    const lead = at - now * (1 + DRIFT_ALLOWED);
    if (lead > known.lead + ROUNDING) this.#complain(`shard ${shard}: in term ${term} shard time is ${Math.round(lead - known.lead)} us ahead of real time`);
    known.lead = Math.min(known.lead, lead);
    if (known.stampedAt > 0 && now - known.stampedAt > this.gapMax) this.#complain(`shard ${shard}: nobody decided for ${now - known.stampedAt} us`);
    known.stampedAt = now;
  }

  /** When anybody last had the right to decide for it, in real time. */
  stampedAt(shard: number): Micros {
    return this.#shard(shard).stampedAt;
  }

  complain(what: string): void {
    this.#complain(what);
  }

  #complain(what: string): void {
    this.complaints.push(what);
  }

  #shard(shard: number): Shard {
    let known = this.#shards.get(shard);
    if (known === undefined) {
      known = { terms: [], lead: Number.POSITIVE_INFINITY, stampedAt: 0 };
      this.#shards.set(shard, known);
    }
    return known;
  }
}
