import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { childrenOf, freePort, pinned, progress, SERVER_CPU } from '../lib/pinned.ts';

/** Somebody else's server, up. */
export interface Peer {
  readonly name: string;
  readonly pids: readonly number[];
  readonly http: number;
  readonly grpc: number;
  /** Of `acquire.lua`. */
  readonly kind: string;
  /** Its own message for the same question. */
  readonly message: Uint8Array;
  stop(): Promise<void>;
}

/** Packages that only benches want; `npm ci` there. */
export const PACKAGES = resolve('bench/peers/node_modules');

/** Where an installed program is; undefined: nowhere. */
export function programOf(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', join(homedir(), 'go/bin'), join(process.env['GOPATH'] ?? homedir(), 'bin')];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** nginx with limit_req: `free` never holds anybody, `paced` holds to 1000 a second, `shut` nearly for ever. One worker. */
export async function startNginx(use: 'free' | 'paced' | 'shut'): Promise<Peer | undefined> {
  const program = programOf('nginx');
  if (program === undefined) return missing('nginx');
  const folder = mkdtempSync(join(tmpdir(), 'sluice-nginx-'));
  const port = await freePort();
  const [rate, limit] = { free: ['1000000r/s', 'burst=1000000 nodelay'], paced: ['1000r/s', 'burst=20000'], shut: ['1r/m', 'burst=20000'] }[use];
  // limit_req comes after `return` in nginx's phases: a file is what it can stand before.
  writeFileSync(join(folder, 'permit'), '{"permit":"01234567890123456789","waited":"0s"}');
  // An empty key is not limited at all.
  const key = use === 'free' ? '$uri' : '$server_port';
  writeFileSync(
    join(folder, 'nginx.conf'),
    `worker_processes 1; daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_rlimit_nofile 65536;
events { worker_connections 40000; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 65s; default_type application/json;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  open_file_cache max=10; limit_req_zone ${key} zone=one:10m rate=${rate};
  server { listen 127.0.0.1:${port} backlog=20000; root ${folder}; error_page 405 =200 /permit;
    location / { limit_req zone=one ${limit}; try_files /permit =404; }
    location = /permit { } } }
`,
  );
  const server = await pinned(SERVER_CPU, [program, '-c', join(folder, 'nginx.conf')], port);
  return {
    name: 'nginx limit_req',
    pids: [server.pid, ...childrenOf(server.pid)],
    http: port,
    grpc: 0,
    kind: 'rest',
    message: new Uint8Array(),
    stop: server.stop,
  };
}

/** Bottleneck, one job a millisecond, behind node:http. */
export async function startBottleneck(): Promise<Peer | undefined> {
  if (!existsSync(join(PACKAGES, 'bottleneck'))) return missing('bottleneck (npm ci in bench/peers)');
  const port = await freePort();
  const server = await pinned(SERVER_CPU, [process.execPath, resolve('bench/peers/bottleneck-server.cjs'), String(port)], port);
  return { name: 'Bottleneck behind node:http', pids: [server.pid], http: port, grpc: 0, kind: 'rest', message: new Uint8Array(), stop: server.stop };
}

/** gubernator, one node, on one processor, in memory, as it comes. */
export async function startGubernator(): Promise<Peer | undefined> {
  const program = programOf('gubernator');
  if (program === undefined) return missing('gubernator');
  const [http, grpc] = [await freePort(), await freePort()];
  const env = {
    GOMAXPROCS: '1',
    GUBER_GRPC_ADDRESS: `127.0.0.1:${grpc}`,
    GUBER_HTTP_ADDRESS: `127.0.0.1:${http}`,
    GUBER_ADVERTISE_ADDRESS: `127.0.0.1:${grpc}`,
    GUBER_PEER_DISCOVERY_TYPE: 'none',
    GUBER_LOG_LEVEL: 'error',
  };
  const server = await pinned(SERVER_CPU, [program], http, env);
  return { name: 'gubernator', pids: [server.pid], http, grpc, kind: 'gubernator', message: rateLimitRequest(), stop: server.stop };
}

/** GetRateLimitsReq of one RateLimitReq: name, unique_key, hits 1, limit 10^9, duration 1000 ms, leaky bucket. By hand: one message. */
function rateLimitRequest(): Uint8Array {
  const text = (field: number, value: string): number[] => [(field << 3) | 2, value.length, ...Buffer.from(value)];
  const request = [...text(1, 'free'), ...text(2, 'g17'), 0x18, 1, 0x20, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0x28, 0xe8, 0x07, 0x30, 1];
  return Uint8Array.from([0x0a, request.length, ...request]);
}

function missing(name: string): undefined {
  progress(`left out, for it is not installed: ${name}`);
  return undefined;
}
