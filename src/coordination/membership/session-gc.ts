import { HOUR, type Micros } from '../../core/time.ts';
import { decodeOwnership, ownershipRegister } from '../ownership/ownership-record.ts';
import type { Registers, SessionRegisters, StaleSession } from '../registers/registers.ts';
import type { Timers } from '../replica.ts';
import { sessionRegister } from './session-record.ts';

/** Age of a session's last record after which nothing of the session can be under way; a live session is written five times a second. */
export const SESSION_KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * Deletes the registers of sessions that were last written a day before the newest one, and that own no shard: no claimant
 * will need to know how far their slots went. Not by age alone: after a week without any replica, the first one to start claims
 * the shards from just those records, and without them would treat them as lost (revocation.ts). Returns how many; throws, with nothing in use deleted, when a register cannot be read.
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

/** Options of {@link scheduleHourly}. */
interface HourlyOptions {
  readonly timers: Timers;
  /** 0 to less than 1. */
  readonly random: () => number;
  readonly act: () => Promise<void>;
  /** Called with the error of a failed run; the next run is an hour later. */
  readonly failed: (cause: unknown) => void;
}

/** Runs `act` within the first hour, then every hour plus or minus a tenth, so that no two processes stay in step. Returns a function that stops it. */
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
