import type { NatsConnection } from '@nats-io/transport-node';
import { decodeHeartbeat } from '../../src/coordination/membership/session-record.ts';
import { createLayout } from '../../src/nats/layout.ts';
import { monotonic } from './callers.ts';

/** Heartbeats of the replicas as they pass over NATS: a heartbeat is sent in the moment in which its session is renewed. */
export class Beats {
  readonly #own = new Map<string, ReadonlySet<number>>();
  readonly #next = new Map<string, ((at: number) => void)[]>();

  /** Listens until the connection is closed. */
  constructor(connection: NatsConnection, prefix = 'sluice') {
    connection.subscribe(createLayout(prefix).message('hb'), {
      callback: (error, message) => {
        if (error === null) this.#heard(message.data);
      },
    });
  }

  /** Returns which of these shards a replica said last to own. */
  owned(replica: string, shards: readonly number[]): readonly number[] {
    const own = this.#own.get(replica);
    return shards.filter((shard) => own?.has(shard));
  }

  /** Resolves with the time of the next heartbeat of a replica, in microseconds of CLOCK_MONOTONIC; undefined if none comes in time. */
  next(replica: string, msMax = 2_000): Promise<number | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), msMax);
      const waiting = this.#next.get(replica) ?? [];
      this.#next.set(replica, waiting);
      waiting.push((at) => {
        clearTimeout(timer);
        resolve(at);
      });
    });
  }

  #heard(bytes: Uint8Array): void {
    const { replica, own } = decodeHeartbeat(bytes);
    this.#own.set(replica, new Set(own.map(({ shard }) => shard)));
    const waiting = this.#next.get(replica) ?? [];
    this.#next.delete(replica);
    for (const resolve of waiting) resolve(monotonic());
  }
}
