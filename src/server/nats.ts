import type { Config } from '../config/load.ts';
import { collectStaleSessions } from '../coordination/membership/session-gc.ts';
import { JetStreamRegisters } from '../coordination/registers/jetstream.ts';
import type { Registers } from '../coordination/registers/registers.ts';
import { TIMING } from '../coordination/timing.ts';
import { SHARDS } from '../core/sharding.ts';
import { type EpochMs, MILLISECOND, SECOND } from '../core/time.ts';
import { JetStreamStore } from '../ledger/stores/jetstream.ts';
import type { Store } from '../ledger/stores/store.ts';
import { awaitLeader } from '../nats/await-leader.ts';
import { connectNats, type NatsClient } from '../nats/connection.ts';
import { createLayout, type StreamSubject } from '../nats/layout.ts';
import { createMessages, type Messages } from '../nats/messages.ts';
import { type ConnectionEvent, type NatsLogin, type NatsOptions, NatsUnsupported } from '../nats/options.ts';
import { StreamClient } from '../nats/stream-client.ts';
import { openStreams } from '../nats/streams.ts';
import { verifyCompareAndSet } from '../nats/verify-cas.ts';

/** What replicas share over NATS. */
export interface NatsLink {
  readonly registers: Registers;
  readonly store: Store;
  readonly messages: Messages;
  /** Deletes registers of sessions that no replica needs any more; resolves with how many. To be done now and then, by any replica. */
  forgetSessions(): Promise<number>;
  /** The time by the clock of the server that keeps the registers. Rejects when it does not answer in time. */
  serverTime(): Promise<EpochMs>;
  /** Whether registers and messages can be reached now, as far as this process knows. */
  connected(): boolean;
  /** Called with everything that becomes of the connections; the answer ends it. */
  onChange(listener: (change: ConnectionEvent) => void): () => void;
  /** Waits for what is under way and hangs up. Twice does nothing. */
  close(): Promise<void>;
}

/** The options of NATS as the configuration has them; `name` is the replica's. */
export function natsOptionsOf(cluster: NonNullable<Config['cluster']>, login: NatsLogin, name: string): NatsOptions {
  const { nats: servers, tls, prefix, replicas, ledgerBytes, startWithin, dialWithin, answerWithin } = cluster;
  return { servers, login, tls, prefix, name: `sluice ${name}`, replicas, ledgerBytes, startWithin, dialWithin, answerWithin };
}

/** An answer of a register counts so long after the question: beyond, the slots that a renewal could make are over. */
const REGISTERS_WITHIN = TIMING.horizon;

/** An append or a read of the ledger that has not answered by then is unknown: longer than for registers, since records are large. */
const LEDGER_WITHIN = 2 * SECOND;

/**
 * Connects to NATS, makes or checks the streams, and tries out whether they compare and set. `report` receives everything from
 * the first try on. Rejects with `NatsUnfit`, one sentence with what to do, `startWithin` after the start at the latest
 * and a little; everything is closed then.
 */
export async function openNats(options: NatsOptions, report: (change: ConnectionEvent) => void = () => {}): Promise<NatsLink> {
  const layout = createLayout(options.prefix);
  const listeners = new Set([report]);
  const reportAll = (change: ConnectionEvent): void => {
    for (const listener of listeners) listener(change);
  };
  const until = performance.now() + options.startWithin / MILLISECOND;
  const lines: NatsClient[] = [];
  const open = async (name: 'data' | 'ledger'): Promise<NatsClient> => {
    const line = await connectNats({ name, options, inboxPrefix: layout.inboxPrefix, onEvent: reportAll, until });
    lines.push(line);
    return line;
  };
  const hangUp = async (): Promise<void> => {
    await Promise.all(lines.map((line) => line.close()));
  };
  try {
    const data = await open('data');
    const ledger = await open('ledger');
    const unwritten = await openStreams({ line: data, layout, options, onEvent: reportAll, until });
    const records = new StreamClient({ line: data, within: options.answerWithin });
    // What is not answered within `answerWithin` is asked again; the first answer counts all the same if it comes.
    const registerRecords = new StreamClient({ line: data, within: Math.max(options.answerWithin, REGISTERS_WITHIN) });
    const ledgerRecords = new StreamClient({ line: ledger, within: LEDGER_WITHIN });
    const via = ({ stream }: StreamSubject): StreamClient => (layout.ledger.includes(stream) ? ledgerRecords : records);
    await Promise.all(unwritten.map((place) => awaitLeader({ records: via(place), place, onEvent: reportAll, until })));
    const place = { stream: layout.race, subject: layout.raceSubject };
    while ((await verifyCompareAndSet([records, ledgerRecords], place)) === 0) {
      await awaitLeader({ records, place, onEvent: reportAll, until });
      if (performance.now() > until)
        throw new NatsUnsupported(`NATS answers none of six writes within ${options.answerWithin / MILLISECOND} ms; raise cluster.answerWithin.`);
    }
    const store = new JetStreamStore({ records: ledgerRecords, layout, options: { bytes: options.ledgerBytes } });
    let closed: Promise<void> | undefined;
    const registers = new JetStreamRegisters({ records: registerRecords, layout });
    return {
      registers,
      store,
      forgetSessions: () => collectStaleSessions({ registers, shards: SHARDS }),
      serverTime: () => records.time(layout.registers),
      messages: createMessages({ line: data, layout }),
      connected: () => data.connected,
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      close: () => (closed ??= store.close().then(hangUp)),
    };
  } catch (cause) {
    await hangUp().catch(() => {});
    throw cause;
  }
}
