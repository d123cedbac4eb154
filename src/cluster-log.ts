import type { ReplicaView } from './admission/admission.ts';
import type { ReplicaEvent } from './coordination/replica.ts';
import type { LinkChange } from './nats/options.ts';
import type { RelayEvent } from './relay/relay.ts';
import type { Log } from './telemetry/log.ts';

/** What becomes of the connections to NATS. */
export function tellLink(log: Log, change: LinkChange): void {
  const { kind, ...fields } = change;
  const bad = kind === 'unfit' || kind === 'refused' ? 'error' : kind === 'disconnected' || kind === 'waiting' ? 'warn' : 'info';
  log.tell(bad, `nats_${kind}`, fields);
}

/** What an operator of replicas looks for. */
export function tellReplica(log: Log, event: ReplicaEvent): void {
  switch (event.kind) {
    case 'gained':
      return log.tell('debug', 'gained', { shard: event.ground.shard, term: String(event.ground.tenure.term) });
    case 'lost':
    case 'seal':
      return log.tell('debug', event.kind, { shard: event.shard, term: String(event.term) });
    case 'reachable':
      return log.tell(event.reachable ? 'info' : 'warn', event.reachable ? 'cluster_reached' : 'cluster_lost');
    case 'trouble':
      return log.tell('warn', 'cluster_trouble', { what: event.what, err: event.cause });
    case 'placed':
    case 'peers':
      return;
  }
}

/** What a replica that is ready has to say of the others all the same; one line each. */
export function clusterRemarks(alone: boolean, replicas: readonly ReplicaView[]): readonly string[] {
  const own = replicas.find(({ self }) => self);
  const others = replicas.filter(({ revision, hash }) => revision !== own?.revision || hash !== own.hash);
  const runs = others.map(({ name, revision, hash }) => `cluster: ${name} runs revision ${revision} (${hash}), this one ${own?.revision} (${own?.hash})`);
  return alone ? ['cluster: unreachable', ...runs] : runs;
}

/** What becomes of the way to the other replicas. */
export function tellRelay(log: Log, event: Exclude<RelayEvent, { kind: 'degraded' }>): void {
  switch (event.kind) {
    case 'alone':
      return log.tell(event.alone ? 'warn' : 'info', event.alone ? 'alone' : 'together', { replicas: event.replicas });
    case 'readdressed':
      return log.tell('warn', 'readdressed', { instance: event.instance });
    case 'trouble':
      return log.tell('warn', 'relay_trouble', { what: event.what, err: event.cause });
  }
}
