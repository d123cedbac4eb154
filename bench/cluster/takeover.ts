/**
 * Many groups over three replicas while one is killed, comes back, and all read their files again: how long event loops stand
 * still, which shards are lost by it, and how long callers wait. `npm run bench -- takeover`; GROUPS=10000 sets the number.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { findNatsServer } from '../../test/support/fakes/nats-binary.ts';
import { startNats } from '../../test/support/fakes/nats-server.ts';
import { table } from '../lib/figures.ts';
import { AS_STARTED, freePort, progress, sleep } from '../lib/pinned.ts';

const REPLICAS = 3;
const CALLERS = 8;
const START_MS_MAX = 90_000;
const SETTLE_MS = 20_000;
const PHASES_MS = { quiet: 5_000, kill: 15_000, return: 20_000, reload: 20_000 } as const;

/** What happened to one replica in one phase. */
interface Row {
  readonly stallMs: number;
  readonly stalls: number;
  /** Without those that were handed over. */
  readonly lost: number;
  readonly gained: number;
  readonly unstored: number;
  readonly slowestMs: number;
  readonly refused: number;
}

/** The table; undefined: there is no nats-server. */
export async function takeovers(groups = Number(process.env['GROUPS'] ?? 10_000)): Promise<string | undefined> {
  const binary = await findNatsServer('newest').catch((cause: Error) => progress(`left out: ${cause.message}`));
  if (binary === undefined) return undefined;
  const nats = await startNats({ binary: binary.path });
  const folder = mkdtempSync(join(tmpdir(), 'sluice-takeover-'));
  const replicas = await Promise.all(Array.from({ length: REPLICAS }, (_, index) => Replica.make({ folder, index, groups, nats: nats.port })));
  const rows: string[][] = [];
  const phase = async (name: keyof typeof PHASES_MS): Promise<void> => {
    await sleep(PHASES_MS[name]);
    for (const replica of replicas.filter(({ up }) => up)) {
      const { stallMs, stalls, lost, gained, unstored, slowestMs, refused } = await replica.figures();
      const row = [name, replica.name, ...[stallMs, stalls, lost, gained, unstored, slowestMs, refused].map(String)];
      rows.push(row);
      progress(row.join(' '));
    }
  };
  try {
    await Promise.all(replicas.map((replica) => replica.start()));
    await sleep(SETTLE_MS);
    for (const replica of replicas) await replica.figures();
    await phase('quiet');
    const last = replicas[REPLICAS - 1] as Replica;
    await last.kill();
    await phase('kill');
    await last.start();
    // How long it takes to read its file is another matter.
    await last.figures();
    await phase('return');
    for (const replica of replicas) replica.reload();
    await phase('reload');
  } finally {
    await Promise.all(replicas.map((replica) => replica.kill()));
    rmSync(folder, { recursive: true, force: true });
    await nats.clean();
  }
  const head = ['phase', 'replica', 'longest stall, ms', 'stalls of 100 ms', 'shards lost', 'gained', 'trees unstored', 'slowest answer, ms', 'refused'];
  return `${groups} groups, each its own tree, ${REPLICAS} replicas:\n\n${table(head, rows)}`;
}

/** One replica, with callers that ask it for one group after the other. */
class Replica {
  readonly name: string;
  readonly #deps: { readonly folder: string; readonly groups: number; readonly nats: number };
  readonly #port: number;
  #child: ChildProcess | undefined;
  #tail = '';
  #burst = 1_000;
  #seen = { lost: 0, sealed: 0, gained: 0, unstored: 0, slowestMs: 0, refused: 0 };
  #stalls: ((found: readonly [number, number]) => void) | undefined;

  static async make(deps: { readonly folder: string; readonly index: number; readonly groups: number; readonly nats: number }): Promise<Replica> {
    return new Replica(deps, await freePort());
  }

  private constructor(deps: { readonly folder: string; readonly index: number; readonly groups: number; readonly nats: number }, port: number) {
    this.name = `r${deps.index}`;
    this.#deps = deps;
    this.#port = port;
  }

  get up(): boolean {
    return this.#child !== undefined;
  }

