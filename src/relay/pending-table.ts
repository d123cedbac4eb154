import type { Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import { compareArrival } from './opening-queue.ts';
import type { PendingRequest } from './pending-request.ts';

/** A silent owner's answer is waited for so long after the caller's wait timeout. */
const REPLY_MARGIN: Micros = 300 * MILLISECOND;
/** When to ask again while no replica decides. */
const RETRY_AFTER: Micros = SECOND;

/** Who is held by this replica, and the end of each: an answer, or the end of its wait timeout where no gate of this process keeps it. */
export class PendingTable {
  readonly index = new PendingIndex();
  /** Decided by degraded admission. */
  readonly degraded = new Set<PendingRequest>();
  readonly #clock: Clock;
  readonly #giveUp: (pending: PendingRequest) => void;
  #open = 0;
  onEmpty: () => void = () => {};

  /** `giveUp`: notifies a peer that did not answer in time that the caller waits no more. */
  constructor(deps: { clock: Clock; giveUp: (pending: PendingRequest) => void }) {
    this.#clock = deps.clock;
    this.#giveUp = deps.giveUp;
  }

  /** Callers not yet answered. */
  get open(): number {
    return this.#open;
  }

  add(): void {
    this.#open++;
  }

  /** No gate of this process has it. */
  park(pending: PendingRequest, state: 'unrouted' | 'opening' | 'there'): void {
    pending.state = state;
    pending.localHandle = undefined;
    this.index.add(pending);
    pending.cancelTimer ??= this.#clock.at(pending.heldUntil, () => this.#onTimeout(pending));
  }

  /** A gate of this process has it, which keeps its time. */
  unpark(pending: PendingRequest): void {
    this.index.remove(pending);
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
    for (const pending of this.index.all()) if (which(pending)) this.refuse(pending, refusal);
  }

  /** Held no longer. */
  close(pending: PendingRequest): void {
    this.unpark(pending);
    if (pending.requestSeq > 0) this.index.removeSequence(pending.requestSeq);
    if (this.degraded.size > 0) this.degraded.delete(pending);
    this.#open--;
    if (this.#open === 0) this.onEmpty();
  }

  undecided(): Refusal {
    return { reason: 'undecided', retryAt: plus(this.#clock.now(), RETRY_AFTER) };
  }

  #onTimeout(pending: PendingRequest): void {
    pending.cancelTimer = undefined;
    const end = plus(pending.answerUntil, REPLY_MARGIN);
    if (pending.state === 'there' && this.#clock.now() < end) pending.cancelTimer = this.#clock.at(end, () => this.#onTimeout(pending));
    else this.refuse(pending, this.undecided());
  }
}

/** Asks of this replica's callers that no gate of this process has: by shard, and those asked at a peer by name. */
export class PendingIndex {
  readonly #byShard = new Map<number, Set<PendingRequest>>();
  readonly #bySequence = new Map<number, PendingRequest>();
  #size = 0;

  /** In all lines. */
  get size(): number {
    return this.#size;
  }

  add(pending: PendingRequest): void {
    const { shard } = pending.route;
    let requests = this.#byShard.get(shard);
    if (requests === undefined) {
      requests = new Set();
      this.#byShard.set(shard, requests);
    }
    if (pending.isIndexed) return;
    pending.isIndexed = true;
    requests.add(pending);
    this.#size++;
  }

  remove(pending: PendingRequest): void {
    if (!pending.isIndexed) return;
    pending.isIndexed = false;
    const { shard } = pending.route;
    const requests = this.#byShard.get(shard);
    requests?.delete(pending);
    this.#size--;
    if (requests?.size === 0) this.#byShard.delete(shard);
  }

  addSequence(pending: PendingRequest): void {
    this.#bySequence.set(pending.requestSeq, pending);
  }

  /** The ask of this name is not waited for any more. */
  removeSequence(requestSeq: number): void {
    this.#bySequence.delete(requestSeq);
  }

  bySequence(requestSeq: number): PendingRequest | undefined {
    return this.#bySequence.get(requestSeq);
  }

  /** Of one shard, as they are to be asked again: those with a place in its order, then the others as they came. */
  of(shard: number): readonly PendingRequest[] {
    return [...(this.#byShard.get(shard) ?? [])].sort((a, b) => compareArrival(a.knownArrival, b.knownArrival) || a.serial - b.serial);
  }

  all(): readonly PendingRequest[] {
    return [...this.#byShard.values()].flatMap((requests) => [...requests]);
  }

  /** Returns whether a request of this shard is pending. */
  has(shard: number): boolean {
    return this.#byShard.has(shard);
  }
}
