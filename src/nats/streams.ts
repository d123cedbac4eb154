import { setTimeout as sleep } from 'node:timers/promises';
import { JetStreamApiError, type JetStreamManager, jetstreamManager, type StreamConfig, type StreamInfo } from '@nats-io/jetstream';
import { MILLISECOND, SECOND } from '../core/time.ts';
import type { NatsClient } from './connection.ts';
import type { StreamSubject, WantedStream } from './layout.ts';
import { type ConnectionEvent, type NatsOptions, NatsUnsupported } from './options.ts';

/** A request to the streams' leaders, which may be in an election. */
const ANSWER_MS = (3 * SECOND) / MILLISECOND;

/** Between two tries. */
const RETRY_MS = 500;

/** What to do about the server's error; `final`: trying again is of no use. */
const ADVICE: ReadonlyMap<number, { readonly advice: string; readonly final: boolean }> = new Map([
  // A new cluster refuses so, too, until its leader knows what its followers have room for.
  [
    10005,
    { advice: 'NATS has too few servers for so many copies, or too little room; add servers, or set cluster.replicas or cluster.ledgerBytes', final: false },
  ],
  [
    10023,
    { advice: 'NATS has too few servers for so many copies, or too little room; add servers, or set cluster.replicas or cluster.ledgerBytes', final: false },
  ],
  [10002, { advice: 'the account has too little room; raise its limits, or lower cluster.ledgerBytes', final: false }],
  [10047, { advice: 'NATS has too little room; give it more, or lower cluster.ledgerBytes', final: false }],
  [10039, { advice: 'enable JetStream for the account', final: false }],
  [10076, { advice: 'enable JetStream on the servers', final: false }],
  [10027, { advice: 'the account may have no more streams; raise its limit', final: true }],
  [10052, { advice: 'upgrade the servers, or see what else differs there', final: true }],
  [10065, { advice: 'another stream has these subjects; set cluster.prefix, one for each deployment', final: true }],
  [10074, { advice: 'copies need clustered servers; cluster them, or set cluster.replicas: 1', final: true }],
  [10113, { advice: 'the account demands another size; set cluster.ledgerBytes', final: true }],
  [10120, { advice: 'the account has no limits for streams of so many copies; give it some', final: true }],
  [10122, { advice: 'the account takes only smaller streams; lower cluster.ledgerBytes', final: true }],
]);

const NOT_FOUND = 10059;

/** The name is taken by a stream of another configuration: another process was faster, or it was changed. */
const NAME_IN_USE = 10058;

/** Streams of stored requests, whose room is an option of their own. */
const REQUESTS = /1_(?:DQ_\d|DB_\d|DEAD)$/;

interface OpenStreamsDeps {
  readonly line: NatsClient;
  readonly layout: { wanted(bytes: number): readonly WantedStream[] };
  readonly options: Pick<NatsOptions, 'replicas' | 'ledgerBytes'>;
  readonly onEvent: (change: ConnectionEvent) => void;
  /** When to give up, on the clock of `performance.now`. */
  readonly until: number;
}

/**
 * Makes the streams that are not there, and compares what the server reports of each with what must be: old servers pass over
 * in silence what they do not know. Answers a place in each that nothing was ever written to: it may not take writes yet. Rejects
 * with {@link NatsUnsupported}: one sentence, what is wrong and what to do.
 */
export async function openStreams(deps: OpenStreamsDeps): Promise<readonly StreamSubject[]> {
  const { line, layout, options } = deps;
  const manager = await jetstreamManager(line.connection, { checkAPI: false, timeout: ANSWER_MS });
  const clustered = line.connection.info?.cluster !== undefined;
  const replicas = options.replicas === 'auto' ? (clustered ? 3 : 1) : options.replicas;
  // All at once: a cluster elects a leader for each, which takes it half a second.
  const limit = { until: deps.until };
  const opened = layout
    .wanted(options.ledgerBytes)
    .map((wanted) => openStream({ manager, limit, onEvent: deps.onEvent, wanted: wholeConfig(wanted, replicas) }));
  const places = await Promise.all(opened).catch((cause: unknown) => {
    // The others need not try on.
    limit.until = Number.NEGATIVE_INFINITY;
    throw cause;
  });
  return places.filter((place) => place !== undefined);
}

/** One stream, and how long to try. */
export interface OpenStreamOptions {
  readonly manager: { readonly streams: Pick<JetStreamManager['streams'], 'add' | 'info'> };
  readonly limit: { until: number };
  readonly onEvent: (change: ConnectionEvent) => void;
  readonly wanted: Partial<StreamConfig> & WantedStream;
}

