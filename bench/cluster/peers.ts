import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { NatsServer } from '../../test/support/fakes/nats-server.ts';
import { programOf } from '../api/peers.ts';
import { AS_STARTED, freePort, pinned, progress, SERVER_CPU } from '../lib/pinned.ts';
import { REPLICAS } from './fleet.ts';

/** Somebody else's replicas, up. */
export interface PeerFleet {
  readonly name: string;
  /** The servers, and what they share beside NATS. */
  readonly pids: readonly number[];
  readonly ports: readonly number[];
  /** Of `zipf.lua`. */
  readonly kind: string;
  stop(): Promise<void>;
}

type Process = { readonly pid: number; readonly stop: () => Promise<void> };

async function fleetOf(name: string, kind: string, start: (port: number) => Promise<Process>, shared: readonly Process[] = []): Promise<PeerFleet> {
  const all = [...shared];
  const ports: number[] = [];
  const stop = async (): Promise<void> => {
    for (const each of all.toReversed()) await each.stop();
  };
  try {
    for (let index = 0; index < REPLICAS; index++) {
      const port = await freePort();
      all.push(await start(port));
      ports.push(port);
    }
  } catch (cause) {
    await stop();
    throw cause;
  }
  return { name, kind, ports, pids: all.map(({ pid }) => pid), stop };
}

/** One compare-and-set per admission on the same nats-server; see cas-server.ts. */
export function startCas(nats: Pick<NatsServer, 'port'>, rate: number, burst: number): Promise<PeerFleet> {
  const script = resolve('bench/cluster/cas-server.ts');
  const command = (port: number) => [process.execPath, ...AS_STARTED, script, String(port), String(nats.port), String(rate), String(burst)];
  return fleetOf(`compare-and-set x${REPLICAS}`, 'sluice', (port) => pinned(SERVER_CPU, command(port), port));
}

/** Envoy's ratelimit service over one Redis without persistence, as they come; asked over its JSON. Each process has one thread for Go code. */
export async function startRatelimit(): Promise<PeerFleet | undefined> {
  const [service, redis] = [programOf('service_cmd'), programOf('redis-server')];
  if (service === undefined || redis === undefined) {
    progress("left out, for it is not installed: Envoy's ratelimit (service_cmd) with redis-server");
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'sluice-ratelimit-'));
  mkdirSync(join(folder, 'ratelimit', 'config'), { recursive: true });
  writeFileSync(
    join(folder, 'ratelimit', 'config', 'bench.yaml'),
    'domain: bench\ndescriptors:\n  - key: group\n    rate_limit: { unit: second, requests_per_unit: 1000000000 }\n',
  );
  const store = await freePort();
  const shared = await pinned(SERVER_CPU, [redis, '--port', String(store), '--bind', '127.0.0.1', '--save', '', '--dir', folder], store);
  const start = async (port: number): Promise<Process> =>
    pinned(SERVER_CPU, [service], port, {
      ...{ GOMAXPROCS: '1', USE_STATSD: 'false', LOG_LEVEL: 'error', RUNTIME_ROOT: folder, RUNTIME_SUBDIRECTORY: 'ratelimit', RUNTIME_WATCH_ROOT: 'false' },
      ...{ REDIS_SOCKET_TYPE: 'tcp', REDIS_URL: `127.0.0.1:${store}`, HOST: '127.0.0.1', PORT: String(port) },
      ...{ GRPC_HOST: '127.0.0.1', GRPC_PORT: String(await freePort()), DEBUG_HOST: '127.0.0.1', DEBUG_PORT: String(await freePort()) },
    });
  const fleet = await fleetOf(`Envoy's ratelimit x${REPLICAS} and Redis`, 'ratelimit', start, [shared]);
  const stop = async (): Promise<void> => {
    await fleet.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...fleet, stop };
}
