import type { Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import { compareArrival } from './opening-queue.ts';
import type { PendingRequest } from './pending-request.ts';

/** A silent owner's answer is waited for so long after the caller's wait timeout. */
const SILENCE: Micros = 300 * MILLISECOND;
/** When to ask again while no replica decides. */
const UNDECIDED_FOR: Micros = SECOND;

/** Who is held by this replica, and the end of each: an answer, or the end of its wait timeout where no gate of this process keeps it. */
export class PendingTable {
  readonly lines = new PendingIndex();
  /** Decided by degraded admission. */
  readonly astray = new Set<PendingRequest>();
  readonly #clock: Clock;
  readonly #giveUp: (pending: PendingRequest) => void;
  #open = 0;
  onEmpty: () => void = () => {};

  /** `giveUp`: notifies a peer that did not answer in time that the caller waits no more. */
  constructor(parts: { clock: Clock; giveUp: (pending: PendingRequest) => void }) {
    this.#clock = parts.clock;
    this.#giveUp = parts.giveUp;
  }

  /** Callers not yet answered. */
  get open(): number {
    return this.#open;
  }

  add(): void {
    this.#open++;
  }

  /** No gate of this process has it. */
  park(pending: PendingRequest, state: 'held' | 'opening' | 'there'): void {
    pending.state = state;
    pending.local = undefined;
    this.lines.add(pending);
    pending.cancelTimer ??= this.#clock.at(pending.heldUntil, () => this.#late(pending));
  }

  /** A gate of this process has it, which keeps its time. */
  unpark(pending: PendingRequest): void {
    this.lines.remove(pending);
    pending.cancelTimer?.();
    pending.cancelTimer = undefined;
  }

  /** Its one answer. */
  finish(pending: PendingRequest, outcome: Outcome): void {
    this.close(pending);
    pending.reply(outcome);
  }

  refuse(pending: PendingRequest, refusal: Refusal): void {
    if (pending.state === 'there') this.#giveUp(pending);
    this.finish(pending, { kind: 'refused', refusal });
  }

  /** Ends all that no gate of this process has. */
  refuseAll(refusal: Refusal, which: (pending: PendingRequest) => boolean = () => true): void {
    for (const pending of this.lines.all()) if (which(pending)) this.refuse(pending, refusal);
  }

  /** Held no longer. */
  close(pending: PendingRequest): void {
    this.unpark(pending);
    if (pending.requestSeq > 0) this.lines.unname(pending.requestSeq);
    if (this.astray.size > 0) this.astray.delete(pending);
    this.#open--;
    if (this.#open === 0) this.onEmpty();
  }

  undecided(): Refusal {
    return { reason: 'undecided', retryAt: plus(this.#clock.now(), UNDECIDED_FOR) };
  }

  #late(pending: PendingRequest): void {
    pending.cancelTimer = undefined;
    const end = plus(pending.answerUntil, SILENCE);
    if (pending.state === 'there' && this.#clock.now() < end) pending.cancelTimer = this.#clock.at(end, () => this.#late(pending));
    else this.refuse(pending, this.undecided());
  }
}

/** Asks of this replica's callers that no gate of this process has: by shard, and those asked at a peer by name. */
export class PendingIndex {
  readonly #lines = new Map<number, Set<PendingRequest>>();
  readonly #named = new Map<number, PendingRequest>();
  #size = 0;

  /** In all lines. */
  get size(): number {
    return this.#size;
  }

  add(pending: PendingRequest): void {
    const { shard } = pending.route;
    let line = this.#lines.get(shard);
    if (line === undefined) {
      line = new Set();
      this.#lines.set(shard, line);
    }
    if (pending.inLine) return;
    pending.inLine = true;
    line.add(pending);
    this.#size++;
  }

  remove(pending: PendingRequest): void {
    if (!pending.inLine) return;
    pending.inLine = false;
    const { shard } = pending.route;
    const line = this.#lines.get(shard);
    line?.delete(pending);
    this.#size--;
    if (line?.size === 0) this.#lines.delete(shard);
  }

  name(pending: PendingRequest): void {
    this.#named.set(pending.requestSeq, pending);
  }

  /** The ask of this name is not waited for any more. */
  unname(wid: number): void {
    this.#named.delete(wid);
  }

  named(wid: number): PendingRequest | undefined {
    return this.#named.get(wid);
  }

  /** Of one shard, as they are to be asked again: those with a place in its order, then the others as they came. */
  of(shard: number): readonly PendingRequest[] {
    return [...(this.#lines.get(shard) ?? [])].sort((a, b) => compareArrival(a.knownArrival, b.knownArrival) || a.serial - b.serial);
  }

  all(): readonly PendingRequest[] {
    return [...this.#lines.values()].flatMap((line) => [...line]);
  }

  /** Returns whether a request of this shard is pending. */
  has(shard: number): boolean {
    return this.#lines.has(shard);
  }
}
