import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { Client, check, inParallel, metric, type Ordeal } from './ordeal.ts';

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: none }
http: { engine: node }
store: { path: ./data, bytes: 16MiB }
drain: { delay: 0, grace: 0 }
groups:
  hog: { limits: [ { name: n, concurrency: 1000000 } ], lease: { default: 2h, max: 2h } }
  other: { limits: [ { name: n, concurrency: 100 } ], lease: { default: 2h, max: 2h } }
`;

/** More leases than the store can hold, each with a holder's name of this length. */
const LEASES = 120_000;
const HOLDER = 'h'.repeat(120);

/** One group takes leases until `store.bytes` is reached; the server is killed; all are released. */
export const storeFull: Ordeal = {
  name: 'store-full',
  about: 'one group fills a store of 16 MiB with leases that live; it is killed, and they are released',
  lacks: () => undefined,
  run: async (say) => {
    let server = new ServerProcess(CONFIGURATION);
    const { folder } = server;
    try {
      let serving = await server.until('serving');
      let client = new Client(serving['api']);
      const permits: string[] = [];
      let refusal: { status: number; retryAfter: string | undefined; body: Record<string, unknown> } | undefined;
      await inParallel(LEASES, 64, async (index) => {
        const answer = await client.acquire('hog', { ttl: '2s', holder: `${HOLDER}${index}` });
        if (answer.status === 200) permits.push(String(answer.body['permit']));
        else refusal = answer;
        return answer.status === 200;
      });
      check(refusal !== undefined, `${LEASES} leases did not fill the store`);
      check(
        refusal?.status === 503 && refusal.body['reason'] === 'unstored',
        `a full store was answered ${refusal?.status} ${String(refusal?.body['reason'])}`,
      );
      check(Number(refusal?.retryAfter) >= 1, `Retry-After was ${refusal?.retryAfter}`);
      await server.until('store_filling');
      say(`${permits.length} leases live, then 503 unstored with Retry-After; the log said store_filling before`);

      const others = await Promise.all(Array.from({ length: 10 }, () => client.acquire('other', { ttl: '5s' })));
      check(
        others.every(({ status }) => status === 200),
        'another group was refused while one was full',
      );
      const full = await figures(serving['health']);
      check(full.used <= full.max, `${full.used} bytes are in use, of ${full.max}`);
      say(`another group goes on; ${full.used} of ${full.max} bytes in use, fill ${full.fill.toFixed(2)}`);

      await client.close();
      server.kill();
      await server.exit;
      server = new ServerProcess(CONFIGURATION, folder);
      serving = await server.until('serving');
      client = new Client(serving['api']);
      const lost: string[] = [];
      await inParallel(permits.length, 64, async (index) => {
        const { status } = await client.release(permits[index]);
        if (status !== 200) lost.push(`${permits[index]}: ${status}`);
        return true;
      });
      check(lost.length === 0, `${lost.length} leases were lost by the crash, the first ${lost[0]}`);
      say('killed and started: every lease was there, and was released');

      let again = 0;
      await until('a lease of the group that was full', async () => (await client.acquire('hog', { ttl: '2s' })).status === 200, 30_000);
      await inParallel(permits.length >> 1, 64, async (index) => {
        const { status } = await client.acquire('hog', { ttl: '10s', holder: `${HOLDER}${index}` });
        if (status === 200) again++;
        return status === 200;
      });
      check(again >= permits.length >> 1, `only ${again} leases fitted again`);
      const after = await figures(serving['health']);
      say(`${again} new leases fitted again; ${after.used} bytes in use, fill ${after.fill.toFixed(2)}`);
      await client.close();
    } finally {
      server.clean();
      await server.exit;
    }
  },
};

async function figures(health: unknown): Promise<{ used: number; max: number; fill: number }> {
  const client = new Client(health);
  const text = await client.text('/metrics');
  await client.close();
  return { used: metric(text, 'sluice_store_used_bytes'), max: metric(text, 'sluice_store_max_bytes'), fill: metric(text, 'sluice_store_fill_ratio') };
}
