import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SECOND } from '../../../src/core/time.ts';
import { JetStreamStore, type LogRecords } from '../../../src/ledger/stores/jetstream.ts';
import type { Sequence } from '../../../src/ledger/stores/store.ts';
import { connectNats, type NatsClient } from '../../../src/nats/connection.ts';
import { createLayout } from '../../../src/nats/layout.ts';
import { type StoredMessage, StreamClient } from '../../../src/nats/stream-client.ts';
import { openStreams } from '../../../src/nats/streams.ts';
import { CorruptRecord } from '../../../src/storage/checksum.ts';
import { storeSuite } from '../../conformance/store.suite.ts';
import { natsBinary, natsVersions, showLogsOfFailures } from '../../support/fakes/nats.ts';
import { forgetStreams, natsOptions } from '../../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../../support/fakes/nats-server.ts';

showLogsOfFailures();

const layout = createLayout('sluice');

let server: NatsServer;
beforeAll(async () => {
  server = await startNats({ binary: natsBinary() });
});
afterAll(() => server?.clean());

/** Streams, and a way to them on which messages come to harm; `version` hides that the server is newer. */
async function rigged(version?: string) {
  const lines: NatsClient[] = [];
  const harm = new Map<string, (bytes: Uint8Array) => Uint8Array | undefined>();
  const connected = async (): Promise<NatsClient> => {
    const options = natsOptions([server.url]);
    const parts = { name: 'ledger', options, inboxPrefix: layout.inboxPrefix, onEvent: () => {}, until: performance.now() + 60_000 } as const;
    const line = await connectNats(parts);
    await openStreams({ line, layout, options, onEvent: () => {}, until: performance.now() + 60_000 });
    lines.push(line);
    return line;
  };
  const records = async (): Promise<LogRecords> => {
    const line = await connected();
    const seen = version === undefined ? line : Object.create(line, { version: { value: version }, connected: { value: true } });
    const sound = new StreamClient({ line: seen, within: 2 * SECOND });
    return {
      write: sound.write.bind(sound),
      newest: sound.newest.bind(sound),
      next: sound.next.bind(sound),
      purge: sound.purge.bind(sound),
      size: sound.size.bind(sound),
      async *scan(place, from): AsyncIterable<StoredMessage> {
        for await (const message of sound.scan(place, from)) {
          const bytes = (harm.get(`${message.subject}#${message.sequence}`) ?? ((same) => same))(message.bytes);
          if (bytes !== undefined) yield { ...message, bytes };
        }
      },
    };
  };
  const change = (how: (bytes: Uint8Array) => Uint8Array | undefined) => async (subject: string, sequence: Sequence) => {
    harm.set(`${layout.log(subject).subject}#${sequence}`, how);
  };
  return {
    open: async (bytes: number) => new JetStreamStore({ records: await records(), layout, options: { bytes } }),
    damage: change((bytes) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 1 : byte))),
    tear: change((bytes) => bytes.slice(0, -3)),
    lose: change(() => undefined),
    heal: () => harm.clear(),
    async end() {
      for (const line of lines) await line.close();
      await forgetStreams([server.url]);
    },
  };
}

storeSuite('jetstream', () => rigged(), { shares: false });
storeSuite('jetstream, read as from a server that knows no batches', () => rigged('2.10.27'), { shares: false });

describe('logs in JetStream', () => {
  const text = (value: string) => new TextEncoder().encode(value);

  it('are refused when a record in the middle is gone, and not when it was trimmed', async () => {
    const rig = await rigged();
    const store = await rig.open(64 << 20);
    const read = async (from = 0) => {
      const found: string[] = [];
      for await (const { bytes } of store.read('a', from)) found.push(new TextDecoder().decode(bytes));
      return found;
    };
    const sequences: number[] = [0];
    for (const value of ['1', '2', '3', '4']) sequences.push(await store.append('a', text(value), sequences.at(-1) ?? 0));
    await rig.lose('a', sequences[2] ?? 0);
    await expect(read()).rejects.toThrow(new CorruptRecord(`a#${sequences[2]}`));
    await expect(read(sequences[2])).rejects.toThrow(new CorruptRecord(`a#${sequences[2]}`));
    expect(await read(sequences[3])).toEqual(['3', '4']);
    await store.trim('a', sequences[3] ?? 0);
    expect(await read()).toEqual(['3', '4']);
    await rig.end();
  });

  it('are read to the end when a server that lagged behind has caught up', async () => {
    const rig = await rigged();
    const store = await rig.open(64 << 20);
    let last = 0;
    for (const value of ['1', '2', '3']) last = await store.append('a', text(value), last);
    await rig.lose('a', last - 1);
    const found: string[] = [];
    for await (const { bytes } of store.read('a', 0)) {
      found.push(new TextDecoder().decode(bytes));
      setTimeout(rig.heal, 300);
    }
    expect(found).toEqual(['1', '2', '3']);
    await rig.end();
  });
});

// The first is the run's server, which all above runs on.
describe.each(natsVersions().slice(1))('on nats-server $version', ({ binary }) => {
  let above: NatsServer;
  beforeAll(async () => {
    above = server;
    server = await startNats({ binary: binary() });
  });
  afterAll(async () => {
    await server.clean();
    server = above;
  });

  storeSuite('jetstream', () => rigged(), { shares: false });
});
