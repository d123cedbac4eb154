import { HOUR, type Micros } from '../../core/time.ts';
import { decodeOwnership, ownershipRegister } from '../ownership/ownership-record.ts';
import type { Registers, SessionRegisters, StaleSession } from '../registers/registers.ts';
import type { Timers } from '../replica.ts';
import { sessionRegister } from './session-record.ts';

/** Whatever a session may have under way is over this long after it was last written; it is written five times a second while it lives. */
export const SESSION_KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * Forgets the registers of sessions that were last written a day before the newest one, and that no shard names: nobody
 * needs to know any more how far their slots went. Not by age alone: after everything stood still for a week, the first
 * replica to start takes the shards over from just those records, and without them would have to take them for lost
 * (revocation.ts). Answers how many; throws, having forgotten nothing wrong, when a register cannot be read.
 *
 * A session that is only frozen finds its register gone, as if it were revoked, and opens another one.
 */
export async function collectStaleSessions(deps: { readonly registers: Registers & SessionRegisters; readonly shards: number }): Promise<number> {
  const { registers, shards } = deps;
  const found: StaleSession[] = [];
  for await (const session of registers.sessions()) found.push(session);
  const newest = found.reduce((latest, { writtenAt }) => Math.max(latest, writtenAt), 0);
  const old = found.filter(({ writtenAt }) => writtenAt < newest - SESSION_KEPT_MS);
  if (old.length === 0) return 0;
  // Read after the sessions were: one of those claims nothing any more.
  const named = new Set<string>();
  for (let shard = 0; shard < shards; shard++) {
    const value = await registers.read(ownershipRegister(shard));
    if (value !== undefined) named.add(sessionRegister(decodeOwnership(value.bytes).owner));
  }
  const garbage = old.filter(({ register }) => !named.has(register));
  for (const { register, revision } of garbage) await registers.forget(register, revision);
  return garbage.length;
}

/** What is done about once an hour. */
interface HourlyOptions {
  readonly timers: Timers;
  /** 0 to less than 1. */
  readonly random: () => number;
  readonly act: () => Promise<void>;
  /** Receives why it could not be done; it is tried again an hour later. */
  readonly failed: (cause: unknown) => void;
}

/** Does it within the first hour, then each hour more or less by a tenth, so that no two processes stay in step. Answers how to stop. */
export function scheduleHourly({ timers, random, act, failed }: HourlyOptions): () => void {
  let cancel = (): void => {};
  let stopped = false;
  const wait = (delay: Micros): void => {
    cancel = timers.after(delay, () => {
      act()
        .catch(failed)
        .finally(() => {
          if (!stopped) wait(HOUR * (0.9 + random() / 5));
        });
    });
  };
  wait(HOUR * random());
  return () => {
    stopped = true;
    cancel();
  };
}
