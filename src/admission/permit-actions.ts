import type { Remembered } from '../core/gate/grants.ts';
import type { LeaseRecord } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, type Micros, plus } from '../core/time.ts';
import type { ReleaseOutcome, ReleaseRequest, RenewOutcome } from './admission.ts';
import type { GateDriver } from './gate-driver.ts';
import type { GroupEntry } from './group-entry.ts';
import { type PermitName, permitId } from './permit-id.ts';

const UNKNOWN: Refusal = { reason: 'unknown_permit' };

/** Renews a lease; replies once it is on disk, where what is there no longer reaches. */
export async function renewPermit(turn: GateDriver, entry: GroupEntry, name: PermitName, caller: string, lease: Micros | undefined): Promise<RenewOutcome> {
  const { tag, serial } = name;
  if (tag === undefined) return refused(UNKNOWN);
  const hold = turn.tracked.get(serial);
  const duration = lease === undefined ? undefined : Math.min(lease, entry.settings.lease.max);
  const written: { record?: LeaseRecord | undefined } = {};
  const answer = await turn.runDurably(
    (now) => {
      turn.renewal = undefined;
      if (!isHolder(turn.gate.remembered(entry.name, serial, tag), caller)) return UNKNOWN;
      return turn.gate.renew(now, serial, tag, duration);
    },
    () => {
      written.record = turn.renewal;
      turn.renewal = undefined;
    },
  );
  if ('reason' in answer) return refused(answer);
  if (written.record !== undefined && !(await turn.writer.append({ kind: 'renew', lease: written.record }))) return refused(turn.unstored());
  if (hold !== undefined) hold.lease = answer;
  const { fence, fenceFloor, expiresAt } = answer;
  return { kind: 'renewed', permit: { id: permitId(entry.name, serial, tag), group: entry.name, fence, fenceFloor, expiresAt, duration: answer.duration } };
}

/** Ends a permit, settles its costs, and learns of a backend's pushback: the pause is in force before anyone takes the place that is free now. */
export async function releasePermit(turn: GateDriver, entry: GroupEntry, name: PermitName, request: ReleaseRequest): Promise<ReleaseOutcome> {
  const { tag, serial } = name;
  const unknown = request.costs && entry.unsettleable(request.costs);
  const pushed = request.disposition === 'unused' ? undefined : request.retryAfter;
  if (tag === undefined) {
    if (unknown !== undefined) return refused(unknown);
    if (pushed !== undefined) pushback(turn, entry, request.key ?? name.key ?? '', pushed);
    return { kind: 'released', ended: false };
  }
  const { scope } = entry.settings.pushback;
  let until: Instant | undefined;
  let key: string | undefined;
  const ended = await turn.runDurably(
    (now) => {
      turn.ended = undefined;
      if (!isHolder(turn.gate.remembered(entry.name, serial, tag), request.caller)) return UNKNOWN;
      // Said to its holder alone: it names the group and its units.
      if (unknown !== undefined) return unknown;
      until = pushed === undefined ? undefined : untilOf(entry, now, pushed);
      const quiet = until === undefined ? undefined : { group: entry.index, scope, key: request.key, until };
      return turn.gate.release(now, serial, tag, request.disposition, request.costs, quiet);
    },
    () => {
      key = request.key ?? turn.ended?.key;
      turn.ended = undefined;
    },
  );
  if (typeof ended !== 'boolean') return refused(ended);
  if (ended && until !== undefined) notePause(turn, entry, key ?? '', until);
  return { kind: 'released', ended };
}

/** What an earlier version wrote down does not say whose it is: its holder is who knows its name. What stands for forwarded requests is no caller's. */
function isHolder(found: Remembered | undefined, caller: string): boolean {
  return found !== undefined && !found.isAggregate && (found.claim === undefined || found.claim.caller === caller);
}

/** Pauses the key, or the group, for the time that the group's settings give. */
function pushback(turn: GateDriver, entry: GroupEntry, key: string, retryAfter: Micros): void {
  const { scope } = entry.settings.pushback;
  turn.run((now) => {
    const until = untilOf(entry, now, retryAfter);
    if (scope === 'key') turn.gate.pause(now, entry.index, until, key);
    else turn.gate.pause(now, entry.index, until);
    notePause(turn, entry, key, until);
  });
}

function untilOf(entry: GroupEntry, now: Instant, retryAfter: Micros): Instant {
  return plus(now, Math.min(retryAfter, entry.settings.pushback.max));
}

/** At leisure: a restart may forget it. */
function notePause(turn: GateDriver, entry: GroupEntry, key: string, until: Instant): void {
  const named = entry.settings.pushback.scope === 'key' ? key : undefined;
  turn.writer.appendUnawaited({ kind: 'pause', pause: { group: entry.name, key: named, until } });
}

function refused(refusal: Refusal): { readonly kind: 'refused'; readonly refusal: Refusal } {
  return { kind: 'refused', refusal };
}
