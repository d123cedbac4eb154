import { join } from 'node:path';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { Client, check, type Ordeal } from './ordeal.ts';
import { SIZE, SmallDisk } from './small-disk.ts';

/** A file system of 20 MB is filled while the server runs and while it starts, and emptied again. */
export const fullDisk: Ordeal = {
  name: 'full-disk',
  about: `a file system of ${SIZE} is filled under a running and a starting server`,
  lacks: () => SmallDisk.lacks('tmpfs'),
  run: async (say) => {
    const disk = SmallDisk.mount('tmpfs');
    const configured = (folder: string): string => `
listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: "127.0.0.1:0" }
http: { engine: node }
store: { path: ${join(disk.path, folder)} }
drain: { delay: 0, grace: 0 }
groups:
  slots: { limits: [ { name: n, concurrency: 5000 } ], lease: { default: 10m, max: 10m } }
  day: { limits: [ { name: n, window: 5000/1h } ] }
`;
    const configuration = configured('data');
    let server = new ServerProcess(configuration);
    const { folder } = server;
    try {
      let serving = await server.until('serving');
      let client = new Client(serving['api']);
      const held: string[] = [];
      for (let index = 0; index < 3; index++) held.push(String((await client.acquire('slots', { ttl: '5s' })).body['fence']));
      say(`three leases are held, fences ${held.join(', ')}`);

      disk.fill();
      // Pages that are free inside its file last for a while, and a small write may fit where a larger one did not.
      let more = 0;
      let refused = 0;
      for (let asked = 0; refused < 5 && asked < 4_000; asked++) {
        const group = asked % 5 === 4 ? 'day' : 'slots';
        const { status, body, retryAfter } = await client.acquire(group, { ttl: '1s', holder: 'h'.repeat(200) });
        if (status === 200) {
          if (group === 'slots') held.push(String(body['fence']));
          more++;
          continue;
        }
        check(status === 503 && body['reason'] === 'unstored', `a full disk was answered ${status} ${String(body['reason'])}, not 503 unstored`);
        check(Number(retryAfter) >= 1, `Retry-After was ${retryAfter}`);
        refused++;
      }
      check(refused === 5, `only ${refused} were refused on a full disk, and ${more} admitted`);
      check(server.child.exitCode === null && server.child.signalCode === null, 'the server ended on a full disk');
      say(`full: ${more} more found room inside the store, then callers were refused unstored, with Retry-After; the server lives`);

      disk.free();
      const room = performance.now();
      await until('an admission after there was room', async () => (await client.acquire('day', { ttl: '1s' })).status === 200, 20_000);
      const fourth = await client.acquire('slots', { ttl: '5s' });
      check(fourth.status === 200, `a lease was answered ${fourth.status} although there was room`);
      held.push(String(fourth.body['fence']));
      say(`room: admitted again after ${Math.round(performance.now() - room)} ms`);

      await client.close();
      server.kill();
      await server.exit;
      disk.fill();
      server = new ServerProcess(configured('fresh'), folder);
      await server.until('store_waiting');
      server.child.kill('SIGTERM');
      const [code] = await server.exit;
      check(code === 0, `a start that waited for room ended with ${code} at SIGTERM`);
      server = new ServerProcess(configured('fresh'), folder);
      await server.until('store_waiting');
      disk.free();
      await server.until('serving');
      server.kill();
      await server.exit;
      say('a first start on the full disk says so and waits; SIGTERM ends it, room lets it serve');

      disk.fill();
      server = new ServerProcess(configuration, folder);
      const { event } = await server.until('store_waiting', 'serving');
      say(`killed and started again on the full disk: ${event}`);
      server.kill();
      await server.exit;
      disk.free();
      server = new ServerProcess(configuration, folder);
      serving = await server.until('serving');
      client = new Client(serving['api']);
      const admin = new Client(serving['admin']);
      const leases: { fence: string }[] = [];
      for (let token = ''; ; ) {
        const page = (await admin.get(`/v1/groups/slots/leases?pageSize=1000&pageToken=${token}`)).body as {
          leases?: { fence: string }[];
          nextPageToken?: string;
        };
        leases.push(...(page.leases ?? []));
        token = page.nextPageToken ?? '';
        if (token === '') break;
      }
      for (const fence of held)
        check(
          leases.some((lease) => lease.fence === fence),
          `the lease with fence ${fence} was lost`,
        );
      const last = await client.acquire('slots', { ttl: '5s' });
      check(
        last.status === 200 && BigInt(String(last.body['fence'])) > BigInt(held.at(-1) as string),
        `a new lease was answered ${last.status}, fence ${String(last.body['fence'])}`,
      );
      say(`room again: it serves, all ${held.length} leases are there, fences go on`);
      await Promise.all([client.close(), admin.close()]);
    } finally {
      server.clean();
      await server.exit;
      disk.remove();
    }
  },
};
