import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { PACKAGES, programOf } from '../api/peers.ts';
import { startSluice } from '../api/servers.ts';
import { AS_STARTED, childrenOf, freePort, LOAD_CPU, type Pinned, pinned, progress, SERVER_CPU } from '../lib/pinned.ts';

/** A way to the backend that is up. */
export interface Way {
  readonly name: string;
  /** All processes of the proxy. */
  readonly pids: readonly number[];
  readonly port: number;
  readonly path: string;
}

/** Ways, and what ends their processes. */
export interface Ways {
  readonly ways: readonly Way[];
  /** What would be here, were it installed. */
  readonly missing: readonly string[];
  stop(): Promise<void>;
}

/** What a proxy is to do: forward everything, or no more than `atOnce` at once with `queue` behind them for `waitMs` at most. */
export interface Task {
  readonly backend: number;
  readonly bound: { readonly atOnce: number; readonly queue: number; readonly waitMs: number } | undefined;
}

/** The server behind all of them, on the processor of the load. */
export async function startBackend(bytes: number, ms: number, atOnce: number): Promise<{ readonly port: number; readonly process: Pinned }> {
  const port = await freePort();
  const command = [process.execPath, resolve('bench/proxy/backend.ts'), port, bytes, ms, atOnce].map(String);
  return { port, process: await pinned(LOAD_CPU, command, port) };
}

/** Starts processes with `make`, whole or not at all. */
export async function together(makers: readonly ((task: Task) => Promise<Ways>)[], task: Task): Promise<Ways> {
  const all: Ways[] = [];
  const stop = async (): Promise<void> => {
    for (const each of all) await each.stop();
  };
  try {
    for (const make of makers) all.push(await make(task));
  } catch (cause) {
    await stop();
    throw cause;
  }
  return { ways: all.flatMap(({ ways }) => ways), missing: all.flatMap((each) => each.missing), stop };
}

/** As Sluice is started, and what it tells V8 itself on one processor. */
const AS_SLUICE = [...AS_STARTED, '--no-parallel-scavenge'];

/** The bare proxy on undici's dispatch; it admits nobody. */
export function bareDispatch(task: Task): Promise<Ways> {
  return dispatching(task, 'bare undici dispatch', []);
}

/** The same, adding as many fields to a request as Sluice does. */
export function bareDispatchWithFields(task: Task): Promise<Ways> {
  return dispatching(task, 'the same, adding 7 fields', ['fields']);
}

