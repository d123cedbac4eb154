import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AS_STARTED, freePort, progress } from '../lib/pinned.ts';

/** How the groups of a file hang together. */
type Shape = 'trees' | 'tree';

/** What a reload finds in the file. */
type Change = 'nothing' | 'one group' | 'every group';

const CHANGES: readonly Change[] = ['nothing', 'one group', 'every group'];

const CALLERS = 8;
const PAUSE_MS = 5;
const DEADLINE_MS = 120_000;

interface Row {
  readonly shape: Shape;
  readonly change: Change;
  readonly reloadMs: number;
  readonly stallMs: number;
  /** The longest stall in processor time of the loop's thread. */
  readonly busyMs: number;
  readonly slowestMs: number;
}

/** Reloads a server of so many groups while callers ask; answers Markdown. */
export async function reloads(groups: number, rounds: number): Promise<string> {
  const lines: string[] = [];
  const rows: Row[] = [];
  for (const shape of ['trees', 'tree'] as const) {
    const server = await Server.start(shape, groups);
    lines.push(
      `${groups} groups, ${shapeName(shape)}: serving ${Math.round(server.startedMs)} ms after the start, ${server.residentMiB} MiB; a stall of ${await server.quiet()} ms without a reload.`,
    );
    progress(lines.at(-1) ?? '');
    try {
      for (let round = 0; round < rounds; round++)
        for (const change of CHANGES) {
          const row = { shape, change, ...(await server.reload(change)) };
          rows.push(row);
          progress(JSON.stringify(row));
        }
    } finally {
      await server.stop();
    }
  }
  const table = (['trees', 'tree'] as const).flatMap((shape) =>
    CHANGES.map((change) => {
      const of = (pick: (row: Row) => number) => spread(rows.filter((row) => row.shape === shape && row.change === change).map(pick));
      return `| ${shapeName(shape)} | ${change} | ${of((row) => row.reloadMs)} | ${of((row) => row.busyMs)} | ${of((row) => row.stallMs)} | ${of((row) => row.slowestMs)} |`;
    }),
  );
  const head =
    '| groups | changed | reloaded after, ms | longest stall, ms of processor time | longest stall, ms | slowest answer, ms |\n| --- | --- | --- | --- | --- | --- |';
  return `${lines.join('\n')}\n\n${head}\n${table.join('\n')}`;
}

function shapeName(shape: Shape): string {
  return shape === 'trees' ? 'each its own tree' : 'one tree';
}

/** Median, and the range. */
function spread(figures: readonly number[]): string {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (part: number): string => (sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN).toFixed(0);
  return `${at(0.5)} (${at(0)}-${at(1)})`;
}

/** A Sluice with callers. */
class Server {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #shape: Shape;
  readonly #groups: number;
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
  #said = '';
  #burst = 1_000;
  #one = 1_000;
  #slowest = 0;
  #stopped = false;
  startedMs = 0;

  static async start(shape: Shape, groups: number): Promise<Server> {
    const port = await freePort();
    const server = new Server(shape, groups, port, mkdtempSync(join(tmpdir(), 'sluice-reload-')));
    const began = performance.now();
    await server.#until('"event":"serving"', 0);
    server.startedMs = performance.now() - began;
    for (let caller = 0; caller < CALLERS; caller++) void server.#call(caller);
    return server;
  }

