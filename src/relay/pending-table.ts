import type { Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import { compareArrival } from './opening-queue.ts';
import type { PendingRequest } from './pending-request.ts';

/** Time that the answer of a silent owner is waited for after the caller's wait timeout. */
const REPLY_MARGIN: Micros = 300 * MILLISECOND;
/** When a caller is to retry while no replica decides. */
const RETRY_AFTER: Micros = SECOND;

/** Pending requests of this replica. Ends each with an answer, or with its wait timeout where no gate of this process keeps that. */
export class PendingTable {
  readonly index = new PendingIndex();
  /** Decided by degraded admission. */
  readonly degraded = new Set<PendingRequest>();
  readonly #clock: Clock;
  readonly #giveUp: (pending: PendingRequest) => void;
  #open = 0;
  onEmpty: () => void = () => {};

  /** `giveUp` notifies a peer that did not answer in time that the caller has stopped waiting. */
  constructor(deps: { clock: Clock; giveUp: (pending: PendingRequest) => void }) {
    this.#clock = deps.clock;
    this.#giveUp = deps.giveUp;
  }

  /** Number of callers that are not answered yet. */
  get open(): number {
    return this.#open;
  }

  add(): void {
    this.#open++;
  }

  /** Keeps a request that no gate of this process has, and starts its timer. */
  park(pending: PendingRequest, state: 'unrouted' | 'opening' | 'there'): void {
    pending.state = state;
    pending.localHandle = undefined;
    this.index.add(pending);
    pending.cancelTimer ??= this.#clock.at(pending.heldUntil, () => this.#onTimeout(pending));
  }

  /** Removes a request that a gate of this process has taken; the gate keeps its timeout. */
  unpark(pending: PendingRequest): void {
    this.index.remove(pending);
    pending.cancelTimer?.();
    pending.cancelTimer = undefined;
  }

  /** Answers a request. */
  finish(pending: PendingRequest, outcome: Outcome): void {
    this.close(pending);
    pending.reply(outcome);
  }

  refuse(pending: PendingRequest, refusal: Refusal): void {
    if (pending.state === 'there') this.#giveUp(pending);
    this.finish(pending, { kind: 'refused', refusal });
  }

  /** Refuses all requests that no gate of this process has, and that `which` returns true for. */
  refuseAll(refusal: Refusal, which: (pending: PendingRequest) => boolean = () => true): void {
    for (const pending of this.index.all()) if (which(pending)) this.refuse(pending, refusal);
  }

  /** Removes a request. Calls `onEmpty` after the last one. */
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

/** Requests of this replica's callers that no gate of this process has: by shard, and those sent to a peer by sequence number. */
export class PendingIndex {
  readonly #byShard = new Map<number, Set<PendingRequest>>();
  readonly #bySequence = new Map<number, PendingRequest>();
  #size = 0;

  /** Number of requests of all shards. */
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

  /** Forgets the number of an attempt that has ended. */
  removeSequence(requestSeq: number): void {
    this.#bySequence.delete(requestSeq);
  }

  bySequence(requestSeq: number): PendingRequest | undefined {
    return this.#bySequence.get(requestSeq);
  }

  /** Returns the requests of one shard in the order to send them: those with an arrival in the group's order, then the others as they came. */
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