async function dispatching({ backend }: Task, name: string, more: readonly string[]): Promise<Ways> {
  const port = await freePort();
  const profile = process.env['BENCH_PROFILE'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['BENCH_PROFILE']}/bare`];
  const command = [process.execPath, ...AS_SLUICE, ...profile, resolve('bench/proxy/dispatch.ts'), String(port), String(backend), ...more];
  return only(name, port, await pinned(SERVER_CPU, command, port));
}

/** Sluice with three routes, or, where it is to bound, one; with its embedded store, as by default. */
export function sluice(task: Task): Promise<Ways> {
  return sluiceOn(task, true);
}

/** The same with its store in memory: leases are forgotten when it ends, as the connections of other proxies are. */
export function sluiceInMemory(task: Task): Promise<Ways> {
  return sluiceOn(task, false);
}

async function sluiceOn({ backend, bound }: Task, disk: boolean): Promise<Ways> {
  const forward = (routes: string): string => `backends:\n  one: { urls: [ "http://127.0.0.1:${backend}" ] }\nbodies: { memory: 256MiB }\nroutes:\n${routes}`;
  const free = `  rate: { limits: [{ name: far, rate: 1000000/1s, burst: 1000000 }] }\n  slots: { limits: [{ name: far, concurrency: 100000 }] }\n`;
  const freeRoutes = `  - { match: { path: '/rate' }, group: rate, backend: one }
  - { match: { path: '/slots' }, group: slots, backend: one }
  - { match: { path: '/*' }, backend: one }\n`;
  const tight = `  tight: { limits: [{ name: slots, concurrency: ${bound?.atOnce} }], backlog: { requests: ${bound?.queue} }, ttl: { default: ${bound?.waitMs}ms } }\n`;
  const server =
    bound === undefined
      ? await startSluice('node', free, { disk, forward: forward(freeRoutes) })
      : await startSluice('node', tight, { disk, forward: forward(`  - { match: { path: '/*' }, group: tight, backend: one }\n`) });
  const at = { pids: [server.process.pid], port: server.proxy };
  const ways =
    bound === undefined
      ? [
          { name: 'Sluice, pass-through', path: '/pass', ...at },
          { name: 'Sluice, active rule (rate)', path: '/rate', ...at },
          { name: 'Sluice, active rule (concurrency: leases)', path: '/slots', ...at },
        ]
      : [{ name: `Sluice, concurrency ${bound.atOnce}${disk ? '' : ', store: memory'}`, path: '/', ...at }];
  return { ways, missing: [], stop: server.stop };
}

/** http-proxy with kept connections; it admits nobody. */
export async function httpProxy({ backend }: Task): Promise<Ways> {
  if (!existsSync(join(PACKAGES, 'http-proxy'))) return missing('http-proxy (npm ci in bench/peers)');
  const port = await freePort();
  const command = [process.execPath, resolve('bench/peers/http-proxy-server.cjs'), String(port), String(backend)];
  return only('http-proxy', port, await pinned(SERVER_CPU, command, port));
}

/** nginx as a proxy: it holds a whole body in memory before it sends it on. Bounded, it has no queue: who is too many is refused at once. */
export async function nginx({ backend, bound }: Task): Promise<Ways> {
  const program = programOf('nginx');
  if (program === undefined) return missing('nginx');
  const folder = mkdtempSync(join(tmpdir(), 'sluice-nginx-'));
  const port = await freePort();
  const zone = bound === undefined ? '' : 'limit_conn_zone $server_port zone=one:1m;';
  const limit = bound === undefined ? '' : `limit_conn one ${bound.atOnce}; limit_conn_status 429; limit_conn_log_level info; error_page 429 @busy;`;
  const busy = bound === undefined ? '' : 'location @busy { add_header Retry-After 1 always; return 429 "busy"; }';
  const file = join(folder, 'nginx.conf');
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path ${folder};`).join(' ');
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 65s; client_body_buffer_size 128k; ${temp} ${zone}
  upstream one { server 127.0.0.1:${backend}; keepalive 512; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${port} backlog=4096; ${busy}
    location / { ${limit} proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_buffers 16 8k; } } }
`,
  );
  const server = await pinned(SERVER_CPU, [program, '-c', file], port);
  const name = bound === undefined ? 'nginx' : `nginx, limit_conn ${bound.atOnce} (no queue)`;
  return { ways: [{ name, pids: [server.pid, ...childrenOf(server.pid)], port, path: '/' }], missing: [], stop: server.stop };
}

/** HAProxy as a proxy, one thread: bodies stream. Bounded, its own queue stands before `maxconn`, and beyond its length a rule answers. */
export async function haproxy({ backend, bound }: Task): Promise<Ways> {
  const program = programOf('haproxy');
  if (program === undefined) return missing('haproxy');
  const folder = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'));
  const port = await freePort();
  const file = join(folder, 'haproxy.cfg');
  const wait = bound === undefined ? 5_000 : bound.waitMs;
  const shed =
    bound === undefined ? '' : `  http-request return status 429 content-type text/plain string busy hdr Retry-After 1 if { queue(one) ge ${bound.queue} }\n`;
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 65s
  timeout server 65s
  timeout queue ${wait}ms
  http-reuse always
frontend in
  bind 127.0.0.1:${port} backlog 4096
${shed}  default_backend one
backend one
  server a 127.0.0.1:${backend}${bound === undefined ? '' : ` maxconn ${bound.atOnce}`} pool-max-conn 512
`,
  );
  const server = await pinned(SERVER_CPU, [program, '-f', file, '-db'], port);
  return only(bound === undefined ? 'HAProxy' : `HAProxy, maxconn ${bound.atOnce}`, port, server);
}

function only(name: string, port: number, server: Pinned): Ways {
  return { ways: [{ name, pids: [server.pid], port, path: '/' }], missing: [], stop: server.stop };
}

function missing(name: string): Ways {
  progress(`left out, for it is not installed: ${name}`);
  return { ways: [], missing: [name], stop: async () => {} };
}
