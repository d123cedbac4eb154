import { setTimeout as wait } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { NatsServer } from '../support/fakes/nats-server.ts';
import { Beats } from './beats.ts';
import { monotonic } from './callers.ts';
import type { OutageLine } from './history.ts';

const LOOK_EVERY_MS = 100;
const ANSWER_MS = 400;

/**
 * Whether NATS takes writes, seen by a client of its own: each stream's leader answers for it, and a server that was cut off
 * from the majority, is down or stands still leads none. Looks only while it is told to.
 */
export class NatsWatch {
  readonly #connections: readonly NatsConnection[];
  readonly #streams: readonly string[];
  /** What the replicas say of themselves, as the first server passes it on. */
  readonly beats: Beats;

  private constructor(connections: readonly NatsConnection[], streams: readonly string[]) {
    this.#connections = connections;
    this.#streams = streams;
    const [first] = connections;
    if (first === undefined) throw new Error('There is no server to watch.');
    this.beats = new Beats(first);
  }

  /** Connects to each server. */
  static async open(servers: readonly NatsServer[]): Promise<NatsWatch> {
    const options = { maxReconnectAttempts: -1, reconnectTimeWait: 50, ignoreClusterUpdates: true, pingInterval: 500, maxPingOut: 2, timeout: 1_000 };
    const connections = await Promise.all(servers.map(({ url }) => connect({ ...options, servers: [url] })));
    const [first] = connections;
    const streams: string[] = [];
    if (first !== undefined) for await (const name of (await jetstreamManager(first)).streams.names()) streams.push(name);
    return new NatsWatch(connections, streams);
  }

  /** Writes down the times in which not every stream had a leader, until told to end and all have one again. */
  during(write: (line: OutageLine) => void): { end(): Promise<void> } {
    let over = false;
    const looking = (async () => {
      let since: number | undefined;
      while (!over || since !== undefined) {
        const began = monotonic();
        const writable = await this.#writable();
        if (writable && since !== undefined) write({ op: 'outage', from: since, until: monotonic() });
        since = writable ? undefined : (since ?? began);
        await wait(LOOK_EVERY_MS);
      }
    })();
    return {
      end: () => {
        over = true;
        return looking;
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  async #writable(): Promise<boolean> {
    const answers = await Promise.all(this.#streams.map((stream) => this.#led(stream)));
    return answers.every((led) => led);
  }

  async #led(stream: string): Promise<boolean> {
    const asks = this.#connections.map(async (connection) => {
      const answer = await connection.request(`$JS.API.STREAM.INFO.${stream}`, '', { timeout: ANSWER_MS });
      const { error, cluster } = answer.json() as { error?: unknown; cluster?: { leader?: string } };
      if (error !== undefined || (cluster !== undefined && cluster.leader === undefined)) throw new Error(`${stream} has no leader`);
    });
    return Promise.any(asks).then(
      () => true,
      () => false,
    );
  }
}
