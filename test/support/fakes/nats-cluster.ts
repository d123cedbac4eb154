import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { NatsServer, type NatsServerOptions } from './nats-server.ts';
import { freePort } from './ports.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { until } from './until.ts';

/** What every server of a cluster is started with; names are given. */
export interface NatsClusterOptions extends Omit<NatsServerOptions, 'name'> {
  /** Whether the servers' connections to each other can be cut, see `between`; default false: they are direct. */
  readonly proxied?: boolean;
  /** Whether clients are told of the other servers; default true. */
  readonly advertised?: boolean;
}

/** One server's way to another. */
interface Route {
  readonly from: string;
  readonly to: string;
  readonly proxy: TcpProxy;
}

interface MetaCluster {
  readonly leader?: string;
}

/** Servers n1, n2, n3 joined by routes on loopback. They tell clients of each other; a client that is to stay at one says `ignoreClusterUpdates`. */
export class NatsCluster {
  readonly servers: readonly NatsServer[];
  readonly #routes: readonly Route[];

  /** Use startNatsCluster. */
  constructor(servers: readonly NatsServer[], routes: readonly Route[]) {
    this.servers = servers;
    this.#routes = routes;
  }

  /** Where clients connect, one per server. */
  get urls(): readonly string[] {
    return this.servers.map(({ url }) => url);
  }

  /** The server of this name, as it stands in what JetStream says of leaders. */
  server(name: string): NatsServer {
    const found = this.servers.find((server) => server.name === name);
    if (found === undefined) throw new Error(`There is no server ${name}.`);
    return found;
  }

  /**
   * All lines between a server and another, or every other: cut or frozen together, they part the two. There are two of each
   * pair, for each server dials, and whose connection stays is chance. Only in a cluster started with `proxied`.
   */
  between(one: NatsServer, other?: NatsServer): readonly TcpProxy[] {
    const joins = ({ from, to }: Route) => [from, to].includes(one.name) && (other === undefined || [from, to].includes(other.name));
    const found = this.#routes.filter(joins).map(({ proxy }) => proxy);
    if (found.length === 0) throw new Error('The cluster was not started with `proxied`.');
    return found;
  }

  /** Who leads the cluster's own group, which places streams; undefined: nobody that every running server agrees on. A paused server does not run. */
  async metaLeader(among: readonly NatsServer[] = this.servers): Promise<NatsServer | undefined> {
    const clusters = await Promise.all(among.map(metaCluster));
    const [leader] = clusters.map((cluster) => cluster?.leader);
    return among.find(({ name }) => name === leader && clusters.every((cluster) => cluster?.leader === name));
  }

  /** Settles when those of its servers (default all) agree on one of them as leader, and each has caught up with it. */
  async settled(among: readonly NatsServer[] = this.servers, msMax = 30_000): Promise<void> {
    try {
      await until(`${among.map(({ name }) => name).join(', ')} to agree on a leader`, () => this.#agreed(among), msMax);
    } catch (cause) {
      const views = await Promise.all(among.map(async (server) => `${server.name}: ${JSON.stringify(await metaCluster(server))}\n${server.log}`));
      throw new Error(`${(cause as Error).message}\n${views.join('\n')}`, { cause });
    }
  }

  /** Ends all and removes their folders. */
  async clean(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.clean()));
    await Promise.all(this.#routes.map(({ proxy }) => proxy.close()));
  }

  async #agreed(among: readonly NatsServer[]): Promise<boolean> {
    if ((await this.metaLeader(among)) === undefined) return false;
    // Not what the leader says of its followers: of one that came back it knows nothing until something is written (2.10).
    const health = await Promise.all(among.map((server) => server.monitor('healthz') as Promise<{ status: string }>));
    return health.every(({ status }) => status === 'ok');
  }
}

/**
 * A cluster in which replicated streams can be made: about two seconds. With a configuration of its own (users, TLS) it is known
 * only that the servers agree on a leader.
 */
export async function startNatsCluster(size: number, { proxied = false, advertised = true, ...parts }: NatsClusterOptions): Promise<NatsCluster> {
  const nodes = await Promise.all(Array.from({ length: size }, async (_, index) => ({ name: `n${index + 1}`, port: await freePort() })));
  const proxies: Route[] = [];
  const servers: NatsServer[] = [];
  for (const { name, port } of nodes) {
    const routes: string[] = [];
    for (const other of nodes.filter((node) => node.name !== name)) {
      const proxy = proxied ? await TcpProxy.to(other.port) : undefined;
      if (proxy !== undefined) proxies.push({ from: name, to: other.name, proxy });
      routes.push(`"nats-route://127.0.0.1:${proxy?.port ?? other.port}"`);
    }
    // Servers tell each other of third ones; what they tell here leads nowhere, so that no way goes round the proxies.
    const advertise = `${proxied ? 'advertise: "127.0.0.1:1", ' : ''}${advertised ? '' : 'no_advertise: true, '}`;
    const cluster = `cluster { name: sluice, listen: "127.0.0.1:${port}", ${advertise}routes: [${routes.join(', ')}] }`;
    servers.push(new NatsServer({ ...parts, name, config: [cluster, parts.config ?? ''].join('\n') }, [await freePort(), await freePort()]));
  }
  const cluster = new NatsCluster(servers, proxies);
  try {
    await Promise.all(servers.map((server) => server.start()));
    await cluster.settled();
    if (parts.config === undefined) await replicates(cluster);
  } catch (cause) {
    await cluster.clean();
    throw cause;
  }
  return cluster;
}

/** A leader is there before it knows what its followers have room for; until then it refuses to place streams. */
async function replicates(cluster: NatsCluster): Promise<void> {
  const connection = await connect({ servers: [...cluster.urls] });
  try {
    const manager = await jetstreamManager(connection, { timeout: 2000 });
    const config = { name: 'SCRATCH', subjects: ['scratch'], num_replicas: cluster.servers.length };
    await until('a replicated stream to be placed', async () => (await manager.streams.add(config)) !== undefined);
    await manager.streams.delete(config.name);
  } finally {
    await connection.close();
  }
}

async function metaCluster(server: NatsServer): Promise<MetaCluster | undefined> {
  if (server.pid === undefined) return undefined;
  const page = (await server.monitor('jsz').catch(() => undefined)) as { meta_cluster?: MetaCluster } | undefined;
  return page?.meta_cluster;
}
