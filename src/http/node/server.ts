/**
 * What every listener on node:http shares, whether it takes whole bodies (`node.ts`) or passes them on (`../../proxy/listener/listener.ts`): how
 * its server is made, and which framing it refuses before anything else is looked at (RFC 9112 section 6).
 */

import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';
import type { EngineOptions } from '../engine.ts';
import { checkHost, type FramingError, HEAD_MS_MAX, lengthOf, originForm, tooSlow } from '../framing.ts';
import { chooseProtocol } from './protocol-split.ts';

/** Idle keep-alive: longer than the 60 s after which most balancers let go, so that it is they who close. */
const IDLE_MS_MAX = 65_000;

/** Requests of one connection that may wait behind a held one. */
export const PIPELINED_MAX = 64;

const BAD_ENCODING: FramingError = { status: 400, detail: 'Transfer-Encoding must be exactly `chunked`, on HTTP/1.1, without Content-Length.' };
const BAD_VERSION: FramingError = { status: 505, detail: 'Speak HTTP/1.1.' };
const MALFORMED: FramingError = { status: 400, detail: 'The request is not well-formed HTTP/1.1.' };
const HEAD_TOO_LARGE: FramingError = { status: 431, detail: 'The request line and fields may be at most 16384 bytes.' };

/** An expectation other than 100-continue. */
export const NO_EXPECTATION: FramingError = { status: 417, detail: 'The only expectation understood is 100-continue.' };

/** What a server is made of. */
export interface NodeServerOptions extends Pick<EngineOptions, 'receiveMsMax' | 'tls' | 'http2'> {
  /** Which requests for another protocol become an `upgrade` event; the rest stay requests. Node before 24.9 ignores it. */
  readonly upgrades?: (request: IncomingMessage) => boolean;
}

/** Creates a server with this listener's bounds. Node's own bounds of bodies are off: the reader of a body keeps `receiveMsMax`. */
export async function createNodeServer(options: NodeServerOptions): Promise<Server> {
  const { receiveMsMax, tls, http2, upgrades } = options;
  const bound = Math.min(HEAD_MS_MAX, receiveMsMax);
  const serverOptions: ServerOptions & { optimizeEmptyRequests: boolean; shouldUpgradeCallback?: (request: IncomingMessage) => boolean } = {
    // A held request is not a slow one.
    requestTimeout: 0,
    headersTimeout: bound,
    connectionsCheckingInterval: Math.min(1_000, Math.ceil(bound / 4)),
    keepAliveTimeout: IDLE_MS_MAX,
    // Half-open connections of vanished callers end within minutes.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    maxHeaderSize: 16_384,
    joinDuplicateHeaders: true,
    requireHostHeader: false,
    insecureHTTPParser: false,
    optimizeEmptyRequests: true,
    ...(upgrades === undefined ? {} : { shouldUpgradeCallback: upgrades }),
  };
  if (tls === undefined) return unlimited(createServer(serverOptions));
  const [cert, key] = await Promise.all([readFile(tls.cert), readFile(tls.key)]);
  const client = tls.clientCa === undefined ? {} : { ca: await readFile(tls.clientCa), requestCert: true, rejectUnauthorized: true };
  const alpn = http2 === undefined ? { ALPNProtocols: ['http/1.1'] } : { ALPNCallback: chooseProtocol };
  return unlimited(createTlsServer({ ...serverOptions, cert, key, ...client, minVersion: 'TLSv1.2', ...alpn, handshakeTimeout: bound }));
}

/** Opens a server; rejects with what to do when the address is not to be had. */
export async function listenOn(server: NetServer, host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new Error(`Cannot listen on ${host}:${port}: ${cause.message}. Choose another address, or stop who has it.`, { cause })),
    );
    server.listen(port, host, resolve);
  });
  server.on('error', () => undefined);
  const address = server.address() as AddressInfo;
  return { host: address.address, port: address.port };
}

/** Takes no new connections and closes idle ones; resolves when the last is gone, or after `graceMs`, when the rest were cut. */
export async function closeServer(server: Server, graceMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const last = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(last);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** The target in origin form, once the framing is beyond doubt, or what is wrong; `checkMethod` reports which methods are taken. */
export function validateFraming(request: IncomingMessage, checkMethod: (method: string) => FramingError | undefined): string | FramingError {
  const { headers } = request;
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return BAD_VERSION;
  const fault = checkMethod(request.method ?? '') ?? (request.httpVersion === '1.0' && headers.host === undefined ? undefined : checkHost(headers.host));
  if (fault !== undefined) return fault;
  const encoding = headers['transfer-encoding'];
  if (encoding !== undefined && (encoding.toLowerCase() !== 'chunked' || request.httpVersion !== '1.1' || headers['content-length'] !== undefined))
    return BAD_ENCODING;
  const length = headers['content-length'];
  if (length !== undefined) {
    const bytes = lengthOf(length);
    if (typeof bytes !== 'number') return bytes;
  }
  return originForm(request.url ?? '', request.method ?? '', headers.host);
}

/** Connections whose last request has come. */
const ending = new WeakSet<Socket>();

/**
 * Whether a request may be looked at. One with an Upgrade field that stays a request is the last of its connection:
 * node drops what came behind it in the same read, and takes what comes in the next one for a request (24.21).
 */
export function acceptsNextRequest({ socket, headers }: IncomingMessage, response: ServerResponse): boolean {
  if (ending.has(socket)) return false;
  if (headers.upgrade !== undefined) {
    ending.add(socket);
    response.shouldKeepAlive = false;
  }
  return true;
}

/** What a parser's error is to its client. */
export function toFramingError(error: NodeJS.ErrnoException, receiveMsMax: number): FramingError {
  if (error.code === 'HPE_HEADER_OVERFLOW') return HEAD_TOO_LARGE;
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return tooSlow(Math.min(HEAD_MS_MAX, receiveMsMax));
  return MALFORMED;
}

/** Node drops fields beyond a count without a word, and with them what has to be checked; bytes bound them already. */
function unlimited(server: Server): Server {
  server.maxHeadersCount = 0;
  return server;
}
