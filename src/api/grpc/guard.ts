import {
  constants,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerStreamResponseOptions,
} from 'node:http2';
import type { Server as NetServer } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Server } from '@grpc/grpc-js';
import type { Millis } from '../../core/time.ts';
import { ConnectionGate } from '../../http/connection-limiter.ts';

/** What one gRPC connection may do (docs/decisions/0015-grpc-connections.md). */
export interface GrpcBounds {
  /** Calls open at once on one connection; grpc-js announces it to the client, and refuses more. */
  readonly streamsMax: number;
  /** Calls that one connection may open in one second. */
  readonly opensPerSecondMax: number;
  /** Calls of one connection that may end at once without an answer (cancelled, without a message, of an unknown path); a thirtieth of it is given back each second. */
  readonly resetsMax: number;
  /** Bytes of one connection each second, and at once, beyond those of its calls; what node:http2 reads without a word counts here (WINDOW_UPDATE). */
  readonly bytesPerSecondMax: number;
  /** Time for the request of a call to arrive: all of it, or the first message of a stream of requests. */
  readonly firstMessageMs: Millis;
  /** Time in which a caller must read something of what waits for it. */
  readonly unreadMs: Millis;
  /** Bytes of one stream that may wait for its reader. */
  readonly unreadBytesMax: number;
}

/** Why a connection was closed. */
export type FloodKind = 'opens' | 'resets' | 'pings' | 'settings' | 'bytes' | 'protocol';

/** What the guard needs. */
export interface GrpcGuardDeps {
  readonly bounds: GrpcBounds;
  /** Paths whose calls carry {@link STREAM_ID} in their metadata, so that {@link GrpcGuard.cut} finds them. */
  readonly cuttable: ReadonlySet<string>;
  /** Paths whose first message the handler waits for itself. */
  readonly endless: ReadonlySet<string>;
  /** Paths that are served; a call of another one counts as reset. */
  readonly serves: (path: string) => boolean;
  /** Bytes that a call of a path allows its connection, where its messages may be longer than 64 KiB. */
  readonly longMessages?: ReadonlyMap<string, number>;
  readonly onFlood: (kind: FloodKind, remoteAddress: string) => void;
}

/** Metadata that names the stream of a call within its server. */
export const STREAM_ID = 'sluice-stream-id';

/** Calls of one connection that begin in one turn of the event loop; the others of that connection wait for the next. */
const SLICE = 32;
/** PINGs and SETTINGS of one connection at once beyond one for each call; 10 are given back each second. */
const CONTROL_MAX = 500;
const CONTROL_PER_SECOND = 10;
const RESETS_SECONDS = 30;
/** Bytes of a connection that each call allows it beside `bytesPerSecondMax`: those of the longest message. */
const BYTES_PER_CALL = 64 << 10;
/** Bytes that calls with long messages allow a connection together: as much as 1,000 calls of 64 KiB. */
const LONG_BYTES_MAX = 64 << 20;
/** Bytes are looked at so often, of so many connections each time. */
const METER_MS = 100;
const METERED_MAX = 1_000;
/** New connections of an address that flooded are taken one each so often. */
const PACE_MS = 250;
const SWEEP_MS = 5_000;
const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR } = constants;

type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number) => void;

/**
 * Bounds what a single connection can do to the others. It stands between node:http2 and grpc-js: grpc-js' own listener of
 * `stream` gets each call from here, a slice of each connection per turn, or never.
 */
export class GrpcGuard {
  readonly deps: GrpcGuardDeps;
  readonly #connections = new WeakMap<ServerHttp2Session, Connection>();
  readonly #cuttable = new Map<string, ServerHttp2Stream>();
  readonly #waiting: Connection[] = [];
  readonly #gate = new ConnectionGate(PACE_MS);
  /** Every connection, those whose bytes were looked at longest ago first. */
  readonly #open = new Set<Connection>();
  #meter: NodeJS.Timeout | undefined;
  #begin: StreamListener = () => {};
  #nextId = 0;
  #armed = false;

  constructor(deps: GrpcGuardDeps) {
    this.deps = deps;
  }