  async start(): Promise<void> {
    this.#write();
    const main = resolve(process.env['BENCH_MAIN'] ?? 'src/main.ts');
    const profile = process.env['BENCH_PROFILE'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['BENCH_PROFILE']}/${this.name}`];
    const flags = [...AS_STARTED, ...profile, '--import', resolve('bench/cluster/loop-stalls.ts')];
    const child = spawn(process.execPath, [...flags, main, 'serve', '--config', this.#file], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const serving = Promise.withResolvers<void>();
    const late = setTimeout(() => serving.reject(new Error(`${this.name} does not serve: ${this.#tail.slice(-2_000)}`)), START_MS_MAX);
    const hear = (chunk: Buffer): void => this.#hear(chunk.toString(), () => serving.resolve());
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    await serving.promise.finally(() => clearTimeout(late));
    for (let caller = 0; caller < CALLERS; caller++) void this.#call(child, caller);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const over = once(child, 'close');
    child.kill(process.env['BENCH_PROFILE'] === undefined ? 'SIGKILL' : 'SIGTERM');
    await Promise.race([over, sleep(20_000)]);
    child.kill('SIGKILL');
  }

  /** Every group has another limit, in the next revision. */
  reload(): void {
    this.#burst++;
    this.#write();
    this.#child?.kill('SIGHUP');
  }

  /** What happened since the last call. */
  async figures(): Promise<Row> {
    const stalls = new Promise<readonly [number, number]>((done) => {
      this.#stalls = done;
    });
    this.#child?.kill('SIGUSR2');
    const [stallMs, count] = await Promise.race([stalls, sleep(10_000).then(() => [Number.NaN, Number.NaN] as const)]);
    const { slowestMs, lost, sealed, gained, unstored, refused } = this.#seen;
    this.#seen = { lost: 0, sealed: 0, gained: 0, unstored: 0, slowestMs: 0, refused: 0 };
    return { stallMs, stalls: count, lost: Math.max(0, lost - sealed), gained, unstored, slowestMs: Math.round(slowestMs), refused };
  }

  get #file(): string {
    return join(this.#deps.folder, `${this.name}.yaml`);
  }

  #write(): void {
    const group = (at: number): string =>
      `  g${at}: { limits: [{ name: rate, rate: 1000/1s, burst: ${this.#burst} }, { name: slots, concurrency: 1000 }], lease: { default: 1s } }\n`;
    writeFileSync(
      this.#file,
      `listen: { api: "127.0.0.1:${this.#port}", health: none, grpc: none, admin: none }
http: { engine: node }
cluster: { nats: [ "nats://127.0.0.1:${this.#deps.nats}" ], name: ${this.name}, ledgerBytes: 256MiB }
log: { level: debug }
revision: ${this.#burst}
groups:
${Array.from({ length: this.#deps.groups }, (_, at) => group(at)).join('')}`,
    );
  }

  #hear(chunk: string, serving: () => void): void {
    const lines = (this.#tail + chunk).split('\n');
    this.#tail = lines.pop() ?? '';
    for (const line of lines) {
      const event = /"event":"(\w+)"/.exec(line)?.[1];
      const stalls = /^loop-stalls (\d+) (\d+)/.exec(line);
      if (stalls !== null) this.#stalls?.([Number(stalls[1]), Number(stalls[2])]);
      else if (event === 'serving') serving();
      else if (event === 'shard_lost') this.#seen.lost++;
      else if (event === 'shard_sealing') this.#seen.sealed++;
      else if (event === 'shard_acquired') this.#seen.gained++;
      else if (event === 'ledger_unavailable') this.#seen.unstored++;
      if (event !== undefined && /"level":"(warn|error)"|"level":[45]0/.test(line)) progress(`  ${this.name} ${line.slice(0, 300)}`);
    }
  }

  async #call(child: ChildProcess, caller: number): Promise<void> {
    for (let at = caller; this.#child === child; at += 7) {
      const began = performance.now();
      const status = await fetch(`http://127.0.0.1:${this.#port}/v1/groups/g${at % this.#deps.groups}/acquire?ttl=10s`, { method: 'POST' })
        .then(async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        })
        .catch(() => 0);
      if (this.#child !== child) return;
      this.#seen.slowestMs = Math.max(this.#seen.slowestMs, performance.now() - began);
      if (status !== 200) this.#seen.refused++;
      await sleep(20);
    }
  }
}
