/** Faults of replicas and of their lines alone: NATS takes writes all the time. */
export const REPLICA_FAULTS = ['kill', 'pause', 'cut', 'cut-up', 'cut-down', 'slow', 'rolling', 'wall', 'reload', 'reload-kill', 'overrun'] as const;

/** Faults that show an owner that decides past the end of its slots. */
export const OVERRUN_FAULTS = ['pause', 'cut', 'cut-up', 'cut-down', 'overrun'] as const;

/** Faults of NATS. */
export const NATS_FAULTS = ['nats-kill', 'nats-leader', 'nats-pause', 'nats-rolling'] as const;

/** What a nemesis can do. */
export type FaultKind = (typeof REPLICA_FAULTS)[number] | (typeof NATS_FAULTS)[number];

/** Whether it is one of NATS itself. */
export function isOfNats(kind: FaultKind): boolean {
  return kind.startsWith('nats');
}

/** The kind of this name. Throws where there is none. */
export function faultKind(name: string): FaultKind {
  const found = [...REPLICA_FAULTS, ...NATS_FAULTS].find((kind) => kind === name);
  if (found === undefined) throw new Error(`There is no fault '${name}': ${[...REPLICA_FAULTS, ...NATS_FAULTS].join(', ')}.`);
  return found;
}

/** How long all is left alone after it, in milliseconds, so that what it cost can be seen. */
export function quietAfter(kind: FaultKind): number {
  return isOfNats(kind) ? 4_000 : 2_500;
}
