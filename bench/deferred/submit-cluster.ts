import { SECOND } from '../../src/core/time.ts';
import { JetStreamEdge } from '../../src/deferred/stores/jetstream-edge.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { createDeferredLayout } from '../../src/nats/deferred-layout.ts';
import { createLayout } from '../../src/nats/layout.ts';
import { QueueRecords } from '../../src/nats/queue-records.ts';
import { StreamQuota } from '../../src/nats/stream-quota.ts';
import { openStreams } from '../../src/nats/streams.ts';
import { findNatsServer } from '../../test/support/fakes/nats-binary.ts';
import { startNatsCluster } from '../../test/support/fakes/nats-cluster.ts';
import { natsOptions } from '../../test/support/fakes/nats-options.ts';
import { median, short, spread, table } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';
import { submitWrite } from './requests.ts';
import { type Peer, type Round, round } from './submit.ts';

const BYTES = 1_000;
const IN_FLIGHT = 256;
/** Shards of one stream each: what is stored is spread as in a cluster. */
const SHARDS = 8;

/**
 * Acknowledged submits a second over three nats-servers with `sync_interval: always`, three copies, 1 kB each, 256 in flight: the edge of a replica beside
 * the same messages published one by one to the same streams.
 */
export async function submitClusterTable({ rounds, seconds }: { readonly rounds: number; readonly seconds: number }): Promise<string> {
  const { path } = await findNatsServer('newest');
  const cluster = await startNatsCluster(3, { binary: path, syncInterval: 'always' });
  try {
    const options = natsOptions([...cluster.urls]);
    const until = performance.now() + 20_000;
    const line = await connectNats({ name: 'requests', options, inboxPrefix: createLayout('sluice').inboxPrefix, onEvent: () => {}, until });
    const layout = createDeferredLayout('sluice');
    await openStreams({ line, layout: { wanted: () => layout.wanted(3 * 2 ** 30, line.version) }, options, onEvent: () => {}, until });
    const records = await QueueRecords.open({ line, within: 10 * SECOND, streams: layout.queues });
    const room = new StreamQuota({ records, streams: [...layout.queues, ...layout.bodies], bytes: 2 ** 50, relief: 0 });
    const edge = new JetStreamEdge({ records, layout, room, nowMs: Date.now });
    let serial = 0;
    const body = new Uint8Array(BYTES);
    const submit =
      (write: (shard: number) => Promise<unknown>): (() => Promise<unknown>) =>
      () =>
        write(serial++ % SHARDS);
    const single = async (shard: number): Promise<unknown> => {
      const place = layout.shard(shard).request(`bench-${serial}`);
      return records.write({ place, row: 'x'.repeat(400), bytes: new Uint8Array(BYTES + 350), last: 0 });
    };
    const stored = (shard: number): Promise<unknown> => {
      const { row, head } = submitWrite(serial, body);
      const { sequence: _, secret: __, ...asked } = row;
      return edge.submit({ shard, row: asked, head, body });
    };
    const peers: readonly Peer[] = [
      { name: 'edge of a replica', submit: submit(stored), pids: [], close: async () => {} },
      { name: 'single publishes', submit: submit(single), pids: [], close: async () => {} },
    ];
    const found = new Map<string, Round[]>(peers.map(({ name }) => [name, []]));
    for (const peer of peers) await round(peer, IN_FLIGHT, 0.5);
    for (let index = 0; index < rounds; index++) {
      for (const peer of index % 2 === 0 ? peers : peers.toReversed()) {
        const figures = await round(peer, IN_FLIGHT, seconds);
        found.get(peer.name)?.push(figures);
        progress(`  ${peer.name}: ${Math.round(figures.perSecond)}/s`);
      }
    }
    await line.close();
    return asTable(found);
  } finally {
    await cluster.clean();
  }
}

function asTable(found: ReadonlyMap<string, readonly Round[]>): string {
  const [base = []] = found.values();
  const of = (all: readonly Round[], figure: (each: Round) => number): string => short(median(all.map(figure)));
  const rows = [...found].map(([name, all]) => {
    const ratio = spread(all.map(({ perSecond }, index) => (base[index]?.perSecond ?? Number.NaN) / perSecond));
    const latency = `${of(all, ({ p50Ms }) => p50Ms)} / ${of(all, ({ p99Ms }) => p99Ms)}`;
    return [name, of(all, ({ perSecond }) => perSecond), latency, `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)})`];
  });
  return table(['256 in flight, R3', 'acknowledged/s', 'p50 / p99 ms', 'the edge is x'], rows);
}
