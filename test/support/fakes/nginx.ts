import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** A request as nginx's own log tells it, when its answer was sent. */
export interface NginxLine {
  readonly method: string;
  readonly target: string;
  readonly status: number;
  /** Number of its connection, and of the request on it, from 1. */
  readonly connection: number;
  readonly turn: number;
}

/** What an nginx is to do. */
export interface NginxOptions {
  /** Requests it takes on one connection before it closes it; as many as nginx takes unless said. */
  readonly perConnection?: number;
  /** A master and a worker, which `reload` needs; else a single process. */
  readonly master?: boolean;
}

/** Debian keeps it where the PATH of people does not lead. */
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];

/** Where nginx is; undefined: it is not installed, and what needs it is not run. */
export const nginxProgram: string | undefined = FOLDERS.map((folder) => join(folder, 'nginx')).find((path) => existsSync(path));

/** Why what needs nginx is not run. */
export const NO_NGINX = 'nginx is not installed (apt-get install nginx-light)';

/** Bytes of the file at `/own/file`. */
export const FILE_BYTES = 1_000_000;

/** How long it may take to listen, or to go. */
const WAIT_MS = 60_000;

/**
 * nginx on loopback, as it comes from its package: passes requests on to a server behind it, and answers those under `/own/`
 * itself (`file` with ranges, conditions and compression, `nothing` with 204, `slowly` at 100 kB/s, `moved` with 301).
 */
export class Nginx {
  readonly port: number;
  readonly #folder: string;
  readonly #program: string;
  #child: ChildProcess | undefined;

  private constructor(program: string, folder: string, port: number) {
    this.#program = program;
    this.#folder = folder;
    this.port = port;
  }

  /** Starts one before `upstream`, a URL. Rejects with its own words when it does not listen in time. */
  static async start(upstream: string, options: NginxOptions = {}): Promise<Nginx> {
    if (nginxProgram === undefined) throw new Error(NO_NGINX);
    const folder = mkdtempSync(join(tmpdir(), 'sluice-nginx-'));
    const nginx = new Nginx(nginxProgram, folder, await freePort());
    writeFileSync(join(folder, 'nginx.conf'), configuration(folder, nginx.port, upstream, options));
    writeFileSync(join(folder, 'file'), Buffer.alloc(FILE_BYTES, 'nginx says '));
    await nginx.begin();
    return nginx;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What it logged so far, in the order in which answers ended. */
  get log(): readonly NginxLine[] {
    const file = join(this.#folder, 'access.log');
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, 'latin1').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as NginxLine);
  }

  /** Starts it (again), and resolves when it listens. */
  async begin(): Promise<void> {
    const child = spawn(this.#program, ['-p', this.#folder, '-c', 'nginx.conf'], { stdio: 'ignore' });
    this.#child = child;
    child.on('error', () => {});
    // It ends with who started it, whatever became of the test.
    const end = (): void => void child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.off('exit', end));
    for (const began = performance.now(); !(await listens(this.port)); ) {
      if (child.exitCode !== null || performance.now() - began > WAIT_MS) throw new Error(`nginx does not listen: ${this.#errors()}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** A new worker; the old one ends what it is at, and closes connections nobody uses. */
  reload(): void {
    this.#child?.kill('SIGHUP');
  }

  /** Ends it by its own pid, and resolves when it is gone: what is under way is cut, but for `SIGQUIT` to a master. */
  async end(signal: 'SIGTERM' | 'SIGQUIT' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  async stop(): Promise<void> {
    await this.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #errors(): string {
    const file = join(this.#folder, 'error.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : 'it says nothing';
  }
}

function configuration(folder: string, port: number, upstream: string, { perConnection, master = false }: NginxOptions): string {
  // Only root may say so, and only then is a worker somebody else, who may not read a folder of ours.
  const user = master && process.getuid?.() === 0 ? 'user root;' : '';
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ');
  const fields = `"method":"$request_method","target":"$request_uri","status":$status,"connection":$connection,"turn":$connection_requests`;
  return `${user} worker_processes 1; daemon off; master_process ${master ? 'on' : 'off'}; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  log_format told escape=json '{${fields}}'; access_log ${folder}/access.log told;
  ${paths} client_max_body_size 0; underscores_in_headers on; ignore_invalid_headers off; default_type text/plain;
  ${perConnection === undefined ? '' : `keepalive_requests ${perConnection};`}
  upstream behind { server ${new URL(upstream).host}; keepalive 32; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host; proxy_read_timeout 30s; proxy_next_upstream off; }
    location /piped/ { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_request_buffering off; proxy_buffering off; proxy_next_upstream off; }
    location = /own/file { alias ${folder}/file; gzip on; gzip_types *; gzip_proxied any; }
    location = /own/nothing { return 204; }
    location = /own/slowly { alias ${folder}/file; limit_rate 100k; }
    location = /own/moved { return 301 /elsewhere; }
  }
}
`;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
