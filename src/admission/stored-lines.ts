import type { Costs } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import { SHARDS } from '../core/sharding.ts';
import type { AcquireHandle, Outcome } from './admission.ts';
import type { StoredLine, StoredRequestAsk, StoredSink } from './stored-line.ts';

/** What the line of a process is divided by. */
export interface StoredLinesDeps {
  readonly line: StoredLine;
  /** The shard that decides for a group; undefined: there is no such group. */
  readonly shardOf: (group: string) => number | undefined;
}

/**
 * Divides the line of one process among the shards that it owns: each has a sink of its own, whose sequences are unique within the
 * shard only. In the line a sequence carries its shard, so sequences below 2^47 are distinct.
 */
export class StoredLines implements StoredSink {
  readonly #line: StoredLine;
  readonly #shardOf: StoredLinesDeps['shardOf'];
  readonly #sinks = new Map<number, StoredSink>();
  /** Groups that are decided here, with the shard that they were opened in. */
  readonly #open = new Map<string, number>();

  constructor({ line, shardOf }: StoredLinesDeps) {
    this.#line = line;
    this.#shardOf = shardOf;
    line.attach(this);
  }

  /** Returns the line of one shard. One sink is attached to it at a time, until {@link detach}. */
  of(shard: number): StoredLine {
    return {
      attach: (sink) => this.#attach(shard, sink),
      enqueue: (group, request) => this.#enqueue(shard, group, request),
      price: (group, key, costs) => this.price(group, key, costs),
      cancel: (group, entry, sequence) => this.#line.cancel(group, entry, sequence * SHARDS + shard),
      withdraw: (group) => {
        if (this.#open.get(group) === shard) this.#line.withdraw(group);
      },
      // A live caller of a cluster is held by the relay, at whichever replica it came to.
      convert: () => undefined,
    };
  }

  /** See {@link StoredLine.price}: the same for every shard, and for groups that another process decides. */
  price(group: string, key: string, costs: Costs): Costs | Refusal {
    return this.#line.price(group, key, costs);
  }

  /** Calls this sink no more; what the shard has in line is forgotten. */
  detach(shard: number, sink: StoredSink): void {
    if (this.#sinks.get(shard) !== sink) return;
    this.#sinks.delete(shard);
    for (const [group, of] of this.#open) if (of === shard) this.#line.withdraw(group);
  }

  // StoredSink

  admitted(sequence: number, outcome: Extract<Outcome, { kind: 'admitted' }>, held: AcquireHandle): void {
    const sink = this.#sinks.get(sequence % SHARDS);
    if (sink === undefined) held.cancel();
    else sink.admitted(Math.floor(sequence / SHARDS), outcome, held);
  }

  refused(sequence: number, refusal: Refusal): void {
    this.#sinks.get(sequence % SHARDS)?.refused(Math.floor(sequence / SHARDS), refusal);
  }

  opened(groups: readonly string[]): void {
    const opened = new Map<number, string[]>();
    for (const group of groups) {
      const shard = this.#shardOf(group);
      if (shard === undefined) continue;
      this.#open.set(group, shard);
      const others = opened.get(shard);
      if (others === undefined) opened.set(shard, [group]);
      else others.push(group);
    }
    for (const [shard, of] of opened) this.#sinks.get(shard)?.opened(of);
  }

  closed(groups: readonly string[]): void {
    for (const group of groups) {
      const shard = this.#open.get(group);
      this.#open.delete(group);
      if (shard !== undefined) this.#sinks.get(shard)?.closed([group]);
    }
  }

  unqueued(group: string): void {
    const shard = this.#open.get(group);
    if (shard !== undefined) this.#sinks.get(shard)?.unqueued(group);
  }

  #attach(shard: number, sink: StoredSink): void {
    this.#sinks.set(shard, sink);
    const groups = [...this.#open].filter(([, of]) => of === shard).map(([group]) => group);
    if (groups.length > 0) sink.opened(groups);
  }

  #enqueue(shard: number, group: string, request: StoredRequestAsk): ReturnType<StoredLine['enqueue']> {
    // Its group has moved to another shard since it was stored: it waits until the group comes back.
    if (this.#open.get(group) !== shard) return undefined;
    return this.#line.enqueue(group, { ...request, sequence: request.sequence * SHARDS + shard });
  }
}
