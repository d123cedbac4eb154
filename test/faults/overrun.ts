import { setTimeout as wait } from 'node:timers/promises';
import { TIMING } from '../../src/coordination/timing.ts';
import type { Beats } from './beats.ts';
import { monotonic } from './callers.ts';
import type { FleetReplica } from './fleet.ts';
import { PROBED_SHARDS } from './groups.ts';
import type { Probes } from './probes.ts';

const MS = 1_000;

/**
 * How slow the owner's lines are, each way. A heartbeat of its own comes back that late, so that for as long after the end of its slots
 * the owner has no other reason to stop.
 */
const SLOW_MS = 60;

/** On slow lines every renewal is acknowledged after this. */
const SETTLED_MS = 600;

/** When the answer to the last renewal has come back, after its heartbeat has passed. */
const ANSWERED_MS = SLOW_MS + 40;

/** Between two probes of the next owner. */
const PROBE_EVERY_MS = 10;

/** How long probes go on after the end of the slots. */
const WATCHED_MS = 500;

/** What an overrun is made of. */
export interface OverrunDeps {
  readonly owner: FleetReplica;
  /** The number of the replica that is probed for the next owner's decisions. */
  readonly other: number;
  readonly beats: Beats;
  readonly probes: Probes;
  /** How long after the end of its slots the owner is asked. */
  readonly lateMs: number;
}

/**
 * Cuts an owner off just after a renewal, and asks it for permits again just after the slots of that renewal have ended, when another
 * owner has begun to decide. Its lines stand still but stay open, and its own last heartbeat came back late: it takes its session for live,
 * and its only reason to decide nothing is that its slots are over. Leaves the lines frozen.
 */
export async function overrun({ owner, other, beats, probes, lateMs }: OverrunDeps): Promise<void> {
  const name = `r${owner.index}`;
  const owned = new Set(beats.owned(name, [...PROBED_SHARDS.values()]));
  const groups = [...PROBED_SHARDS].filter(([, shard]) => owned.has(shard)).map(([group]) => group);
  await Promise.all([probes.warm(owner.index), probes.warm(other)]);
  for (const line of owner.lines) line.delay(SLOW_MS);
  await wait(SETTLED_MS);
  const seen = await beats.next(name);
  if (seen === undefined) return;
  await wait(SLOW_MS / 2);
  for (const line of owner.lines) line.freeze('up');
  await wait(ANSWERED_MS - SLOW_MS / 2);
  for (const line of owner.lines) line.freeze('down');
  const end = seen - SLOW_MS * MS + TIMING.horizon;
  const after = (ms: number) => wait(Math.max(0, (end - monotonic()) / MS + ms));
  const probing = after(-50).then(() => probes.keepSending(groups, other, PROBE_EVERY_MS, end + WATCHED_MS * MS));
  await after(lateMs);
  probes.send(groups, owner.index);
  await probing;
}
