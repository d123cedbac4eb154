import { DISTANT_PAST, type Instant, later, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { ClockRecord } from './clocks/shard-clock.ts';
import { type Coordinator, type LeaderLease, LeadershipLost, type TreePlacement } from './coordinator.ts';
import { RegisterConflict, type Registers, type RegisterValue } from './registers/registers.ts';

/** Slots of shard time are written ahead by this much (docs/design/coordination.md 2.6, H). */
export const HORIZON: Micros = SECOND;

/** A renewal is due when less than H less this is left (P). */
const RENEW_EVERY: Micros = 200 * MILLISECOND;

/** The register of a node: whose term it is, and which instants of shard time that term may have used. */
interface TermRecord {
  readonly term: bigint;
  /** Names one run of a process; two records of one session have one writer. */
  readonly session: string;
  /** First instant that the term cannot have decided at (r1 of docs/design/coordination.md 2.3). */
  readonly until: Instant;
  /** The term ended by itself: it decides nothing more, not even before `until`. */
  readonly sealed: boolean;
  /** Shard time and the machine's clocks at the writing, from which the next process goes on. */
  readonly clock: ClockRecord;
}

/** A term as it begins. */
interface TermStart {
  readonly record: TermRecord;
  /** First instant at which the new term may decide. */
  readonly from: Instant;
}

/**
 * The next term, for the process that writes its record over `old` first. It begins where the old one's slots end, whether that one
 * crashed, is frozen, or sealed itself: every instant belongs to one term (invariant I1). A sealed term's slots end at its
 * last decision, so no process waits for them.
 */
export function nextTerm(old: TermRecord | undefined, session: string, clock: ClockRecord): TermStart {
  const from = old?.until ?? DISTANT_PAST;
  return { from, record: { term: (old?.term ?? 0n) + 1n, session, until: from, sealed: false, clock } };
}

/** The record that makes slots up to H from now this term's. Never gives slots back: the old ones may be used already. */
export function extendTerm(record: TermRecord, clock: ClockRecord): TermRecord {
  return { ...record, until: later(record.until, plus(clock.at, HORIZON)), clock };
}

/** The last record of a clean stop: nothing is decided from the instant after `clock.at` on; slots ahead were not used. Before the term's own `from` nothing was used at all. */
export function sealTerm(record: TermRecord, from: Instant, clock: ClockRecord): TermRecord {
  return { ...record, until: later(from, plus(clock.at, 1)), sealed: true, clock };
}

/** Should slots be written ahead, given decisions to take? */
function renewalDue(now: Instant, until: Instant): boolean {
  return until - now < HORIZON - RENEW_EVERY;
}

/** One register's bytes: JSON, since it is written a few times a second and read by people who look for a fault. */
export function encodeTermRecord(record: TermRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ ...record, term: String(record.term) }));
}

/** Decodes a record. Throws on anything else (the register's checksum was verified before). */
export function decodeTermRecord(bytes: Uint8Array): TermRecord {
  const raw = JSON.parse(new TextDecoder().decode(bytes)) as TermRecord & { readonly term: string };
  const whole = [raw.until, raw.clock?.at, raw.clock?.mono, raw.clock?.wall].every(Number.isSafeInteger);
  if (!whole || typeof raw.session !== 'string' || typeof raw.sealed !== 'boolean')
    throw new TypeError('The register of the term does not contain a term record.');
  return { ...raw, term: BigInt(raw.term) };
}

/** The register of a single node. */
const REGISTER = 'node';

/** A claim of the next term that lost this many races in a row gives up: servers are being started in a loop. */
const CLAIMS_MAX = 20;

/** Between two renewals ahead when the first failed: fewer than four fit before the slots run out. */
const RETRY_AFTER: Micros = 250 * MILLISECOND;

/** The part of a clock that a coordinator uses. */
export interface LeaseClock {
  now(): Instant;
  /** Shard time and the machine's clocks at one moment. */
  record(): ClockRecord;
}

/** Returns shard time as the previous process left it, for the clock, or undefined at the first start. Throws what the register throws. */
export async function readLastClock(registers: Registers): Promise<ClockRecord | undefined> {
  const found = await registers.read(REGISTER);
  return found && decodeTermRecord(found.bytes).clock;
}