/** Makes the stream if it is not there. Waits {@link RETRY_MS} after each failure, and after each creation that did not show; rejects at the limit. */
export async function openStream({ manager, limit, onEvent, wanted }: OpenStreamOptions): Promise<StreamSubject | undefined> {
  for (let made = false; ; ) {
    try {
      const found = await infoOf(manager, wanted.name);
      const mismatch = found && findDifference(wanted, found.config);
      if (mismatch !== undefined) throw new NatsUnsupported(`The stream ${wanted.name} ${mismatch}.`);
      if (found !== undefined) return found.state.last_seq > 0 ? undefined : { stream: wanted.name, subject: (wanted.subjects[0] ?? '').replace('>', 'ready') };
      if (made) {
        made = false;
        throw new Error('NATS reported the stream as created, and then as missing');
      }
      await create(manager, wanted);
      made = true;
    } catch (cause) {
      if (cause instanceof NatsUnsupported) throw cause;
      const why = `the stream ${wanted.name} cannot be had: ${messageOf(cause)}`;
      const { advice: general, final } = adviceFor(cause);
      const advice = REQUESTS.test(wanted.name) ? general.replace('cluster.ledgerBytes', 'cluster.requestBytes') : general;
      if (final || performance.now() + RETRY_MS > limit.until) throw new NatsUnsupported(`${why}; ${advice}.`, { cause });
      onEvent({ kind: 'waiting', why });
      await sleep(RETRY_MS);
    }
  }
}

async function infoOf(manager: OpenStreamOptions['manager'], name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name);
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === NOT_FOUND) return undefined;
    throw cause;
  }
}

async function create(manager: OpenStreamOptions['manager'], wanted: Partial<StreamConfig> & WantedStream): Promise<void> {
  try {
    await manager.streams.add(wanted);
  } catch (cause) {
    // Looked at again: another replica may just have made it.
    if (!(cause instanceof JetStreamApiError) || cause.code !== NAME_IN_USE) throw cause;
  }
}

/** No age: a session's record is needed until another owner has taken its shards, however long everything stood still. */
function wholeConfig(wanted: WantedStream, replicas: number): Partial<StreamConfig> & WantedStream {
  return {
    ...wanted,
    description: 'Sluice: do not change by hand',
    num_replicas: replicas,
    storage: 'file',
    retention: 'limits',
    // Full is an error that the writer receives, and no silent loss.
    discard: 'new',
    max_age: 0,
    max_msgs: -1,
    allow_direct: true,
    deny_delete: true,
  };
}

/** What of a stream is not as it must be, and what to do; undefined: all is well. The bound of bytes is the operator's. */
export function findDifference(wanted: Partial<StreamConfig> & WantedStream, found: Partial<StreamConfig>): string | undefined {
  const replicas = wanted.num_replicas ?? 1;
  if ((found.num_replicas ?? 1) < replicas) {
    return `has ${found.num_replicas} of ${replicas} copies; run \`nats stream edit ${wanted.name} --replicas ${replicas}\`, or set cluster.replicas: ${found.num_replicas}`;
  }
  const other = (what: string): string => `${what}; put it right with \`nats stream edit\`, or set another cluster.prefix`;
  const same = ['storage', 'retention', 'discard', 'max_msgs_per_subject', 'max_age', 'max_msgs', 'allow_direct', 'deny_delete', 'deny_purge'] as const;
  for (const field of same) if (found[field] !== wanted[field]) return other(`has ${field} ${String(found[field])} instead of ${String(wanted[field])}`);
  if (JSON.stringify(found.subjects) !== JSON.stringify(wanted.subjects))
    return other(`has the subjects ${String(found.subjects)} instead of ${String(wanted.subjects)}`);
  const never = ['mirror', 'sources', 'no_ack', 'sealed', 'discard_new_per_subject', 'subject_transform', 'allow_msg_counter', 'allow_rollup_hdrs'] as const;
  for (const field of never) {
    const value = found[field];
    if (value !== undefined && value !== null && value !== false && !(Array.isArray(value) && value.length === 0))
      return other(`has ${field}, which it must not have`);
  }
  if (found.persist_mode === 'async') return other('acknowledges before it has written (persist_mode async)');
  return undefined;
}

function adviceFor(cause: unknown): { readonly advice: string; readonly final: boolean } {
  // The client wraps the error that JetStream is not enabled for the account.
  const deepest = cause instanceof Error && cause.cause instanceof JetStreamApiError ? cause.cause : cause;
  const known = deepest instanceof JetStreamApiError ? ADVICE.get(deepest.code) : undefined;
  return known ?? { advice: 'see that JetStream is enabled and has a leader, and that the login has the rights that docs/nats.md lists', final: false };
}

function messageOf(cause: unknown): string {
  // What the client makes of no answer.
  if (cause instanceof Error && cause.name === 'JetStreamNotEnabled' && !(cause.cause instanceof JetStreamApiError)) return 'JetStream does not answer';
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