  private constructor(shape: Shape, groups: number, port: number, folder: string) {
    this.#shape = shape;
    this.#groups = groups;
    this.#port = port;
    this.#folder = folder;
    this.#write();
    const profile = process.env['BENCH_PROFILE'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['BENCH_PROFILE']}`];
    const main = resolve(process.env['BENCH_MAIN'] ?? 'src/main.ts');
    const flags = [...AS_STARTED, ...profile, '--import', resolve('bench/reload/loop-delay.ts')];
    this.#child = spawn(process.execPath, [...flags, main, 'serve', '--config', this.#file], { stdio: ['ignore', 'pipe', 'pipe'] });
    const hear = (chunk: Buffer): void => {
      this.#said += chunk.toString();
    };
    this.#child.stdout?.on('data', hear);
    this.#child.stderr?.on('data', hear);
  }

  get residentMiB(): number {
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024);
  }

  /** The longest stall, in milliseconds of processor time (of the clock), of 3 s in which nothing is reloaded. */
  async quiet(): Promise<string> {
    await sleep(2_000);
    await this.#stall();
    await sleep(3_000);
    const { busyMs, stallMs } = await this.#stall();
    return `${Math.round(busyMs)} (${Math.round(stallMs)})`;
  }

  async reload(change: Change): Promise<Pick<Row, 'reloadMs' | 'stallMs' | 'busyMs' | 'slowestMs'>> {
    await sleep(500);
    if (change === 'every group') this.#burst++;
    else if (change === 'one group') this.#one++;
    await this.#stall();
    this.#slowest = 0;
    const from = this.#said.length;
    const began = performance.now();
    // Read by SIGHUP alone: the watch of the file would read it once more.
    if (change !== 'nothing') this.#write();
    this.#child.kill('SIGHUP');
    await this.#until('"event":"reloaded"', from);
    const reloadMs = performance.now() - began;
    // The watch of the file looks at it 0.2 and 0.4 s after the change.
    await sleep(1_000);
    return { reloadMs, ...(await this.#stall()), slowestMs: this.#slowest };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const over = once(this.#child, 'close');
    this.#child.kill('SIGTERM');
    await Promise.race([over, sleep(10_000).then(() => this.#child.kill('SIGKILL'))]);
    this.#agent.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #file(): string {
    return join(this.#folder, 'sluice.yaml');
  }

  #write(): void {
    const group = (at: number): string => {
      const burst = at === this.#groups - 1 ? this.#one : this.#burst;
      const parent = this.#shape === 'tree' && at > 0 ? ', parent: { group: g0 }' : '';
      return `  g${at}: { limits: [{ name: rate, rate: 1000/1s, burst: ${burst} }, { name: slots, concurrency: 1000 }], lease: { default: 1s }${parent} }\n`;
    };
    writeFileSync(
      this.#file,
      `listen: { api: "127.0.0.1:${this.#port}", grpc: none, health: none, admin: none }
http: { engine: node }
store: ${process.env['BENCH_STORE'] ?? `{ path: ${join(this.#folder, 'data')}, bytes: 1GiB }`}
drain: { delay: 0s, grace: 0s }
groups:
${Array.from({ length: this.#groups }, (_, at) => group(at)).join('')}`,
    );
  }

  async #stall(): Promise<Pick<Row, 'stallMs' | 'busyMs'>> {
    const from = this.#said.length;
    this.#child.kill('SIGUSR2');
    await this.#until('loop-delay', from);
    const [, stall, busy] = /loop-delay ([\d.]+) ([\d.]+)/.exec(this.#said.slice(from)) ?? [];
    return { stallMs: Number(stall), busyMs: Number(busy) };
  }

  async #until(text: string, from: number): Promise<void> {
    const end = performance.now() + DEADLINE_MS;
    while (!/\n$/.test(this.#said) || !this.#said.slice(from).includes(text)) {
      if (this.#child.exitCode !== null || performance.now() > end) throw new Error(`the server says no ${text}: ${this.#said.slice(from, from + 2_000)}`);
      await sleep(2);
    }
  }

  async #call(caller: number): Promise<void> {
    for (let at = caller; !this.#stopped; at += 7) {
      const began = performance.now();
      await this.#acquire(`g${at % this.#groups}`).catch(() => {});
      this.#slowest = Math.max(this.#slowest, performance.now() - began);
      await sleep(PAUSE_MS);
    }
  }

  #acquire(group: string): Promise<void> {
    return new Promise((done, failed) => {
      const sent = request({ agent: this.#agent, port: this.#port, method: 'POST', path: `/v1/groups/${group}/acquire?ttl=5s` }, (answer) => {
        answer.resume().once('end', () => done());
      });
      sent.once('error', failed).end();
    });
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => void setTimeout(done, ms));
}
