import { randomUUID } from 'node:crypto';
import type { AdmissionService, GroupSettings } from '../admission/admission.ts';
import { type Clock, createTreeClock } from '../admission/clock.ts';
import type { LocalAdmission } from '../admission/local-admission.ts';
import type { Revision } from '../coordination/membership/session-record.ts';
import type { Replica, ReplicaEvent, Timers } from '../coordination/replica.ts';
import { createReplica } from '../coordination/replica-driver.ts';
import { TIMING } from '../coordination/timing.ts';
import type { Micros } from '../core/time.ts';
import { createLedger } from '../ledger/log-ledger.ts';
import type { Store } from '../ledger/stores/store.ts';
import { SHARDS, shardOf } from '../ledger/subjects.ts';
import type { SystemClock } from '../platform/system-clock.ts';
import { uptime } from '../platform/timers.ts';
import { Relay, type RelayBounds } from '../relay/relay.ts';
import type { Log } from '../telemetry/log.ts';
import type { OnShard } from './admission-stack.ts';
import { logRelayEvent, logReplicaEvent, PeerLog } from './cluster-log.ts';
import type { NatsLink } from './nats.ts';

/** What joins a process to the other replicas. */
export interface JoinParts {
  /** This replica's name. */
  readonly name: string;
  readonly nats: Pick<NatsLink, 'registers' | 'messages' | 'serverTime'>;
  /** Looked at for the machine's clocks. */
  readonly clock: SystemClock;
  /** The time of this process, as admission is told it. */
  readonly timely: Clock;
  /** What all terms write to; none of them closes it. */
  readonly store: Store;
  readonly localAdmission: LocalAdmission;
  readonly settings: readonly GroupSettings[];
  readonly bounds: RelayBounds;
  readonly shareAdmission: (settings: readonly GroupSettings[]) => Promise<AdmissionService>;
  /** The configuration that it runs by now. */
  readonly revision: () => Revision;
  readonly timers: Timers;
  /** A question to the registers is asked again after this without an answer. */
  readonly answerWithin: Micros;
  readonly log: Log;
  /** Called before a shard's trees are closed, and after they began to be opened. */
  readonly onShard: OnShard;
  /** An admission outside the promises is to be counted. */
  readonly degraded: (group: string, how: string) => void;
}

/** A replica and its relay, joined to the door of this process; the replica is yet to be started. */
export function wireReplica(parts: JoinParts): { readonly replica: Replica; readonly relay: Relay } {
  const { nats, clock, timely, store, localAdmission, timers, log } = parts;
  const peerLog = new PeerLog(log);
  const replica: Replica = createReplica({
    replica: parts.name,
    instance: randomUUID(),
    shards: SHARDS,
    timing: TIMING,
    registers: nats.registers,
    messages: { beat: (bytes) => nats.messages.publish('hb', bytes), onBeat: (listener) => nats.messages.subscribe('hb', listener) },
    notify: (instance, shard, term) => relay.notify(instance, shard, term),
    clocks: { reading: () => clock.record(), uptime },
    timers,
    answerWithin: parts.answerWithin,
    defer: (run) => void setImmediate(run),
    newName: randomUUID,
    revision: parts.revision(),
    serverTime: () => nats.serverTime(),
    onEvent: (event) => {
      follow(event, { localAdmission, relay, replica, store, clock: timely, onShard: parts.onShard });
      logReplicaEvent(log, event);
      if (event.kind === 'peers') peerLog.changed(replica.peers(), event.gone ?? []);
    },
  });
  const relay: Relay = new Relay({
    admission: localAdmission,
    replica,
    self: () => {
      const { number, hash } = parts.revision();
      return { replica: parts.name, revision: number, hash, shards: replica.views().filter(({ phase }) => phase !== 'elsewhere').length };
    },
    messages: nats.messages,
    clock: timely,
    timers,
    defer: (run) => void setImmediate(run),
    newName: randomUUID,
    settings: parts.settings,
    shardOf,
    bounds: parts.bounds,
    limits: true,
    shareAdmission: parts.shareAdmission,
    onEvent: (event) => (event.kind === 'degraded' ? parts.degraded(event.group, event.how) : logRelayEvent(log, event)),
  });
  return { replica, relay };
}

interface Following {
  readonly localAdmission: LocalAdmission;
  readonly relay: Relay;
  readonly replica: Replica;
  readonly store: Store;
  readonly clock: Clock;
  readonly onShard: OnShard;
}

/** What the replica says is done in its order: trees come and go, then whoever waits goes with them. */
function follow(event: ReplicaEvent, { localAdmission, relay, replica, store, clock, onShard }: Following): void {
  switch (event.kind) {
    case 'gained': {
      const { shard, leaderLease, clock: shardTime } = event.ground;
      const treeClock = createTreeClock(clock, shardTime);
      const ledger = createLedger({ store, clock: treeClock, term: leaderLease.term, from: leaderLease.from });
      void localAdmission.openShard(shard, { leaderLease, clock: treeClock, ledger }, relay.barrier(shard, leaderLease.term));
      void onShard({ kind: 'gained', shard, term: leaderLease.term });
      break;
    }
    case 'lost':
      void onShard({ kind: 'lost', shard: event.shard, term: event.term });
      localAdmission.loseShard(event.shard, event.term);
      break;
    case 'seal': {
      const { shard, term } = event;
      const handed = onShard({ kind: 'handed', shard, term });
      void Promise.allSettled([localAdmission.seal(shard, () => replica.halt(shard, term)), handed]).then(() => replica.sealed(shard, term));
      break;
    }
    case 'placed':
    case 'peers':
    case 'reachable':
    case 'trouble':
      break;
  }
  relay.onReplica(event);
}
