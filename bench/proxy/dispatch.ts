/**
 * The limit of what a proxy on node:http can do: every request to undici's `Pool.dispatch`, streaming both ways. It holds
 * nothing, admits nobody, counts nothing, and drops the fields of one connection as every proxy must. `fields`: it adds as many
 * fields as Sluice does (Via, Forwarded, X-Forwarded-*, traceparent), of fixed words, for undici checks and writes each.
 * `node bench/proxy/dispatch.ts PORT BACKEND_PORT [fields]`
 */
import { createServer, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

const [port = '', backend = '', adds = ''] = process.argv.slice(2);
const pool = new Pool(`http://127.0.0.1:${backend}`, { connections: null, pipelining: 1 });
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect', 'proxy-connection']);

const ADDED = ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', 'Forwarded', 'for=127.0.0.1;host="127.0.0.1:8000";proto=http'];
ADDED.push('X-Forwarded-For', '127.0.0.1', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', '127.0.0.1:8000', 'Via', '1.1 bare', 'X-Attempt', '1');

function endToEnd(raw: readonly (string | Buffer)[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = String(raw[i]);
    if (!HOP_BY_HOP.has(name.toLowerCase())) out.push(name, raw[i + 1]?.toString('latin1' as 'utf8') ?? '');
  }
  return out;
}

class Passing implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  onRequestStart(): void {}

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const { rawHeaders = [] } = controller as { rawHeaders?: readonly Buffer[] };
    this.#response.writeHead(status, endToEnd(rawHeaders));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#response.write(chunk)) return;
    controller.pause();
    this.#response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#response.end();
  }

  onResponseError(): void {
    if (this.#response.headersSent) this.#response.destroy();
    else this.#response.writeHead(502).end();
  }
}

const server = createServer((request, response) => {
  const bare = request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined;
  const headers = endToEnd(request.rawHeaders);
  if (adds === 'fields') headers.push(...ADDED);
  const method = request.method as Dispatcher.HttpMethod;
  pool.dispatch({ method, path: request.url ?? '/', headers, body: bare ? null : request }, new Passing(response));
});
server.requestTimeout = 0;
server.keepAliveTimeout = 65_000;
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4_096 });
// So that a profile is written.
process.once('SIGTERM', () => process.exit(0));