/**
 * Takes the next term of this store for this process (docs/design/coordination.md, decision 4). The process that had it loses it at its next
 * renewal, and is out of slots a second after its last one at the latest. `session` names this process's life: random.
 */
export async function openSingleNodeCoordinator(options: { registers: Registers; clock: LeaseClock; session: string }): Promise<Coordinator> {
  const { registers, clock, session } = options;
  for (let claim = 0; claim < CLAIMS_MAX; claim++) {
    const old = await registers.read(REGISTER);
    const { record, from } = nextTerm(old && decodeTermRecord(old.bytes), session, clock.record());
    try {
      const revision = await registers.change(REGISTER, encodeTermRecord(record), old?.revision ?? 0);
      return new LocalCoordinator({ registers, clock, record, from, revision });
    } catch (cause) {
      if (!(cause instanceof RegisterConflict)) throw cause;
    }
  }
  throw new LeadershipLost('Other processes keep taking the term of this store; stop all but one.');
}

interface SingleNodeOptions {
  readonly registers: Registers;
  readonly clock: LeaseClock;
  readonly record: TermRecord;
  readonly from: Instant;
  readonly revision: number;
}

/** One leader lease for all trees of the node. */
class LocalCoordinator implements Coordinator, LeaderLease {
  readonly term: bigint;
  readonly from: Instant;
  readonly #registers: Registers;
  readonly #clock: LeaseClock;
  /** As acknowledged by the register. */
  #record: TermRecord;
  #revision: number;
  #renewal: Promise<void> | undefined;
  /** No renewal ahead before, after one that failed. */
  #retryAt: Instant = DISTANT_PAST;
  #lost: Error | undefined;
  #left = false;
  #listeners: ((why: Error) => void)[] = [];

  constructor(options: SingleNodeOptions) {
    this.term = options.record.term;
    this.from = options.from;
    this.#registers = options.registers;
    this.#clock = options.clock;
    this.#record = options.record;
    this.#revision = options.revision;
  }

  place(_root: string): TreePlacement {
    return this.#ended ? { at: 'nowhere' } : { at: 'here', leaderLease: this };
  }

  onLost(lost: (why: Error) => void): void {
    if (this.#lost !== undefined) lost(this.#lost);
    else this.#listeners.push(lost);
  }

  until(): Instant {
    return this.#ended ? DISTANT_PAST : this.#record.until;
  }

  extend(now: Instant): Promise<void> | undefined {
    if (this.#ended) return Promise.reject(this.#lost ?? new LeadershipLost('This process has left its term.'));
    if (!renewalDue(now, this.#record.until)) return undefined;
    // While there is time, a write that failed is not repeated at every decision.
    if (now < this.#record.until && now < this.#retryAt) return undefined;
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    if (now >= this.#record.until) return this.#renewal;
    this.#renewal.catch(() => {
      this.#retryAt = plus(now, RETRY_AFTER);
    });
    return undefined;
  }

  async leave(): Promise<void> {
    if (this.#ended) return;
    await this.#renewal?.catch(() => {});
    if (this.#ended) return;
    this.#left = true;
    await this.#write(sealTerm(this.#record, this.from, this.#clock.record()));
  }

  get #ended(): boolean {
    return this.#left || this.#lost !== undefined;
  }

  /** The clock is read before the write leaves: slots count from there, however long the disk takes. */
  async #renew(): Promise<void> {
    const next = extendTerm(this.#record, this.#clock.record());
    await this.#write(next);
    this.#record = next;
  }

  async #write(next: TermRecord): Promise<void> {
    const bytes = encodeTermRecord(next);
    try {
      this.#revision = await this.#registers.change(REGISTER, bytes, this.#revision);
    } catch (cause) {
      if (!(cause instanceof RegisterConflict)) throw cause;
      const found = await this.#registers.read(REGISTER);
      if (!this.#mine(found)) throw this.#lose(cause);
      // A write of this process whose response never came was made after all.
      this.#revision = await this.#registers.change(REGISTER, bytes, found.revision);
    }
  }

  #mine(found: RegisterValue | undefined): found is RegisterValue {
    if (found === undefined) return false;
    const { term, session } = decodeTermRecord(found.bytes);
    return term === this.term && session === this.#record.session;
  }

  #lose(cause: unknown): Error {
    const why = new LeadershipLost('A newer process decides for this store; this one must stop.', { cause });
    this.#lost = why;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener(why);
    return why;
  }
}
