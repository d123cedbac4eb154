import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { type NatsParts, NatsServer } from './nats-server.ts';
import { freePort } from './ports.ts';
import { until } from './until.ts';

/** What every server of a cluster is started with; names are given. */
export type ClusterParts = Omit<NatsParts, 'name'>;

interface MetaCluster {
  readonly leader?: string;
  readonly replicas?: readonly { readonly name: string; readonly current: boolean; readonly offline?: boolean }[];
}

/** Servers n1, n2, n3 joined by routes on loopback. They tell clients of each other; a client that is to stay at one says `ignoreClusterUpdates`. */
export class NatsCluster {
  readonly servers: readonly NatsServer[];

  /** Use startNatsCluster. */
  constructor(servers: readonly NatsServer[]) {
    this.servers = servers;
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

  /** Who leads the cluster's own group, which places streams; undefined: nobody that every running server agrees on. A paused server does not run. */
  async metaLeader(among: readonly NatsServer[] = this.servers): Promise<NatsServer | undefined> {
    const clusters = await Promise.all(among.map(metaCluster));
    const [leader] = clusters.map((cluster) => cluster?.leader);
    return among.find(({ name }) => name === leader && clusters.every((cluster) => cluster?.leader === name));
  }

  /** Settles when those of its servers (default all) agree on one of them as leader, and it has heard of each of the others lately. */
  async settled(among: readonly NatsServer[] = this.servers, msMax = 30_000): Promise<void> {
    await until(`${among.map(({ name }) => name).join(', ')} to agree on a leader`, () => this.#agreed(among), msMax).catch((cause: Error) => {
      throw new Error(`${cause.message}\n${among.map((server) => `${server.name}:\n${server.log}`).join('\n')}`);
    });
  }

  /** Ends all and removes their folders. */
  async clean(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.clean()));
  }

  async #agreed(among: readonly NatsServer[]): Promise<boolean> {
    const leader = await this.metaLeader(among);
    const followers = leader === undefined ? [] : ((await metaCluster(leader))?.replicas ?? []);
    return among.every((server) => server === leader || followers.some(({ name, current, offline }) => name === server.name && current && offline !== true));
  }
}

/**
 * A cluster in which replicated streams can be made: about two seconds. With a configuration of its own (users, TLS) it is known
 * only that the servers agree on a leader.
 */
export async function startNatsCluster(size: number, parts: ClusterParts): Promise<NatsCluster> {
  const routes = await Promise.all(Array.from({ length: size }, freePort));
  const servers: NatsServer[] = [];
  for (const [index, port] of routes.entries()) {
    const others = routes.filter((route) => route !== port).map((route) => `"nats-route://127.0.0.1:${route}"`);
    const joined = `cluster { name: sluice, listen: "127.0.0.1:${port}", routes: [${others.join(', ')}] }`;
    const config = [joined, parts.config ?? ''].join('\n');
    servers.push(new NatsServer({ ...parts, name: `n${index + 1}`, config }, [await freePort(), await freePort()]));
  }
  const cluster = new NatsCluster(servers);
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
