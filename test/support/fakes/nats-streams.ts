import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';

/** Returns a line for each message of each stream: stream, sequence, time, subject, headers, and how long its payload is; of registers the payload too. */
export async function dumpStreams(urls: readonly string[]): Promise<readonly string[]> {
  const connection = await connect({ servers: [...urls], timeout: 5_000 });
  try {
    const manager = await jetstreamManager(connection);
    const lines: string[] = [];
    for await (const { config, state } of manager.streams.list()) {
      lines.push(`${config.name}: ${JSON.stringify(state)}`);
      for (let from = state.first_seq; from <= state.last_seq; ) {
        const before = from;
        for await (const { seq, time, subject, header, data } of await manager.direct.getBatch(config.name, { seq: from, batch: 256 })) {
          const fields = header?.keys().map((name) => `${name}: ${header.get(name)}`) ?? [];
          const payload = subject.includes('~') ? new TextDecoder().decode(data).replaceAll(/[^ -~]/g, '.') : '';
          lines.push(`${config.name} ${seq} ${time.toISOString()} ${subject} ${fields.join(' ')} (${data.length}) ${payload}`);
          from = seq + 1;
        }
        if (from === before) break;
      }
    }
    return lines;
  } finally {
    await connection.close();
  }
}
