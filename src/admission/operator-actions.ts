import type { Quota } from '../core/group.ts';
import type { WindowReport } from '../core/limits/reported-window.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, plus } from '../core/time.ts';
import type { Override } from '../core/tree/overrides.ts';
import type { OperatorReason, OverrideRequest } from './admission.ts';
import type { GroupEntry } from './group-entry.ts';
import { parsePermitId } from './permit-id.ts';
import { findWaiter } from './queries.ts';
import type { GroupLocation } from './tree-registry.ts';

/*
 * What operators do to a group. Each is in force when it answers, also with `unstored`: then it holds until the process
 * ends, and a restart does not know it.
 */

/** Admits no waiter of the group, or of one key of it, until then. */
export async function pause({ tree, entry }: GroupLocation, key: string | undefined, until: Instant, why?: OperatorReason): Promise<Refusal | undefined> {
  const { turn } = tree;
  const done = await turn.runDurably((now) => {
    if (key === undefined) turn.gate.pause(now, entry.index, until);
    else turn.gate.pause(now, entry.index, until, key);
    if (why !== undefined) entry.notes.setPause(key, { ...why, since: now });
    return turn.writer.append({ kind: 'pause', pause: { group: entry.name, key, until } });
  });
  return refusalOf(done, turn);
}

/** Ends a pause. */
export async function resume({ tree, entry }: GroupLocation, key: string | undefined): Promise<Refusal | undefined> {
  const { turn } = tree;
  const done = await turn.runDurably((now) => {
    if (key === undefined) turn.gate.resume(now, entry.index);
    else turn.gate.resume(now, entry.index, key);
    entry.notes.setPause(key, undefined);
    return turn.writer.append({ kind: 'resume', group: entry.name, key });
  });
  return refusalOf(done, turn);
}

/** Other limits for a stated time, or the file's again. */
export async function override({ tree, entry }: GroupLocation, request: OverrideRequest, why?: OperatorReason): Promise<Refusal | undefined> {
  const { turn } = tree;
  const done = await turn.runDurably(async (now) => {
    const forgive = (): void => void (request.forgive === true && turn.gate.forgive(now, entry.index));
    if (request.for === undefined) {
      forgive();
      return true;
    }
    const change: Override | undefined =
      request.for <= 0 ? undefined : { limits: sameKind(entry, request.limits), enforce: request.enforce, until: plus(now, request.for) };
    const wrong = turn.gate.override(now, entry.index, change);
    if (wrong !== undefined) return { reason: 'malformed', detail: wrong } satisfies Refusal;
    entry.notes.override = change && why && { ...why, since: now };
    forgive();
    if (change === undefined) return turn.writer.append({ kind: 'restore', group: entry.name });
    return turn.writer.append({ kind: 'override', override: { group: entry.name, override: change } });
  });
  return refusalOf(done, turn);
}

/** Takes what an authority outside says of a window that it enforces. Nothing is written: after a restart it is asked again. */
export async function report({ tree, entry }: GroupLocation, limit: string, said: WindowReport): Promise<Refusal | undefined> {
  const { turn } = tree;
  const wrong = await turn.runDurably((now) => turn.gate.report(now, entry.index, limit, said));
  return typeof wrong === 'string' ? { reason: 'malformed', detail: wrong } : wrong;
}

/** Refuses one waiter; with `key`, one of that key only. */
export async function evict({ tree, entry }: GroupLocation, id: string, key: string | undefined): Promise<Refusal | undefined> {
  const { turn } = tree;
  const done = await turn.runDurably((now) => {
    const hold = findWaiter(tree, entry, id);
    if (hold === undefined || (key !== undefined && turn.gate.keyOfWaiter(hold.ref) !== key)) return false;
    return turn.gate.evict(now, hold.ref, { reason: 'cancelled', detail: 'An operator ended this wait.' });
  });
  if (done === false) return { reason: 'unknown_request', detail: 'No caller waits by this name any more.' };
  return done === true ? undefined : done;
}

/** Ends a lease without its holder; with `key`, one of that key only. */
export async function revoke({ tree, entry }: GroupLocation, permit: string, key: string | undefined): Promise<Refusal | undefined> {
  const name = parsePermitId(permit);
  if (name?.tag === undefined || name.group !== entry.name) return { reason: 'unknown_permit' };
  const { serial, tag } = name;
  const { gate } = tree.turn;
  const done = await tree.turn.runDurably((now) => {
    const found = gate.remembered(entry.name, serial, tag);
    return found !== undefined && (key === undefined || found.keyState?.key === key) && gate.revoke(now, serial);
  });
  if (done === false) return { reason: 'unknown_permit' };
  return done === true ? undefined : done;
}

/** A window for a limit of fixed windows keeps their alignment; in a calendar their length too. */
function sameKind(entry: GroupEntry, limits: OverrideRequest['limits']): OverrideRequest['limits'] {
  const adapted = new Map<string, Quota>();
  for (const [name, quota] of limits) {
    const base = entry.settings.spec.limits.find((limit) => limit.name === name)?.quota;
    const fixed = base?.kind === 'fixed' && quota.kind === 'window';
    adapted.set(name, fixed ? { ...base, permits: quota.permits, per: base.align === 'calendar' ? base.per : quota.per } : quota);
  }
  return adapted;
}

function refusalOf(done: boolean | Refusal, turn: GroupLocation['tree']['turn']): Refusal | undefined {
  if (typeof done !== 'boolean') return done;
  return done ? undefined : turn.unstored();
}
