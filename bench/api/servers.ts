import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AS_STARTED, freePort, type Pinned, pinned, SERVER_CPU, uwsNode, withoutOptions } from '../lib/pinned.ts';

/** HTTP engine of a server. */
export type EngineName = 'node' | 'uws';

/** A Sluice that runs as an operator would run it, on its own store and ports. */
export interface Sluice {
  readonly process: Pinned;
  readonly http: number;
  readonly grpc: number;
  readonly health: number;
  /** 0: it does not forward. */
  readonly proxy: number;
  stop(): Promise<void>;
}

const BARE = resolve('bench/api/bare.ts');
const COLLECT = resolve('bench/api/collect-on-signal.ts');

/** Node's command line for one engine; undefined: uWebSockets.js is not installed (`npm run uws`). */
export function nodeFor(engine: EngineName): string | undefined {
  return engine === 'node' ? process.execPath : uwsNode();
}

/** `groups` is the YAML below `groups:`. `collect`: SIGUSR2 collects garbage. `disk`: the embedded store, as by default. `forward`: backends and routes, in YAML. */
export async function startSluice(engine: EngineName, groups: string, { collect = false, disk = true, forward = '' } = {}): Promise<Sluice> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const [http, grpc, health] = [await freePort(), await freePort(), await freePort()];
  const proxy = forward === '' ? 0 : await freePort();
  const file = join(folder, 'sluice.yaml');
  const store = disk ? `{ path: ${join(folder, 'data')}, bytes: 1GiB }` : 'memory';
  writeFileSync(
    file,
    `listen: { api: "127.0.0.1:${http}", grpc: "127.0.0.1:${grpc}", health: "127.0.0.1:${health}", admin: none${proxy === 0 ? '' : `, proxy: "127.0.0.1:${proxy}"`} }
http: { engine: ${engine} }
log: { level: warn }
store: ${store}
drain: { delay: 0s, grace: 0s }
groups:
${groups}${forward}`,
  );
  const flags = collect ? ['--expose-gc', '--import', COLLECT] : [];
  const profile = process.env['BENCH_PROFILE'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['BENCH_PROFILE']}`];
  const main = resolve(process.env['BENCH_MAIN'] ?? 'src/main.ts');
  const started = await pinned(
    SERVER_CPU,
    [nodeFor(engine) ?? '', ...AS_STARTED, ...flags, ...profile, main, 'serve', '--config', file],
    http,
    withoutOptions(),
  );
  const stop = async (): Promise<void> => {
    await started.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { process: started, http, grpc, health, proxy, stop };
}

/** Of bare.ts. */
export type BareKind = 'hello-node' | 'hello-uws' | 'hold-node' | 'hold-uws' | 'echo-grpc' | 'echo-grpc-codec';

/** A bare transport that answers `bytes` bytes. */
export async function startBare(kind: BareKind, bytes: number, collect = false): Promise<{ readonly process: Pinned; readonly port: number }> {
  const port = await freePort();
  const node = nodeFor(kind.endsWith('uws') ? 'uws' : 'node') ?? '';
  const flags = collect ? ['--expose-gc', '--import', COLLECT] : [];
  return { process: await pinned(SERVER_CPU, [node, ...flags, BARE, kind, String(port), String(bytes)], port), port };
}

/** So many groups whose slots are always free. */
export function freeGroups(count: number): string {
  return Array.from({ length: count }, (_, at) => `  g${at}: { limits: [{ name: rate, rate: 1000000/1s, burst: 1000000 }] }\n`).join('');
}
