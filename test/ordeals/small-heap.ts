import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { Client, check, inParallel, metric, type Ordeal } from './ordeal.ts';

const HEAP_MB = 128;
const KEYS = 30_000;
const LEASES = 30_000;
const WAITERS = 2_000;

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: none }
http: { engine: node }
store: { path: ./data }
drain: { delay: 0, grace: 0 }
groups:
  keyed: { limits: [ { name: n, rate: 5/1s, burst: 5, scope: key } ] }
  slots: { limits: [ { name: n, concurrency: 1000 } ], lease: { default: 30s } }
  closed: { limits: [ { name: n, concurrency: 1 } ], lease: { default: 10m, max: 10m } }
`;

/** A server with a heap of 128 MB: many keys, many leases, many who wait, and then none of them. */
export const smallHeap: Ordeal = {
  name: 'small-heap',
  about: `with --max-old-space-size=${HEAP_MB}: ${KEYS} keys, ${LEASES} leases, ${WAITERS} who wait, then nobody`,
  lacks: () => undefined,
  run: async (say) => {
    const server = new ServerProcess(CONFIGURATION, undefined, { env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` } });
    try {
      const serving = await server.until('serving');
      const client = new Client(serving['api']);
      const health = new Client(serving['health']);
      const heap = async (): Promise<number> => metric(await health.text('/metrics'), 'nodejs_heap_size_used_bytes') / 1e6;
      const first = await client.acquire('closed', { ttl: '5s' });
      const tell = async (what: string): Promise<void> => say(`${what}; heap ${(await heap()).toFixed(0)} MB`);
      await tell('begun');
      await inParallel(KEYS, 64, async (index) => {
        const { status } = await client.acquire('keyed', { key: `key-${index}`, ttl: '5s' });
        check(status === 200, `key ${index} was answered ${status}`);
        return true;
      });
      await tell(`${KEYS} keys were admitted`);
      await inParallel(LEASES, 64, async (index) => {
        const answer = await client.acquire('slots', { ttl: '10s' });
        check(answer.status === 200, `lease ${index} was answered ${answer.status}`);
        return (await client.release(answer.body['permit'])).status === 200;
      });
      await tell(`${LEASES} leases were taken and released`);
      const leave = new AbortController();
      const clientLimiter = new Client(serving['api'], WAITERS);
      const held = Promise.allSettled(Array.from({ length: WAITERS }, () => clientLimiter.acquire('closed', { ttl: '10m' }, leave.signal)));
      await until('all who wait', async () => (await waiting(health)) === WAITERS, 60_000);
      await tell(`${WAITERS} wait`);
      leave.abort();
      await held;
      await until('nobody to wait', async () => (await waiting(health)) === 0, 30_000);
      await client.release(first.body['permit']);
      const next = await client.acquire('closed', { ttl: '5s' });
      check(next.status === 200 && BigInt(String(next.body['fence'])) > BigInt(String(first.body['fence'])), 'the lease that all waited for was not given on');
      check(server.child.exitCode === null, 'the server ended');
      await tell('all have left, and the next was served');
      await Promise.all([client.close(), clientLimiter.close(), health.close()]);
    } finally {
      server.clean();
      await server.exit;
    }
  },
};

async function waiting(health: Client): Promise<number> {
  return Number(/^sluice_backlog_requests\{group="closed"\} (\d+)$/m.exec(await health.text('/metrics'))?.[1]);
}
