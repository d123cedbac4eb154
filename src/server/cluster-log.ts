import type { ReplicaView } from '../admission/admission.ts';
import type { GonePeer, ReplicaEvent } from '../coordination/replica.ts';
import type { ConnectionEvent } from '../nats/options.ts';
import type { RelayEvent } from '../relay/relay.ts';
import type { Log } from '../telemetry/log.ts';

/** A sentence for each change of a connection. */
const LINK: Readonly<Record<ConnectionEvent['kind'], (fields: Readonly<Record<string, unknown>>) => string>> = {
  waiting: ({ why }) => `NATS is not ready yet, and is tried again: ${why}`,
  connected: ({ line, server, again }) => `The ${line} connection to NATS is up${again === true ? ' again' : ''}: ${server}.`,
  disconnected: ({ line, server }) => `The ${line} connection to NATS broke (${server}); it is dialled again.`,
  leaving: ({ line, server }) => `NATS server ${server} is about to stop; the ${line} connection moves to another.`,
  unfit: ({ why }) => `NATS must not be built on as it is: ${why}`,
  refused: ({ why }) => `NATS refused something: ${why}`,
  closed: ({ line }) => `The ${line} connection to NATS is closed.`,
};

/** What becomes of the connections to NATS. */
export function logConnectionEvent(log: Log, change: ConnectionEvent): void {
  const { kind, ...fields } = change;
  const bad = kind === 'unfit' || kind === 'refused' ? 'error' : kind === 'disconnected' || kind === 'waiting' ? 'warn' : 'info';
  log.tell(bad, `nats_${kind}`, LINK[kind](fields as Record<string, unknown>), fields);
}

/** What an operator of replicas looks for. */
export function logReplicaEvent(log: Log, event: ReplicaEvent): void {
  switch (event.kind) {
    case 'gained': {
      const { shard, leaderLease } = event.ground;
      return log.tell('debug', 'shard_acquired', `Shard ${shard} is decided here, in term ${leaderLease.term}.`, { shard, term: String(leaderLease.term) });
    }
    case 'lost':
      return log.tell('debug', 'shard_lost', `Shard ${event.shard} is not decided here any more.`, { shard: event.shard, term: String(event.term) });
    case 'seal':
      return log.tell('debug', 'shard_sealing', `Shard ${event.shard} is being handed over.`, { shard: event.shard, term: String(event.term) });
    case 'reachable':
      if (event.reachable) return log.tell('info', 'cluster_reached', 'A session of this replica is live in NATS: it may decide.');
      return log.tell('warn', 'cluster_lost', 'No session of this replica is live in NATS: it decides nothing of what it had.');
    case 'trouble':
      return log.tell('warn', 'cluster_trouble', sentence(event.what), { what: event.what, err: event.cause });
    case 'placed':
    case 'peers':
      return;
  }
}

/** What a replica that is ready has to say of the others all the same; one line each. */
export function clusterWarnings(alone: boolean, replicas: readonly ReplicaView[]): readonly string[] {
  const own = replicas.find(({ self }) => self);
  const others = replicas.filter(({ revision, hash }) => revision !== own?.revision || hash !== own.hash);
  const runs = others.map(({ name, revision, hash }) => `cluster: ${name} runs revision ${revision} (${hash}), this one ${own?.revision} (${own?.hash})`);
  return alone ? ['cluster: unreachable', ...runs] : runs;
}

/** What becomes of the way to the other replicas. */
export function logRelayEvent(log: Log, event: Exclude<RelayEvent, { kind: 'degraded' }>): void {
  switch (event.kind) {
    case 'alone': {
      const { isIsolated, replicas } = event;
      if (!isIsolated) return log.tell('info', 'cluster_rejoined', 'The other replicas are reached again.', { replicas });
      return log.tell('warn', 'cluster_isolated', `No other replica is reached; groups go on as their \`unreachable\` says, as one of ${replicas}.`, {
        replicas,
      });
    }
    case 'readdressed':
      return log.tell('warn', 'instance_replaced', 'The others had taken this process for dead; its callers are asked for again.', {
        instance: event.instance,
      });
    case 'trouble':
      return log.tell('warn', 'relay_trouble', `In the traffic between replicas: ${event.what} failed.`, { what: event.what, err: event.cause });
  }
}

function sentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`;
}

/** Logs who joins and who is gone. A peer that leaves in order has given its shards away; one that dies, or is cut off, has not. */
export class PeerLog {
  readonly #log: Log;
  #known: ReadonlySet<string> = new Set();

  constructor(log: Log) {
    this.#log = log;
  }

  /** To be called at each change of the peers, with those that are there and those that are gone since the last call. */
  changed(peers: readonly { readonly replica: string; readonly instance: string }[], gone: readonly GonePeer[]): void {
    for (const { replica, instance, shards, leaving } of gone) {
      const fields = { replica, instance, shards };
      if (leaving && shards === 0) this.#log.tell('info', 'peer_left', `Replica ${replica} has left; it decided nothing any more.`, fields);
      else this.#log.tell('warn', 'peer_lost', `Replica ${replica} is silent: dead or cut off, with ${shards} shards to be taken over.`, fields);
    }
    for (const { replica, instance } of peers) {
      if (!this.#known.has(instance)) this.#log.tell('info', 'peer_joined', `Replica ${replica} is there.`, { replica, instance });
    }
    this.#known = new Set(peers.map(({ instance }) => instance));
  }
}
