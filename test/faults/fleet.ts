import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { NatsBinary } from '../support/fakes/nats-binary.ts';
import { type NatsCluster, startNatsCluster } from '../support/fakes/nats-cluster.ts';
import { type NatsServer, startNats } from '../support/fakes/nats-server.ts';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess, type ServerProcessOptions } from '../support/fakes/server-process.ts';
import { TcpProxy } from '../support/fakes/tcp-proxy.ts';
import { until } from '../support/fakes/until.ts';

/** What a fleet is started with. */
export interface FleetOptions {
  readonly binary: Pick<NatsBinary, 'path'>;
  readonly nats: 1 | 3;
  readonly replicas: number;
  /** The `groups:` of the configuration file, as YAML. */
  readonly groups: string;
  /** Each replica has a proxy listener too; `more` has its backends and routes. */
  readonly proxy?: boolean;
  /** Each replica has a listener for gateway shards, at its `proxyPort`; `more` has its options. Not together with `proxy`. */
  readonly gatewayQueue?: boolean;
  /** Each replica has a gRPC listener, at its `proxyPort`. Not together with `proxy` or `gatewayQueue`. */
  readonly grpc?: boolean;
  /** More of the configuration file, as YAML. */
  readonly more?: string;
  /** libfaketime's library: replicas have wall clocks that can be set, see {@link FleetReplica.setWall}. */
  readonly faketime?: string | undefined;
  /** How far ahead the replicas' wall clocks are at the start, in seconds, by number; default 0. Only with `faketime`. */
  readonly walls?: readonly number[];
  /** The file that replicas run in the place of `src/main.ts`. */
  readonly main?: string | undefined;
  /** A folder for the replicas' logs. */
  readonly logs?: string | undefined;
  /** Of the replicas' processes. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

type ProcessOptions = Pick<FleetOptions, 'faketime' | 'walls' | 'main' | 'logs' | 'env'>;

/** Of `api`, `health`, `admin` and `proxy`. */
type Ports = readonly [number, number, number, number];

/** One replica: its process, over restarts, and its lines to NATS. */
export class FleetReplica {
  readonly index: number;
  readonly port: number;
  readonly healthPort: number;
  readonly adminPort: number;
  readonly proxyPort: number;
  /** One line for each NATS server. */
  readonly lines: readonly TcpProxy[];
  readonly #configuration: string;
  readonly #ways: ServerProcessOptions;
  readonly #wall: string | undefined;
  #process: ServerProcess | undefined;

