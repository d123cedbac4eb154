import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { formatError } from '../../../src/config/errors.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { type RunningServer, serve } from '../../../src/server/serve.ts';
import { Recorder, type Respond } from '../../support/fakes/recorder.ts';
import { Wire } from '../../support/fakes/wire.ts';

/** Ends a look at what never comes about; judges no speed. */
const SHOWS_MS_MAX = 60_000;

/** A whole server with a proxy on loopback, and a backend that records; torn down by `stop`. */
export interface ProxyRig {
  readonly port: number;
  readonly admin: string;
  readonly backend: Recorder;
  readonly running: RunningServer;
  logged(): string;
  ask(parts?: Asked): Promise<Answered>;
  wire(halfOpen?: boolean): Promise<Wire>;
  /** What the group shows. */
  group(name: string): Promise<{ waiting: number; leases: number; limits: readonly { used: number }[] }>;
  /**
   * Resolves when the group shows so many waiters and leases; looks again and again, since a group has no bell. Rejects after 60 s,
   * or if no lease is wanted and one of them expired: it was not given back.
   */
  shows(name: string, wanted: { waiting?: number; leases?: number }): Promise<void>;
  /** Holds all waiters of the group, or lets them go again: what happens in between happens at one moment of its queue. */
  paused(name: string, isPaused: boolean): Promise<void>;
  /** A metric of the server by its name and labels, 0 if it shows none. */
  metric(series: string): Promise<number>;
  stop(): Promise<void>;
}

/** A request by a well-behaved client. */
export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Uint8Array;
  readonly signal?: AbortSignal;
}

/** Its answer; `at` and `took` by `performance.now()`. */
export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
  readonly body: string;
  readonly took: number;
  readonly at: number;
}

/** A server that stands between the proxy and the recorder. */
export interface Between {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a server; `text` is the configuration, with `BACKEND` for the URL of the recorder or of what is `between`; `proxy` is its listener. */
export async function proxyRig(
  text: string,
  respond?: Respond,
  proxy = '"127.0.0.1:0"',
  between?: (recorder: Recorder) => Promise<Between>,
): Promise<ProxyRig> {
  const backend = await Recorder.start(respond);
  const front = await between?.(backend);
  const folder = mkdtempSync(join(tmpdir(), 'sluice-proxy-'));
  const listen = `listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: "127.0.0.1:0", proxy: ${proxy} }\nstore: memory\n`;
  const http = text.startsWith('http:') ? '' : 'http: { engine: node }\n';
  const drain = text.includes('drain:') ? '' : 'drain: { delay: 0, grace: 0 }\n';
  const yaml = `${listen}${http}${drain}bodies: { path: ${folder} }\n${text.replaceAll('BACKEND', (front ?? backend).url)}`;
  const loaded = loadConfig({ text: yaml, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const logTo = new PassThrough();
  let log = '';
  logTo.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const running = await serve(loaded.config, {
    env: {},
    clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' },
    logTo,
    version: '1.2.3',
    nodeVersion: '24',
  });
  const port = Number(running.addresses['proxy']?.split(':').at(-1));
  const admin = `http://${running.addresses['admin']}`;
  const wires: Wire[] = [];
  // proto3 JSON writes 64-bit numbers as texts.
  const group: ProxyRig['group'] = async (name) =>
    JSON.parse(await (await fetch(`${admin}/v1/groups/${name}`)).text(), (_name, value: unknown) =>
      typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value,
    ) as never;
  const metric = async (series: string): Promise<number> => {
    const text = await (await fetch(`http://${running.addresses['health']}/metrics`)).text();
    const line = text.split('\n').find((each) => each.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1) ?? 0);
  };
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    for (const wire of wires) wire.destroy();
    await running.drain(true);
    await front?.stop();
    await backend.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return {
    port,
    admin,
    backend,
    running,
    logged: () => log,
    ask: (parts) => ask(port, parts),
    wire: async (halfOpen) => {
      const wire = await Wire.open(port, halfOpen);
      wires.push(wire);
      return wire;
    },
    group,
    shows: async (name, wanted) => {
      const began = performance.now();
      for (;;) {
        const { waiting = 0, leases = 0 } = await group(name);
        if ((wanted.waiting ?? waiting) === waiting && (wanted.leases ?? leases) === leases) break;
        if (performance.now() - began > SHOWS_MS_MAX) throw new Error(`group ${name} shows ${waiting} waiting and ${leases} leases after ${SHOWS_MS_MAX} ms`);
      }
      const expired = wanted.leases === 0 ? await metric(`sluice_leases_expired_total{group="${name}"}`) : 0;
      if (expired > 0) throw new Error(`${expired} leases of group ${name} expired`);
    },
    paused: async (name, isPaused) => {
      const { status } = await fetch(`${admin}/v1/groups/${name}/${isPaused ? 'pause' : 'resume'}`, { method: 'POST', headers: { 'sluice-request': '1' } });
      if (status !== 200) throw new Error(`group ${name}: ${status}`);
    },
    metric,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** Asks once, on a connection of its own. */
export function ask(port: number, { method = 'GET', path = '/', headers = {}, body, signal }: Asked = {}): Promise<Answered> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        headers: headers as Record<string, string | string[]>,
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const at = performance.now();
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            raw: answer.rawHeaders,
            body: Buffer.concat(chunks).toString('latin1'),
            took: at - began,
            at,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
