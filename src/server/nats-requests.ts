import { MILLISECOND, SECOND } from '../core/time.ts';
import type { RequestEdge, SharedStore } from '../deferred/shared-store.ts';
import { JetStreamStore } from '../deferred/stores/jetstream.ts';
import { JetStreamEdge } from '../deferred/stores/jetstream-edge.ts';
import { awaitLeader } from '../nats/await-leader.ts';
import { connectNats } from '../nats/connection.ts';
import { createDeferredLayout } from '../nats/deferred-layout.ts';
import { createLayout } from '../nats/layout.ts';
import type { ConnectionEvent, NatsOptions } from '../nats/options.ts';
import { QueueRecords } from '../nats/queue-records.ts';
import { StreamQuota } from '../nats/stream-quota.ts';
import { openStreams } from '../nats/streams.ts';

/** A write or a read of stored requests that has not been answered by then is unknown. */
const ANSWER_WITHIN = 2 * SECOND;

/** Stored requests as replicas share them over NATS. */
export interface NatsRequests {
  readonly edge: RequestEdge;
  openStore(shard: number, term: bigint): SharedStore;
  /** Of the streams that hold requests and results, as far as it is known. */
  space(): { readonly bytes: number; readonly bytesMax: number };
  /** Waits for what is under way and hangs up. */
  close(): Promise<void>;
}

/**
 * Connects once more to NATS, so that bodies delay neither heartbeats nor the ledger, and makes or checks the streams of stored requests.
 * Rejects with `NatsUnfit`, one sentence with what to do. `bytes`: for all streams, of each copy.
 */
export async function openNatsRequests(
  options: NatsOptions,
  bytes: number,
  { onEvent, nowMs }: { readonly onEvent: (change: ConnectionEvent) => void; readonly nowMs: () => number },
): Promise<NatsRequests> {
  const until = performance.now() + options.startWithin / MILLISECOND;
  const line = await connectNats({ name: 'requests', options, inboxPrefix: createLayout(options.prefix).inboxPrefix, onEvent, until });
  try {
    const layout = createDeferredLayout(options.prefix);
    const wanted = { wanted: () => layout.wanted(bytes, line.version) };
    const unwritten = await openStreams({ line, layout: wanted, options, onEvent, until });
    const records = await QueueRecords.open({ line, within: ANSWER_WITHIN, streams: layout.queues });
    const verbs = {
      newest: (place: Parameters<QueueRecords['newest']>[0]) => records.newest(place),
      write: (place: Parameters<QueueRecords['newest']>[0], payload: Uint8Array, last: number) => records.write({ place, row: '', bytes: payload, last }),
    };
    await Promise.all(unwritten.map((place) => awaitLeader({ records: verbs, place, onEvent, until })));
    const room = new StreamQuota({ records, streams: [...layout.queues, ...layout.bodies], bytes: Number.MAX_SAFE_INTEGER, relief: 0 });
    const edge = new JetStreamEdge({ records, layout, room, nowMs });
    return {
      edge,
      openStore: (shard, term) => new JetStreamStore({ records, layout: layout.shard(shard), shard, term, edge, nowMs, room }),
      space: () => {
        const known = layout.queues.map((stream) => room.known(stream));
        const sum = (what: 'bytes' | 'bytesMax'): number => known.reduce((total, each) => total + (Number.isFinite(each[what]) ? each[what] : 0), 0);
        return { bytes: sum('bytes'), bytesMax: sum('bytesMax') };
      },
      close: async () => {
        await edge.quiet();
        await line.close();
      },
    };
  } catch (cause) {
    await line.close().catch(() => {});
    throw cause;
  }
}