  constructor(deps: { index: number; ports: Ports; lines: readonly TcpProxy[]; configuration: string } & ProcessOptions) {
    this.index = deps.index;
    [this.port, this.healthPort, this.adminPort, this.proxyPort] = deps.ports;
    this.lines = deps.lines;
    this.#configuration = deps.configuration;
    this.#wall = deps.faketime === undefined ? undefined : join(mkdtempSync(join(tmpdir(), 'sluice-wall-')), 'wall');
    this.#ways = {
      main: deps.main,
      logFile: deps.logs === undefined ? undefined : join(deps.logs, `r${deps.index}.log`),
      env: { ...deps.env, ...(this.#wall === undefined || deps.faketime === undefined ? {} : wallEnvironment(deps.faketime, this.#wall)) },
    };
    if (this.#wall !== undefined) this.setWall(deps.walls?.[deps.index] ?? 0);
  }

  /** Sets its wall clock so many seconds ahead of the machine's, within a second and for good; CLOCK_MONOTONIC stays true. Only with `faketime`. */
  setWall(seconds: number): void {
    if (this.#wall === undefined) throw new Error('The fleet was started without faketime.');
    writeFileSync(this.#wall, `${seconds < 0 ? '' : '+'}${seconds}`);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Where forwarded requests are taken. */
  get proxyUrl(): string {
    return `http://127.0.0.1:${this.proxyPort}`;
  }

  get process(): ServerProcess {
    if (this.#process === undefined) throw new Error(`replica ${this.index} was never started`);
    return this.#process;
  }

  /** Where operators are answered. */
  get adminUrl(): string {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  /** Starts it, or starts it again in its old folder; settles when it serves. */
  async start(): Promise<void> {
    this.#process = new ServerProcess(this.#configuration, this.#process?.folder, this.#ways);
    await this.#process.until('serving');
  }

  /** Has it read its file again; settles when it says that it did. Rejects if it does not within this time. */
  async reload(msMax: number): Promise<void> {
    const { child } = this.process;
    child.kill('SIGHUP');
    const late = new AbortController();
    const lateness = wait(msMax, undefined, { signal: late.signal }).then(
      () => Promise.reject(new Error(`Replica ${this.index} did not finish a reload within ${msMax} ms.`)),
      () => undefined,
    );
    await Promise.race([this.process.until('reloaded'), lateness]);
    late.abort();
  }

  /** Stops it as an orchestrator does; settles when it has ended. */
  async stop(): Promise<void> {
    this.process.child.kill('SIGTERM');
    await this.process.exit;
  }

  /** Its metrics as text; undefined: it does not answer. */
  async metrics(): Promise<string | undefined> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.healthPort}/metrics`, { signal: AbortSignal.timeout(1_000) });
      return await answer.text();
    } catch {
      return undefined;
    }
  }

  async clean(): Promise<void> {
    this.#process?.child.kill('SIGCONT');
    this.#process?.clean();
    if (this.#wall !== undefined) rmSync(dirname(this.#wall), { recursive: true, force: true });
    await Promise.all(this.lines.map((line) => line.close()));
  }
}

/** NATS and replicas as processes of their own, all on loopback, each replica with lines to NATS that can be cut. */
export class Fleet {
  readonly nats: readonly NatsServer[];
  readonly replicas: readonly FleetReplica[];
  readonly #cluster: NatsCluster | undefined;

  private constructor(nats: readonly NatsServer[], cluster: NatsCluster | undefined, replicas: readonly FleetReplica[]) {
    this.nats = nats;
    this.#cluster = cluster;
    this.replicas = replicas;
  }

  /** Starts everything; settles when every replica serves and every group is decided. */
  static async start(parts: FleetOptions): Promise<Fleet> {
    const { path } = parts.binary;
    // Servers that tell clients of each other would show them ways around the lines.
    const cluster = parts.nats === 3 ? await startNatsCluster(3, { binary: path, advertised: false }) : undefined;
    const nats = cluster?.servers ?? [await startNats({ binary: path })];
    const replicas: FleetReplica[] = [];
    for (let index = 0; index < parts.replicas; index++) {
      const lines = await Promise.all(nats.map((server) => TcpProxy.to(server.port)));
      const ports = [await freePort(), await freePort(), await freePort(), await freePort()] as const;
      replicas.push(new FleetReplica({ ...parts, index, ports, lines, configuration: configurationOf(parts, index, ports, lines) }));
    }
    const fleet = new Fleet(nats, cluster, replicas);
    try {
      await Promise.all(replicas.map((replica) => replica.start()));
    } catch (cause) {
      await fleet.clean();
      throw cause;
    }
    return fleet;
  }

  /** Settles when an ask without wait timeout finds somebody who decides, in each of these groups, at every replica. */
  async decided(groups: readonly string[]): Promise<void> {
    const asks = this.replicas.flatMap(({ url }) => groups.map((group) => `${url}/v1/groups/${group}/explain`));
    await until('every group to be decided', async () => {
      const answers = await Promise.all(asks.map((ask) => fetch(ask, { signal: AbortSignal.timeout(5_000) })));
      return answers.every(({ status }) => status === 200);
    });
  }

  /** The NATS server that leads the cluster's own group; undefined: one server, or nobody knows. */
  async leader(): Promise<NatsServer | undefined> {
    return this.#cluster?.metaLeader(this.nats.filter(({ pid }) => pid !== undefined));
  }

  /** Settles when all NATS servers agree on who leads, and have caught up. */
  async natsSettled(): Promise<void> {
    await this.#cluster?.settled();
  }

  async clean(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.clean()));
    await (this.#cluster?.clean() ?? Promise.all(this.nats.map((server) => server.clean())));
  }
}

/** What makes libfaketime read a wall clock from `file`; CLOCK_MONOTONIC stays true. */
export function wallEnvironment(library: string, file: string): Record<string, string> {
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
  };
}

function configurationOf(
  { groups, more = '', proxy = false, gatewayQueue = false, grpc = false }: FleetOptions,
  index: number,
  [api, health, admin, forward]: Ports,
  lines: readonly TcpProxy[],
): string {
  const urls = lines.map(({ port }) => `nats://127.0.0.1:${port}`).join(', ');
  const at = (is: boolean): string => (is ? `"127.0.0.1:${forward}"` : 'none');
  return [
    `listen: { api: "127.0.0.1:${api}", health: "127.0.0.1:${health}", grpc: ${at(grpc)}, proxy: ${at(proxy)}, admin: "127.0.0.1:${admin}", gatewayQueue: ${at(gatewayQueue)} }`,
    `cluster: { nats: [ ${urls} ], name: r${index}, ledgerBytes: 64MiB, requestBytes: 256MiB, durability: acknowledged }`,
    'drain: { delay: 0s, grace: 10s }',
    'log: { level: debug }',
    'revision: 1',
    more,
    'groups:',
    groups,
    '',
  ].join('\n');
}
