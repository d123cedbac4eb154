import type { StreamSubject, WantedStream } from './layout.ts';
import { supportsBatchedWrites, supportsMessageTtl } from './version.ts';

/** Streams that stored requests are spread over, so that several can be synced at once; fixed for layout 1. */
export const QUEUE_STREAMS = 8;

/** Of all room for stored requests, an eighth is for each of these: requests with their results, bodies, dead letters. */
const SHARES = { queues: 4, bodies: 3, dead: 1 } as const;

/** Where everything of one shard's stored requests is. All of it is in streams of the shard's own number. */
export interface ShardLayout {
  /** All requests, their retries and the register of flights. */
  readonly all: StreamSubject;
  /** A request, and later how it ended. */
  request(token: string): StreamSubject;
  readonly everyRequest: StreamSubject;
  /** All retries, and the register of flights. */
  readonly retries: StreamSubject;
  /** The row as it is after a failed attempt, with the attempts. */
  retry(token: string): StreamSubject;
  /** What may be on its way, and the owner's term. */
  readonly flights: StreamSubject;
  /** How far the callback of an end has come. */
  callback(token: string): StreamSubject;
  /** Pieces of a body that is not stored with its request. */
  piece(upload: string, number: number): StreamSubject;
  pieces(upload: string): StreamSubject;
  /** The first pieces of all bodies. */
  readonly firstPieces: StreamSubject;
  /** A dead letter's head and body. */
  dead(group: string, token: string): StreamSubject;
  /** All dead letters, or those of a group. */
  everyDead(group: string | undefined): StreamSubject;
  /** What kind of message is at a subject of `all`, and the request's token; undefined: none of these. */
  kindOf(subject: string): { readonly kind: 'request' | 'retry' | 'callback'; readonly token: string } | { readonly kind: 'flights' } | undefined;
  /** The upload whose piece is at a subject. */
  uploadAt(subject: string): string;
}

/** Names and subjects of stored requests in NATS, versioned with the layout of the ledger. */
export interface DeferredLayout {
  readonly queues: readonly string[];
  readonly bodies: readonly string[];
  readonly dead: string;
  shard(shard: number): ShardLayout;
  /** The streams as they must be; `version` is the server's: older ones know fewer settings. */
  wanted(bytes: number, version: string): readonly WantedStream[];
}

/** The layout below a prefix (`cluster.prefix`). */
export function createDeferredLayout(prefix: string): DeferredLayout {
  const stream = (name: string): string => `${prefix.toUpperCase()}1_${name}`;
  const numbers = Array.from({ length: QUEUE_STREAMS }, (_, index) => index);
  const queues = numbers.map((index) => stream(`DQ_${index}`));
  const bodies = numbers.map((index) => stream(`DB_${index}`));
  const dead = stream('DEAD');
  const root = `${prefix}.1`;
  return {
    queues,
    bodies,
    dead,
    shard(shard) {
      const index = shard % QUEUE_STREAMS;
      return shardLayout({ root, index, shard, queue: queues[index] ?? '', bodies: bodies[index] ?? '', dead });
    },
    wanted(bytes, version) {
      const eighth = Math.floor(bytes / 8);
      const ttl = supportsMessageTtl(version) ? { allow_msg_ttl: true } : {};
      const atomic = supportsBatchedWrites(version) ? { allow_atomic: true } : {};
      const common = { max_msgs_per_subject: 1, deny_purge: false };
      const each = (share: number): number => Math.floor((eighth * share) / QUEUE_STREAMS);
      return [
        ...queues.map((name, index) => ({ ...common, ...ttl, ...atomic, name, subjects: [`${root}.dq.${index}.>`], max_bytes: each(SHARES.queues) })),
        ...bodies.map((name, index) => ({ ...common, name, subjects: [`${root}.db.${index}.>`], max_bytes: each(SHARES.bodies) })),
        { ...common, ...ttl, name: dead, subjects: [`${root}.dead.>`], max_bytes: eighth * SHARES.dead },
      ];
    },
  };
}

const KINDS: Readonly<Record<string, 'request' | 'retry' | 'callback' | undefined>> = { r: 'request', t: 'retry', c: 'callback' };

interface ShardLayoutOptions {
  readonly root: string;
  readonly index: number;
  readonly shard: number;
  readonly queue: string;
  readonly bodies: string;
  readonly dead: string;
}

function shardLayout({ root, index, shard, queue, bodies, dead }: ShardLayoutOptions): ShardLayout {
  const under = `${root}.dq.${index}.${shard}`;
  const body = `${root}.db.${index}.${shard}`;
  return {
    all: { stream: queue, subject: `${under}.>` },
    request: (token) => ({ stream: queue, subject: `${under}.r.${token}` }),
    everyRequest: { stream: queue, subject: `${under}.r.*` },
    retries: { stream: queue, subject: `${under}.t.*` },
    retry: (token) => ({ stream: queue, subject: `${under}.t.${token}` }),
    flights: { stream: queue, subject: `${under}.t.flights` },
    callback: (token) => ({ stream: queue, subject: `${under}.c.${token}` }),
    piece: (upload, number) => ({ stream: bodies, subject: `${body}.${upload}.${number}` }),
    pieces: (upload) => ({ stream: bodies, subject: `${body}.${upload}.*` }),
    firstPieces: { stream: bodies, subject: `${body}.*.0` },
    dead: (group, token) => ({ stream: dead, subject: `${root}.dead.${shard}.${hex(group)}.${token}` }),
    everyDead: (group) => ({ stream: dead, subject: `${root}.dead.${shard}.${group === undefined ? '*' : hex(group)}.*` }),
    kindOf(subject) {
      if (!subject.startsWith(`${under}.`)) return undefined;
      const [kind, token] = subject.slice(under.length + 1).split('.');
      if (kind === 't' && token === 'flights') return { kind: token };
      if (token === undefined) return undefined;
      const named = kind === undefined ? undefined : KINDS[kind];
      return named && { kind: named, token };
    },
    uploadAt: (subject) => subject.slice(body.length + 1).split('.')[0] ?? '',
  };
}

/** Any text as one token of a subject, no two texts as the same. */
function hex(text: string): string {
  return `g${Buffer.from(text).toString('hex')}`;
}

/**
 * The rights to publish that an account needs beside `rights` of layout.ts where it stores requests. `docs/nats.md` shows them,
 * and a test works with nothing else.
 */
export function deferredPermissions(prefix: string): readonly string[] {
  const { queues, bodies, dead } = createDeferredLayout(prefix);
  return [...queues, ...bodies, dead].flatMap((name) => [
    ...['INFO', 'CREATE', 'PURGE', 'MSG.GET'].map((verb) => `$JS.API.STREAM.${verb}.${name}`),
    `$JS.API.DIRECT.GET.${name}`,
    `$JS.API.DIRECT.GET.${name}.>`,
    ...(bodies.includes(name) ? [] : [`CREATE.${name}`, `MSG.NEXT.${name}.>`, `DELETE.${name}.>`].map((call) => `$JS.API.CONSUMER.${call}`)),
  ]);
}