  /** Takes over the listeners of a server that has just been bound. Throws if grpc-js does not hold its HTTP/2 servers where it did. */
  attach(server: Server): void {
    // Not part of grpc-js' types; its version is pinned, and test/api/grpc/guard.test.ts fails when this is moved.
    const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Server, unknown> };
    if (!(http2Servers instanceof Map) || http2Servers.size === 0) throw new Error('grpc-js holds no http2Servers; its connections cannot be bounded.');
    for (const http2 of http2Servers.keys()) {
      const [begin, ...others] = http2.listeners('stream') as StreamListener[];
      if (begin === undefined || others.length > 0) throw new Error('grpc-js listens to `stream` in another way; its connections cannot be bounded.');
      this.#begin = begin;
      http2.removeListener('stream', begin);
      http2.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number) => this.#opened(stream, headers, flags));
      http2.on('session', (session: ServerHttp2Session) => this.#connected(session));
      this.#gate.attach(http2 as unknown as NetServer);
    }
  }

  /** Ends what runs by itself. */
  close(): void {
    this.#stopMeter();
    this.#gate.close();
  }

  /** Resets the stream of this id at once, with all that waits on it. */
  cut(id: string | undefined): void {
    if (id !== undefined) this.#cuttable.get(id)?.close(NGHTTP2_CANCEL);
  }

  #connected(session: ServerHttp2Session): void {
    const connection = new Connection(session, this.deps, (kind, address) => {
      this.#gate.slow(address);
      this.deps.onFlood(kind, address);
    });
    this.#connections.set(session, connection);
    this.#open.add(connection);
    session.once('close', () => {
      this.#open.delete(connection);
      if (this.#open.size === 0) this.#stopMeter();
    });
    this.#meter ??= setInterval(() => this.#measure(), METER_MS).unref();
  }

  /** Without connections nothing wakes the event loop. */
  #stopMeter(): void {
    clearInterval(this.#meter);
    this.#meter = undefined;
  }

  /** Looks at the bytes of the next connections. */
  #measure(): void {
    const now = performance.now();
    let left = Math.min(METERED_MAX, this.#open.size);
    for (const connection of this.#open) {
      if (left-- === 0) return;
      this.#open.delete(connection);
      this.#open.add(connection);
      connection.measure(now);
    }
  }

  #opened(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number): void {
    stream.on('error', () => {});
    const { session } = stream;
    const connection = session === undefined ? undefined : this.#connections.get(session as ServerHttp2Session);
    if (connection === undefined || stream.closed) return;
    const path = headers[':path'] ?? '';
    const empty = (flags & NGHTTP2_FLAG_END_STREAM) !== 0 || !this.deps.serves(path);
    if (!connection.open(stream, path, empty)) return;
    const wrong = foreign(headers);
    if (wrong !== undefined) return stream.respond(wrong, { endStream: true });
    // Else grpc-js takes a compressed message for one that is not.
    if (headers['grpc-encoding'] === undefined || headers['grpc-encoding'] === 'identity') headers['grpc-encoding'] = NONE;
    if (this.deps.cuttable.has(path)) this.#tag(stream, headers);
    if (connection.queue.push({ stream, headers, flags }) === 1) this.#waiting.push(connection);
    if (this.#armed) return;
    this.#armed = true;
    setImmediate(() => this.#turn());
  }

  #tag(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    this.#nextId += 1;
    const id = String(this.#nextId);
    headers[STREAM_ID] = id;
    this.#cuttable.set(id, stream);
    stream.once('close', () => this.#cuttable.delete(id));
  }

  /** Begins the next calls of each connection. */
  #turn(): void {
    this.#armed = false;
    const connections = this.#waiting.splice(0);
    for (const connection of connections) {
      for (const { stream, headers, flags } of connection.queue.splice(0, SLICE)) {
        if (stream.closed) continue;
        // A request without a byte may have ended meanwhile, which grpc-js must receive.
        const ended = stream.readableEnded;
        if (ended && !connection.empty()) break;
        stream.respond = respond;
        stream.sendTrailers = sendTrailers;
        this.#begin(stream, headers, flags);
        if (ended) stream.emit('end');
      }
      if (connection.queue.length > 0) this.#waiting.push(connection);
    }
    if (this.#waiting.length === 0 || this.#armed) return;
    this.#armed = true;
    setImmediate(() => this.#turn());
  }
}

/** A bucket of `max` tokens that fills by `perSecond`. */
class Bucket {
  readonly #max: number;
  readonly #perMs: number;
  #tokens: number;
  #at = performance.now();

  constructor(max: number, perSecond: number) {
    this.#max = max;
    this.#perMs = perSecond / 1000;
    this.#tokens = max;
  }

  /** Takes one token. False: there was none. */
  take(): boolean {
    if (this.#tokens < 1) {
      const now = performance.now();
      this.#tokens = Math.min(this.#max, this.#tokens + (now - this.#at) * this.#perMs);
      this.#at = now;
      if (this.#tokens < 1) return false;
    }
    this.#tokens -= 1;
    return true;
  }

  give(): void {
    if (this.#tokens < this.#max) this.#tokens += 1;
  }
}

/** What one connection has done, and its calls. */
class Connection {
  readonly queue: { readonly stream: ServerHttp2Stream; readonly headers: IncomingHttpHeaders; readonly flags: number }[] = [];
  readonly #session: ServerHttp2Session;
  readonly #deps: GrpcGuardDeps;
  readonly #opens: Bucket;
  readonly #resets: Bucket;
  readonly #control = new Bucket(CONTROL_MAX, CONTROL_PER_SECOND);
  /** Calls, each with the time of its opening, or since when its answer waits for its reader. */
  readonly #live = new Map<ServerHttp2Stream, Call>();
  readonly #address: string;
  #closed = false;

  readonly #onFlood: GrpcGuardDeps['onFlood'];
  #bytesRead = 0;
  #bytesLeft: number;
  #longLeft = 0;
  #measuredAt = performance.now();

  constructor(session: ServerHttp2Session, deps: GrpcGuardDeps, onFlood: GrpcGuardDeps['onFlood']) {
    this.#session = session;
    this.#deps = deps;
    this.#onFlood = onFlood;
    this.#address = session.socket?.remoteAddress ?? '';
    const { opensPerSecondMax, resetsMax, bytesPerSecondMax } = deps.bounds;
    this.#bytesLeft = bytesPerSecondMax;
    this.#opens = new Bucket(opensPerSecondMax, opensPerSecondMax);
    this.#resets = new Bucket(resetsMax, resetsMax / RESETS_SECONDS);
    session.on('ping', () => this.#spend(this.#control, 'pings'));
    session.on('remoteSettings', () => this.#spend(this.#control, 'settings'));
    const { firstMessageMs, unreadMs } = deps.bounds;
    const sweeper = setInterval(() => this.#sweep(), Math.min(SWEEP_MS, Math.ceil(Math.min(firstMessageMs, unreadMs) / 4)));
    sweeper.unref();
    // Floods that node:http2 itself ends: unread answers, broken frames, endless CONTINUATION.
    session.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#closed || !error.code?.startsWith('ERR_HTTP2')) return;
      this.#closed = true;
      this.#onFlood('protocol', this.#address);
    });
    session.once('close', () => {
      clearInterval(sweeper);
      this.#closed = true;
      this.queue.length = 0;
    });
  }

  /** Counts a call that came in. False: the connection is closed, or being closed for it. */
  open(stream: ServerHttp2Stream, path: string, empty: boolean): boolean {
    if (this.#closed || !this.#spend(this.#opens, 'opens')) return false;
    if (empty && !this.#spend(this.#resets, 'resets')) return false;
    this.#control.give();
    const long = this.#deps.longMessages?.get(path);
    if (long === undefined) this.#bytesLeft += BYTES_PER_CALL;
    else this.#longLeft = Math.min(LONG_BYTES_MAX, this.#longLeft + long);
    this.#live.set(stream, { path, since: performance.now(), unread: false });
    stream.once('close', () => {
      this.#live.delete(stream);
      // Not counted twice; a call that was answered may be reset, which is what clients do once they have read enough.
      if (!empty && !stream.headersSent) this.#spend(this.#resets, 'resets');
    });
    return true;
  }

  /** Counts a call that ended without a message. False: the connection is closed. */
  empty(): boolean {
    return this.#spend(this.#resets, 'resets');
  }

  #spend(bucket: Bucket, kind: FloodKind): boolean {
    if (this.#closed) return false;
    if (bucket.take()) return true;
    this.#end(kind);
    return false;
  }

  /** Sends GOAWAY, and closes the connection. */
  #end(kind: FloodKind): void {
    this.#closed = true;
    this.queue.length = 0;
    this.#onFlood(kind, this.#address);
    this.#session.destroy(new Error(`flood of ${kind}`), NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** Counts the bytes that came since the last time. */
  measure(now: Millis): void {
    if (this.#closed) return;
    const read = this.#session.socket?.bytesRead ?? 0;
    const { bytesPerSecondMax } = this.#deps.bounds;
    const given = ((now - this.#measuredAt) / 1000) * bytesPerSecondMax;
    const came = read - this.#bytesRead;
    // Long messages take longer than one look; what they may have is not cut to a second's bytes.
    const ofLong = Math.min(this.#longLeft, came);
    this.#longLeft -= ofLong;
    this.#bytesLeft = Math.min(bytesPerSecondMax, this.#bytesLeft + given - (came - ofLong));
    this.#bytesRead = read;
    this.#measuredAt = now;
    if (this.#bytesLeft < 0) this.#end('bytes');
  }

  /** Ends calls whose request does not come, and those whose answer is not read. */
  #sweep(): void {
    const now = performance.now();
    const { firstMessageMs, unreadMs } = this.#deps.bounds;
    for (const [stream, call] of this.#live) {
      // What waits of a watch or a session is counted where it is written.
      if (stream.writableEnded || (stream.writableLength > 0 && !this.#deps.cuttable.has(call.path))) {
        if (!call.unread) {
          call.unread = true;
          call.since = now;
        } else if (now - call.since >= unreadMs) stream.close(NGHTTP2_CANCEL);
      } else if (call.unread) {
        call.unread = false;
      } else if (!stream.readableEnded && !stream.headersSent && now - call.since >= firstMessageMs && !this.#deps.endless.has(call.path)) {
        late(stream, firstMessageMs);
      }
    }
  }
}

/** Stands for "no compression" in what grpc-js is given: it knows none of this name, and refuses a message that is compressed. */
const NONE = 'none';
const COMPRESSED_PLAIN = encodeURI(`"${NONE}"`);
const ENCODINGS = new Set([undefined, 'identity', 'gzip', 'deflate']);
const CONTENT_TYPES = new Set(['application/grpc', 'application/grpc+proto']);

/** The answer to a request that grpc-js would take for another one: of another method, codec or compression. Undefined: none. */
function foreign(headers: IncomingHttpHeaders): OutgoingHttpHeaders | undefined {
  if (headers[':method'] !== 'POST') return { ':status': 405, allow: 'POST' };
  const [type = ''] = (headers['content-type'] ?? '').split(';', 1);
  if (!CONTENT_TYPES.has(type.trim().toLowerCase())) return { ':status': 415 };
  if (ENCODINGS.has(headers['grpc-encoding'] as string | undefined)) return undefined;
  const message = 'No such compression; send identity, gzip or deflate.';
  const fields = { 'content-type': 'application/grpc+proto', 'grpc-accept-encoding': 'identity,deflate,gzip', 'grpc-status': 12, 'grpc-message': message };
  return { ':status': 200, ...fields };
}

/** Own members of each stream of gRPC: what grpc-js writes otherwise than the specification has it is put right. */
function respond(this: ServerHttp2Stream, fields?: OutgoingHttpHeaders, options?: ServerStreamResponseOptions): void {
  prototypeOf(this).respond.call(this, options?.endStream === true ? tidied(fields) : fields, options);
}

function sendTrailers(this: ServerHttp2Stream, fields: OutgoingHttpHeaders): void {
  prototypeOf(this).sendTrailers.call(this, tidied(fields) ?? fields);
}

function prototypeOf(stream: ServerHttp2Stream): ServerHttp2Stream {
  return Object.getPrototypeOf(stream) as ServerHttp2Stream;
}

/** Trailers without `grpc-message: OK` beside status 0, and with details unpadded, as gRPC's "HTTP2 Protocol Mapping" has them. */
function tidied(fields: OutgoingHttpHeaders | undefined): OutgoingHttpHeaders | undefined {
  if (fields === undefined) return undefined;
  const status = Number(fields['grpc-status']);
  if (status === 0) delete fields['grpc-message'];
  // UNIMPLEMENTED of an encoding that was never named: the specification has INTERNAL.
  if (status === 12 && String(fields['grpc-message']).endsWith(COMPRESSED_PLAIN)) {
    fields['grpc-status'] = 13;
    fields['grpc-message'] = 'The message is marked as compressed, and no encoding was named.';
  }
  for (const name of Object.keys(fields)) {
    if (!name.endsWith('-bin')) continue;
    const value = fields[name];
    fields[name] = Array.isArray(value) ? value.map(unpadded) : unpadded(String(value));
  }
  return fields;
}

function unpadded(value: string): string {
  let end = value.length;
  while (end > 0 && value[end - 1] === '=') end -= 1;
  return value.slice(0, end);
}

interface Call {
  readonly path: string;
  since: Millis;
  unread: boolean;
}

/** Answers a call whose request did not come, in the place of grpc-js, which waits for it. */
function late(stream: ServerHttp2Stream, ms: Millis): void {
  const fields = { ':status': 200, 'content-type': 'application/grpc+proto', 'grpc-status': 3, 'grpc-message': `No request came within ${ms / 1000} s.` };
  stream.respond(fields, { endStream: true });
  stream.close(NGHTTP2_NO_ERROR);
}
