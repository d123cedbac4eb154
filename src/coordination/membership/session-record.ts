import type { Instant, Micros } from '../../core/time.ts';

/** The configuration that a replica runs: the highest `number` of all live replicas applies. Two of one number with different hashes are a mistake in the configuration. */
export interface Revision {
  readonly number: number;
  readonly hash: string;
}

/** The part of shard time that a record makes its writer's: slots of `shard` below `until`, in `term`. */
export interface OwnedSlots {
  readonly shard: number;
  readonly term: bigint;
  /** Shard time when the record was made: no clock of this term is behind it from then on. */
  readonly at: Instant;
  /** r1: first instant that is not the writer's. */
  readonly until: Instant;
}

/**
 * The register of a session (docs/design/coordination.md 2.3): one for each session, never written again after its end. Written by its process
 * each 200 ms with a larger `n`; set to `revoked` by any replica, or to `closed` by its process, and then never written again.
 *
 * Every shard that the session owns is in `own`, once a record with it was written, until another owner is in the shard's
 * register: a taker concludes from a missing entry that nothing was ever decided in that term.
 */
export interface SessionRecord {
  /** Name of the replica, the same over restarts. Ranks are computed from it. */
  readonly replica: string;
  /** Address of the process in the relay. */
  readonly instance: string;
  readonly n: number;
  readonly state: 'live' | 'closed' | 'revoked';
  readonly own: readonly OwnedSlots[];
  /** The agreed time when it was made, if there was one. */
  readonly wall?: Micros | undefined;
  /**
   * The record of the process is lost, with its slots. This one was written in its place so that the session can never
   * be renewed; `surely`, once nothing has been renewed for longer than slots last.
   */
  readonly lost?: 'alleged' | 'surely' | undefined;
}

/** The same content at the same moment, sent to all replicas, with what others need to know of its sender. */
export interface Heartbeat {
  readonly session: string;
  readonly replica: string;
  readonly instance: string;
  readonly n: number;
  readonly own: readonly OwnedSlots[];
  readonly wall?: Micros | undefined;
  readonly revision: Revision;
  /** Its session is in its register, and it does not leave: shards may be given to it. */
  readonly acceptsShards: boolean;
}

/** The register of a session. */
export function sessionRegister(session: string): string {
  return `session.${session}`;
}

/** JSON: some hundred bytes, five times a second, read by people who look for a fault. */
export function encodeSession(record: SessionRecord): Uint8Array {
  return encode(record);
}

/** The inverse. Throws on anything else. */
export function decodeSession(bytes: Uint8Array): SessionRecord {
  const raw = decode<SessionRecord>(bytes);
  const known = raw.state === 'live' || raw.state === 'closed' || raw.state === 'revoked';
  if (!known || !named(raw)) throw new TypeError('The register of a session does not contain a session record.');
  const { replica, instance, n, state, wall, lost } = raw;
  return { replica, instance, n, state, own: entries(raw.own), ...(wall === undefined ? {} : { wall: whole(wall) }), ...(lost === undefined ? {} : { lost }) };
}

/** JSON, as the record. */
export function encodeHeartbeat(heartbeat: Heartbeat): Uint8Array {
  return encode(heartbeat);
}

/** The inverse. Throws on anything else. */
export function decodeHeartbeat(bytes: Uint8Array): Heartbeat {
  const raw = decode<Heartbeat>(bytes);
  const { session, replica, instance, n, revision, acceptsShards, wall } = raw;
  const known = named(raw) && typeof session === 'string' && typeof acceptsShards === 'boolean';
  if (!known || !Number.isSafeInteger(revision?.number) || typeof revision.hash !== 'string')
    throw new TypeError('A heartbeat lacks its session, revision or acceptsShards.');
  const { number, hash } = revision;
  return {
    session,
    replica,
    instance,
    n,
    own: entries(raw.own),
    revision: { number, hash },
    acceptsShards,
    ...(wall === undefined ? {} : { wall: whole(wall) }),
  };
}

type RawEntry = readonly [shard: number, term: string, at: number, until: number];
type Raw<T> = Omit<T, 'own'> & { readonly own: readonly RawEntry[] };

function encode(record: { readonly own: readonly OwnedSlots[] }): Uint8Array {
  const own = record.own.map(({ shard, term, at, until }): RawEntry => [shard, String(term), at, until]);
  return new TextEncoder().encode(JSON.stringify({ ...record, own }));
}

function decode<T>(bytes: Uint8Array): Raw<T> {
  return JSON.parse(new TextDecoder().decode(bytes)) as Raw<T>;
}

function named(raw: Raw<{ n: number; replica: string; instance: string }>): boolean {
  return Number.isSafeInteger(raw.n) && typeof raw.replica === 'string' && typeof raw.instance === 'string' && Array.isArray(raw.own);
}

function whole(wall: number): Micros {
  if (!Number.isSafeInteger(wall)) throw new TypeError('wall must be an integer.');
  return wall;
}

function entries(raw: readonly RawEntry[]): readonly OwnedSlots[] {
  return raw.map(([shard, term, at, until]) => {
    if (![shard, at, until].every(Number.isSafeInteger)) throw new TypeError('A slot must have the integers shard, at and until.');
    return { shard, term: BigInt(term), at: at as Instant, until: until as Instant };
  });
}
