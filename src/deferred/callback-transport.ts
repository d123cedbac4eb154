import { lookup } from 'node:dns/promises';
import { type ClientRequest, request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type BlockList, isIP, type LookupFunction } from 'node:net';
import { isRefusedAddress } from './callback-target.ts';
import type { AttemptResult } from './delivery.ts';

/** One attempt at a callback. */
export interface CallbackAsk {
  readonly url: URL;
  /** Name, value, ...; `Host` and what frames are added. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
  /** Private addresses that it may lead to. */
  readonly addresses: BlockList;
  /** Ends the attempt: its time has passed, or the process stops. */
  readonly signal: AbortSignal;
}

/** Sends callbacks. Never rejects. */
export type CallbackTransport = (ask: CallbackAsk) => Promise<Pick<AttemptResult, 'outcome' | 'firstBytes'>>;

/** Returns every address of a name. */
export type Resolve = (hostname: string) => Promise<readonly { readonly address: string; readonly family: number }[]>;

/** First bytes of an answer that an attempt shows; no more of it is read. */
const FIRST_BYTES_MAX = 256;

/**
 * Sends callbacks by POST, each on a connection of its own. The name is resolved once; if any of its addresses is private nothing is
 * sent, else exactly the first is dialled: between a check and a second look-up a name could change. Redirects are not followed.
 */
export function createCallbackTransport(resolve: Resolve = (hostname) => lookup(hostname, { all: true, order: 'verbatim' })): CallbackTransport {
  return async (ask) => {
    try {
      const target = await targetOf(ask, resolve);
      if (typeof target === 'string') return failed(target);
      return await send(ask, target);
    } catch (cause) {
      return failed(ask.signal.aborted ? 'timeout' : (cause as NodeJS.ErrnoException).code === 'ECONNREFUSED' ? 'connect' : 'reset');
    }
  };
}

async function targetOf({ url, addresses, signal }: CallbackAsk, resolve: Resolve): Promise<{ readonly address: string; readonly family: number } | string> {
  const name = url.hostname.replace(/^\[|\]$/g, '');
  const literal = isIP(name);
  const found = literal !== 0 ? [{ address: name, family: literal }] : await resolve(name).catch(() => []);
  const [first] = found;
  if (signal.aborted) return 'timeout';
  if (first === undefined) return 'unresolved';
  return found.some(({ address }) => isRefusedAddress(address, addresses)) ? 'private_address' : first;
}

function send({ url, headers, body, signal }: CallbackAsk, { address, family }: { readonly address: string; readonly family: number }) {
  return new Promise<Awaited<ReturnType<CallbackTransport>>>((resolve, reject) => {
    // net requests one address, or with autoSelectFamily for all.
    const pinned: LookupFunction = (_hostname, options, callback) =>
      options.all === true ? callback(null, [{ address, family }]) : callback(null, address, family);
    const options: RequestOptions = {
      method: 'POST',
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? undefined : Number(url.port),
      path: `${url.pathname}${url.search}`,
      headers: ['Host', url.host, ...headers, 'Content-Length', String(body.byteLength), 'Connection', 'close'] as unknown as RequestOptions['headers'],
      lookup: pinned,
      agent: false,
      signal,
    };
    const request: ClientRequest = url.protocol === 'https:' ? httpsRequest(options) : httpRequest(options);
    request.on('error', reject);
    request.on('response', (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      const finish = (): void => {
        resolve({
          outcome: { kind: 'answered', status: response.statusCode ?? 0, retryAfterMs: undefined },
          firstBytes: Buffer.concat(pieces).subarray(0, FIRST_BYTES_MAX),
        });
        request.destroy();
      };
      response.on('data', (piece: Buffer) => {
        pieces.push(piece);
        bytes += piece.byteLength;
        if (bytes >= FIRST_BYTES_MAX) finish();
      });
      response.on('end', finish);
      response.on('error', finish);
    });
    request.end(body);
  });
}

function failed(error: string): Awaited<ReturnType<CallbackTransport>> {
  return { outcome: { kind: 'failed', error }, firstBytes: new Uint8Array(0) };
}
