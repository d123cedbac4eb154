import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { MILLISECOND, SECOND } from '../../../src/core/time.ts';
import { createLayout } from '../../../src/nats/layout.ts';
import type { NatsOptions } from '../../../src/nats/options.ts';

/** What a test opens NATS with, in haste and in little room. */
export function natsOptions(servers: readonly string[], more: Partial<NatsOptions> = {}): NatsOptions {
  return {
    servers,
    login: { kind: 'none' },
    tls: undefined,
    prefix: 'sluice',
    name: 'test',
    replicas: 'auto',
    ledgerBytes: 64 << 20,
    startWithin: 60 * SECOND,
    dialWithin: 500 * MILLISECOND,
    // A busy machine answers late; what these tests are about is not time.
    answerWithin: 2 * SECOND,
    ...more,
  };
}

/** Deletes all streams of a prefix, for the next test. */
export async function forgetStreams(servers: readonly string[], prefix = 'sluice'): Promise<void> {
  const connection = await connect({ servers: [...servers] });
  try {
    const manager = await jetstreamManager(connection);
    // With its last stream a server removes the account's folder, in its own time, under whoever makes the next one.
    await manager.streams.add({ name: 'KEEP', subjects: ['keep'] });
    for (const { name } of createLayout(prefix).wanted(0)) await manager.streams.delete(name).catch(() => false);
  } finally {
    await connection.close();
  }
}
