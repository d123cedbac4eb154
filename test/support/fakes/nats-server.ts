import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from './ports.ts';
import { until } from './until.ts';

const LOG_LINES_MAX = 200;
const START_MS_MAX = 60_000;

/** What a server is started with. */
export interface NatsServerOptions {
  /** The program: the `path` of what findNatsServer found. */
  readonly binary: string;
  /** Its name, and the node in its tags (`node:n1`); default `n1`. */
  readonly name?: string;
  /** How often JetStream syncs to disk: a duration or `always`; default nats-server's own 2 minutes. */
  readonly syncInterval?: string;
  /** More of nats-server's configuration: users, accounts, TLS, a cluster. */
  readonly config?: string;
}

/** Servers that run now, for whoever wants to show their logs. */
export const running = new Set<NatsServer>();

/**
 * A nats-server with JetStream on ports of loopback, its store in a temporary folder. It dies with this process, however that
 * ends. Ports and store stay the same over `restart`. Its configuration is what docs/operations.md advises: pings after 1 s.
 */
export class NatsServer {
  readonly name: string;
  readonly port: number;
  /** Where its monitoring answers: `/jsz`, `/healthz`, `/connz`. */
  readonly monitorPort: number;
  readonly folder: string;
  readonly #binary: string;
  readonly #log: string[] = [];
  #child: ChildProcess | undefined;
  #watchdog: ChildProcess | undefined;

  /** Use startNats. */
  constructor({ binary, name = 'n1', syncInterval, config = '' }: NatsServerOptions, ports: readonly [number, number]) {
    [this.port, this.monitorPort] = ports;
    this.#binary = binary;
    this.name = name;
    this.folder = mkdtempSync(join(tmpdir(), `sluice-nats-${process.pid}-`));
    const sync = syncInterval === undefined ? '' : `, sync_interval: ${JSON.stringify(syncInterval)}`;
    const text = [
      `server_name: ${name}`,
      `server_tags: ["node:${name}"]`,
      `listen: "127.0.0.1:${this.port}"`,
      `http: "127.0.0.1:${this.monitorPort}"`,
      'ping_interval: "1s"',
      'ping_max: 2',
      'write_deadline: "2s"',
      `jetstream { store_dir: ${JSON.stringify(this.#store)}, max_memory_store: 256MB, max_file_store: 4GB${sync} }`,
      config,
    ];
    writeFileSync(join(this.folder, 'nats.conf'), `${text.join('\n')}\n`);
  }

  /** Where clients connect, without credentials. */
  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Its process; undefined while it is down. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The last 200 lines of its log, of all its lives. */
  get log(): string {
    return this.#log.join('\n');
  }

  get #store(): string {
    return join(this.folder, 'store');
  }

  /** Starts it, after `kill` or `stop` again with what it stored; settles when clients can connect. Rejects with its log if it ends, or takes 10 s. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`${this.name} runs already.`);
    const child = spawn(this.#binary, ['--config', join(this.folder, 'nats.conf')], { stdio: ['ignore', 'pipe', 'pipe'], cwd: this.folder });
    this.#child = child;
    running.add(this);
    writeFileSync(join(this.folder, 'pid'), String(child.pid));
    this.#watchdog = watch(child.pid as number, this.folder);
    const ended = once(child, 'exit').then(([code, signal]) => {
      this.#gone();
      this.#write(`-- ended: ${signal ?? code}`);
    });
    const ready = new Promise<void>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          this.#write(line);
          if (line.includes('Server is ready')) resolve();
        });
      }
    });
    const late = new Promise<never>((_, reject) => {
      const timer = setTimeout(() => reject(this.trouble(`was not ready after ${START_MS_MAX} ms`)), START_MS_MAX);
      void Promise.race([ready, ended]).then(() => clearTimeout(timer));
    });
    const failed = ended.then(() => {
      throw this.trouble('ended before it was ready');
    });
    failed.catch(() => {});
    await Promise.race([ready, failed, late]);
  }

  /** Ends it at once (SIGKILL), paused or not; settles when it is gone. What it stored stays. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Ends it in good order (SIGTERM); settles when it is gone. */
  async stop(): Promise<void> {
    this.#child?.kill('SIGCONT');
    await this.#end('SIGTERM');
  }

  /** Freezes it (SIGSTOP); settles when it stands still. Its connections stay. */
  async pause(): Promise<void> {
    const { pid } = this;
    this.#child?.kill('SIGSTOP');
    // Elsewhere than on Linux nothing tells.
    if (pid !== undefined && existsSync(`/proc/${pid}/stat`))
      await until(`${this.name} to stand still`, () => /\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')));
  }

  /** Lets it run on after `pause`. */
  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Ends it in good order if it runs, and starts it on the same ports and store. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Ends it at once and deletes all that it stored: the disk of a node that was replaced. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(this.#store, { recursive: true, force: true });
  }

  /** Ends it and removes its folder. */
  async clean(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** What its monitoring says: `jsz`, `varz`, `connz`. Rejects while it is down; waits while it is paused, 2 s at most. */
  async monitor(page: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.monitorPort}/${page}`, { signal: AbortSignal.timeout(2000) });
    return answer.json();
  }

  /** An error about this server, with its log. */
  trouble(what: string): Error {
    return new Error(`nats-server ${this.name} ${what}. Its log:\n${this.log}`);
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    this.#gone();
  }

  #gone(): void {
    running.delete(this);
    this.#child = undefined;
    this.#watchdog?.stdin?.end('it is gone\n');
    this.#watchdog = undefined;
  }

  #write(line: string): void {
    this.#log.push(line);
    if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
  }
}

/** A single server, ready for clients. */
export async function startNats(parts: NatsServerOptions): Promise<NatsServer> {
  sweep();
  const server = new NatsServer(parts, [await freePort(), await freePort()]);
  try {
    await server.start();
  } catch (cause) {
    await server.clean();
    throw cause;
  }
  return server;
}

/** Kills a process and removes its folder when this process ends: then the pipe closes without a line. */
function watch(pid: number, folder: string): ChildProcess {
  const script = 'read line || { kill -KILL "$0"; rm -rf "$1"; }';
  const watchdog = spawn('sh', ['-c', script, String(pid), folder], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  watchdog.stdin?.on('error', () => {});
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref();
  return watchdog;
}

/** Ends what runs of earlier processes whose watchdogs died with them, and removes their folders. Every start does it. */
export function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = /^sluice-nats-(\d+)-/.exec(name)?.[1];
    if (owner === undefined || lives(Number(owner))) continue;
    const folder = join(tmpdir(), name);
    try {
      const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
      // Its number may be another's by now: only a process that was given this folder is ended.
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder)) process.kill(pid, 'SIGKILL');
    } catch {
      // It never ran, or is gone.
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (cause) {
    return (cause as { code?: string }).code === 'EPERM';
  }
}
