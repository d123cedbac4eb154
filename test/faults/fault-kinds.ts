/** Faults of replicas and of their lines alone: NATS takes writes all the time. */
export const REPLICA_FAULTS = ['kill', 'pause', 'cut', 'cut-up', 'cut-down', 'slow', 'rolling'] as const;

/** Faults of NATS. */
export const NATS_FAULTS = ['nats-kill', 'nats-leader', 'nats-pause'] as const;

/** What a nemesis can do. */
export type FaultKind = (typeof REPLICA_FAULTS)[number] | (typeof NATS_FAULTS)[number];

/** How long all is left alone after it, in milliseconds: NATS may need 10 s for its own elections. */
export function callersPause(kind: FaultKind): number {
  return kind.startsWith('nats') ? 6_000 : 2_500;
}
