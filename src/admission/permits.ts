import type { Costs } from '../core/group.ts';
import type { Disposition, LeaseRecord } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { after, type Micros } from '../core/time.ts';
import type { ReleaseOutcome, RenewOutcome } from './admission.ts';
import type { Entry } from './entry.ts';
import { type PermitName, permitId } from './permit-id.ts';
import type { Turn } from './turn.ts';

/** How a holder ends its permit. */
export interface ReleaseWish {
  readonly how: Disposition;
  readonly costs: Costs | undefined;
  /** With `dropped`: the backend wants quiet for so long. */
  readonly retryAfter: Micros | undefined;
  /** For pushback by key, where nothing is remembered of the permit. */
  readonly key: string | undefined;
}

/** Longer life for a lease; told once it is on disk, where what is there no longer reaches. */
export async function renewPermit(turn: Turn, entry: Entry, name: PermitName, lease: Micros | undefined): Promise<RenewOutcome> {
  const { tag, serial } = name;
  if (tag === undefined) return refused({ reason: 'unknown_permit', detail: 'This permit has no lease: there is nothing to renew.' });
  const hold = turn.tracked.get(serial);
  const duration = lease === undefined ? undefined : Math.min(lease, entry.settings.lease.max);
  const written: { record?: LeaseRecord | undefined } = {};
  const answer = await turn.rule(
    (now) => {
      turn.renewal = undefined;
      return turn.gate.renew(now, serial, tag, duration);
    },
    () => {
      written.record = turn.renewal;
    },
  );
  if ('reason' in answer) return refused(answer);
  if (written.record !== undefined && !(await turn.writer.append({ kind: 'renew', lease: written.record }))) return refused(turn.unstored());
  if (hold !== undefined) hold.lease = answer;
  const { fence, fenceFloor, expiresAt } = answer;
  return { kind: 'renewed', permit: { id: permitId(entry.name, serial, tag), group: entry.name, fence, fenceFloor, expiresAt, duration: answer.duration } };
}

/** Ends a permit, settles its costs, and learns of a backend's pushback. */
export async function releasePermit(turn: Turn, entry: Entry, name: PermitName, wish: ReleaseWish): Promise<ReleaseOutcome> {
  const { tag, serial } = name;
  let ended: boolean | Refusal = false;
  let { key } = wish;
  if (tag !== undefined) {
    ended = await turn.rule(
      (now) => {
        turn.ended = undefined;
        return turn.gate.release(now, serial, tag, wish.how, wish.costs);
      },
      () => {
        key ??= turn.ended?.key;
      },
    );
    if (typeof ended !== 'boolean') return refused(ended);
  }
  if (wish.how === 'dropped' && wish.retryAfter !== undefined && (tag === undefined || ended)) pushback(turn, entry, key ?? '', wish.retryAfter);
  return { kind: 'released', ended };
}

/** Nobody of the key, or of the group, goes for so long, as the group's settings say. A restart may forget it. */
function pushback(turn: Turn, entry: Entry, key: string, retryAfter: Micros): void {
  const { scope, max } = entry.settings.pushback;
  turn.decide((now) => {
    const until = after(now, Math.min(retryAfter, max));
    const named = scope === 'key' ? key : undefined;
    if (named === undefined) turn.gate.pause(now, entry.index, until);
    else turn.gate.pause(now, entry.index, until, named);
    turn.writer.note({ kind: 'pause', pause: { group: entry.name, key: named, until } });
  });
}

function refused(refusal: Refusal): { readonly kind: 'refused'; readonly refusal: Refusal } {
  return { kind: 'refused', refusal };
}
