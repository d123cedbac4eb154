import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, cpus, loadavg, release } from 'node:os';
import { resolve } from 'node:path';

/** Of the kernel's clock: what /proc counts processor time in. */
const TICKS_PER_SECOND = 100;
/** Node's own flags with which `npm start` starts Sluice; rivals on Node get the same. */
export const AS_STARTED: readonly string[] = flagsOfStart();

/** Where the server runs, and where the load. */
export const SERVER_CPU = 0;
export const LOAD_CPU = Math.min(1, availableParallelism() - 1);

/** A process that was started here, on one processor, and is to be stopped here. */
export interface Pinned {
  readonly pid: number;
  /** Lines it wrote so far, on both outputs. */
  readonly said: () => string;
  stop(): Promise<void>;
}

/** Tells how far a run is; figures alone go to stdout. */
export function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Starts a process on one processor; resolves when something listens on `port`, rejects with what it said when it ends before. */
export async function pinned(cpu: number, command: readonly string[], port?: number, env: NodeJS.ProcessEnv = {}): Promise<Pinned> {
  if (port !== undefined && taken(port)) throw new Error(`Somebody else listens on ${port}.`);
  const child = spawn('taskset', ['-c', String(cpu), ...command], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let said = '';
  const hear = (chunk: Buffer): void => {
    said = (said + chunk.toString()).slice(-20_000);
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const over = new Promise<void>((done) => void child.once('close', () => done()));
  const started: Pinned = { pid: child.pid ?? 0, said: () => said, stop: () => stop(child, over) };
  if (port === undefined) return started;
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${command.join(' ')} ended: ${said}`);
    if (taken(port)) return started;
    await sleep(50);
  }
  await started.stop();
  throw new Error(`${command.join(' ')} does not listen on ${port}: ${said}`);
}

/** Takes what is set for benches out of the environment of a server, which refuses options that it does not know. */
export function withoutOptions(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.keys(process.env)
      .filter((name) => name.startsWith('SLUICE_'))
      .map((name) => [name, undefined]),
  );
}

/** Runs a command to its end on one processor; answers what it wrote, and the processor time it took itself, in seconds. */
export async function runPinned(cpu: number, command: readonly string[], secondsMax: number): Promise<{ readonly out: string; readonly cpuSeconds: number }> {
  const timed = ['bash', '-c', 'TIMEFORMAT="@%U %S"; time "$@"', 'timed', ...command];
  const started = await pinned(cpu, timed);
  const deadline = Date.now() + secondsMax * 1_000;
  while (existsSync(`/proc/${started.pid}`) && !/@[\d.]+ [\d.]+\s*$/.test(started.said())) {
    if (Date.now() > deadline) break;
    await sleep(20);
  }
  await started.stop();
  const out = started.said();
  const [, user = 'NaN', system = 'NaN'] = /@([\d.]+) ([\d.]+)\s*$/.exec(out) ?? [];
  return { out, cpuSeconds: Number(user) + Number(system) };
}

/** Processor time of processes with all their threads so far, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Memory that processes really have, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1_024, 0);
}

/** Processes started by one, by parent. */
export function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
}

/** A port nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => done(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Lets time go by. */
export function sleep(ms: number): Promise<void> {
  return new Promise((done) => void setTimeout(done, ms));
}

/** The Node that can load uWebSockets.js (`tools/uws.ts`), where it is there. */
export function uwsNode(): string | undefined {
  const script = resolve('.cache/debian13/node');
  if (!existsSync(resolve('node_modules/uWebSockets.js/package.json'))) return undefined;
  return existsSync(script) ? script : process.execPath;
}

/** What ran, for every table. */
export function machineLine(): string {
  const load = loadavg().map((each) => each.toFixed(2));
  return `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} processors, Linux ${release()}, Node ${process.versions.node}; load average ${load.join(' ')}`;
}

/** Something answers on this port. */
function taken(port: number): boolean {
  const listening = readFileSync('/proc/net/tcp', 'utf8') + (existsSync('/proc/net/tcp6') ? readFileSync('/proc/net/tcp6', 'utf8') : '');
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return new RegExp(`:${hex} [0-9A-F]+:0000 0A`).test(listening);
}

async function stop(child: ChildProcess, over: Promise<void>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 3_000);
    await over;
    clearTimeout(late);
  }
}

function flagsOfStart(): readonly string[] {
  const { scripts } = JSON.parse(readFileSync(resolve('package.json'), 'utf8')) as { scripts: { start: string } };
  const flags = /node ((?:--\S+ )+)src\/main\.ts serve/.exec(scripts.start)?.[1];
  if (flags === undefined) throw new Error('`npm start` is not what bench/lib/pinned.ts takes it for: see flagsOfStart.');
  return flags.trim().split(' ');
}
