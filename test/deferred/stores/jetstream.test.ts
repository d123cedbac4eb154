import { afterAll, beforeAll, describe } from 'vitest';
import { type DeferredStoreRig, deferredStoreSuite } from '../../conformance/deferred-store.suite.ts';
import { natsVersions, showLogsOfFailures } from '../../support/fakes/nats.ts';
import { type NatsServer, startNats } from '../../support/fakes/nats-server.ts';
import { NumberedStore, type Numbers, openQueues, type Queues, seatAt, withVerbs } from './jetstream-rig.ts';

showLogsOfFailures();

let server: NatsServer;
let queues: Queues;
let shards = 0;
const others: Queues[] = [];

/** Each rig is a shard of its own: all of them share the streams. Time stands still at zero, so that only sweeps forget what is kept. */
async function rigged(): Promise<DeferredStoreRig> {
  const shard = shards++ % 256;
  const numbers: Numbers = { given: new Map(), asked: new Map(), next: 1 };
  let term = 0n;
  let own = queues;
  return {
    async create(bytesMax) {
      if (bytesMax !== undefined) {
        // Submits stop at eight ninths of a stream, which is to be what the suite has as 95 % and one request more.
        const stream = ((bytesMax * 0.95 + (64 << 10)) * 9) / 8;
        own = await openQueues(server.url, { prefix: 'small', bytes: stream * 16 });
        others.push(own);
      }
      const records = withVerbs(own.records, { features: { ...own.records.features, ttl: false } });
      return new NumberedStore(
        seatAt({ layout: own.layout, records }, shard, ++term, () => 0),
        shard,
        numbers,
      );
    },
    end: async () => {},
  };
}

describe.each(natsVersions())('on nats-server $version', ({ binary }) => {
  beforeAll(async () => {
    server = await startNats({ binary: binary() });
    queues = await openQueues(server.url);
  });
  afterAll(async () => {
    for (const { line } of [queues, ...others.splice(0)]) await line.close();
    await server.clean();
  });
  deferredStoreSuite('jetstream', rigged);
});
