import { createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { expect } from 'vitest';
import type { ProxyRig } from '../proxy/listener/rig.ts';

/** What a broken backend does with a connection, told its number from 1. */
export type Broken = (socket: Socket, connection: number) => void;

/** A backend that breaks the rules: counts connections and heads of requests, and does with each what it is told. */
export class BrokenBackend {
  /** Connections taken. */
  dials = 0;
  /** Heads of requests that came whole. */
  readonly heads: string[] = [];
  /** Connections that the other side has not ended. */
  readonly open = new Set<Socket>();
  readonly #all = new Set<Socket>();
  /** Called with each connection. */
  onConnection: Broken = () => {};
  /** Called with each head. */
  onHead: (socket: Socket, head: string) => void;
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server, onHead: (socket: Socket, head: string) => void) {
    this.#server = server;
    this.onHead = onHead;
    this.port = (server.address() as { port: number }).port;
    server.on('connection', (socket: Socket) => this.#take(socket));
  }

  /** Listens on loopback; on `port`, where it is to come back. */
  static async start(onHead: (socket: Socket, head: string) => void = () => {}, port = 0): Promise<BrokenBackend> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return new BrokenBackend(server, onHead);
  }

  /** A URL that refuses connections. */
  static async closedPort(): Promise<number> {
    const backend = await BrokenBackend.start();
    await backend.stop();
    return backend.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#all) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(socket: Socket): void {
    this.dials++;
    this.open.add(socket);
    this.#all.add(socket);
    let text = '';
    /** Bytes of a body to come. */
    let body = 0;
    socket.on('error', () => {});
    const over = (): void => void this.open.delete(socket);
    socket.on('close', over);
    // It is the proxy's side that counts; this one stays half open where its script does not end it.
    socket.on('end', over);
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      for (;;) {
        const skipped = Math.min(body, text.length);
        text = text.slice(skipped);
        body -= skipped;
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = text.slice(0, end + 4);
        text = text.slice(end + 4);
        body = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
        this.heads.push(head);
        this.onHead(socket, head);
      }
    });
    this.onConnection(socket, this.dials);
  }
}

/** URLs that are ejected. */
export async function ejected(rig: ProxyRig): Promise<number> {
  const text = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith('sluice_forward_ejected{') && line.endsWith(' 1')).length;
}

/** Dials that failed, by the server's own count. */
export function failedDials(rig: ProxyRig): Promise<number> {
  return rig.metric('sluice_forward_attempts_total{backend="shop",outcome="connect"}');
}

/** Resolves once `what` holds; looked at again and again, since a server has no bell. Fails with `shown` after 60 s. */
export async function until(what: () => boolean | Promise<boolean>, shown: () => unknown = () => ''): Promise<void> {
  const began = performance.now();
  while (!(await what())) {
    if (performance.now() - began > 60_000) throw new Error(`not after 60 s: ${what.toString()} ${JSON.stringify(shown())}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Nothing is left of any request: no permit, no place, no held byte; and no connection that is not kept alive for another (`idle` at most). */
export async function expectNothingLeft(rig: ProxyRig, backends: readonly BrokenBackend[] = [], idle = 0): Promise<void> {
  const quiet = [
    'sluice_forward_held_bodies',
    'sluice_forward_held_bytes{where="memory"}',
    'sluice_forward_held_bytes{where="disk"}',
    'sluice_backlog_requests{group="g"}',
    'sluice_leases{group="g"}',
  ];
  let text = '';
  await until(
    async () => {
      text = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
      return quiet.every((name) => text.split('\n').every((line) => !line.startsWith(`${name} `) || line === `${name} 0`));
    },
    () => text.split('\n').filter((line) => quiet.some((name) => line.startsWith(name))),
  );
  for (const backend of backends)
    await until(
      () => backend.open.size <= idle,
      () => backend.open.size,
    );
  const { waiting, leases } = await rig.group('g');
  expect([waiting, leases]).toEqual([0, 0]);
}
