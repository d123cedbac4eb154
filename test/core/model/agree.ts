import type { GroupSpec } from '../../../src/core/group.ts';
import type { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { START } from '../specs.ts';
import type { Caller } from './model.ts';
import type { Witnessed } from './witness.ts';

/** An ask on both sides. */
export interface Pair {
  readonly handle: Handle;
  readonly caller: Caller | undefined;
  readonly witnessed: Witnessed;
}

/** Both sides tell the same story, and the gate's own numbers are those of a recount. */
export function agree(driver: Driver, groups: readonly GroupSpec[], pairs: readonly Pair[]): void {
  const { gate, now } = driver;
  const wrong = gate.audit(now);
  if (wrong.length > 0) throw new Error(`audit: ${wrong.join('; ')}`);
  for (const { handle, caller } of pairs) {
    if (handle.told > 1) throw new Error(`${handle.name} ended ${handle.told} times`);
    if (!caller) continue;
    const at = handle.at === undefined ? 0 : handle.at - START;
    if (handle.fate !== caller.fate || at !== caller.at)
      throw new Error(
        `${handle.name}: gate ${handle.fate} at ${at} (${handle.refusal?.reason}), model ${caller.fate} at ${caller.at} (${caller.reasons.join(', ')})`,
      );
    const reason = handle.refusal?.reason;
    if (reason !== undefined && !caller.reasons.includes(reason)) throw new Error(`${handle.name}: refused as ${reason}, model ${caller.reasons.join(', ')}`);
  }
  for (const spec of groups) counts(driver, spec.name, pairs);
}

/** Somebody was admitted: no more is held than may be held now, by any limit that holds it. */
export function withinNow(driver: Driver, handle: Handle, groups: readonly GroupSpec[]): void {
  for (const { group, name, kind, capacity, used, debt } of driver.gate.limits(driver.now, driver.group(handle.group), handle.ask.key)) {
    if (kind !== 'concurrency' || groups.find((spec) => spec.name === group)?.enforce === false) continue;
    if (debt > 0) throw new Error(`${handle.name} was admitted above ${group}/${name}: ${used + debt} of ${capacity} are held`);
  }
}

function counts(driver: Driver, name: string, pairs: readonly Pair[]): void {
  const status = driver.gate.status(driver.now, driver.group(name));
  const mine = pairs.filter(({ handle }) => handle.group === name);
  const waiting = mine.filter(({ handle }) => handle.fate === 'waiting').length;
  if (status.waiting !== waiting) throw new Error(`${name}: status says ${status.waiting} wait, there are ${waiting}`);
  const bytes = mine.reduce((sum, { handle }) => sum + (handle.fate === 'waiting' ? handle.ask.bytes : 0), 0);
  if (status.waitingBytes !== bytes) throw new Error(`${name}: status says ${status.waitingBytes} bytes wait, there are ${bytes}`);
  const leases = mine.filter(({ handle, witnessed }) => handle.permit?.lease && (witnessed.charge?.end ?? 0) > driver.now - START).length;
  if (status.leases !== leases) throw new Error(`${name}: status says ${status.leases} leases, there are ${leases}`);
}

/** All leave: nothing may stay behind. */
export function leaveNothing(driver: Driver, groups: readonly GroupSpec[], pairs: readonly Pair[]): void {
  for (const { handle } of pairs) if (handle.fate === 'waiting') driver.cancel(handle);
  for (const { handle, witnessed } of pairs) {
    if (witnessed.charge) witnessed.charge.end = Math.min(witnessed.charge.end, driver.now - START);
    if (handle.permit?.lease) driver.release(handle);
  }
  driver.advance(3_600_000_000);
  const { gate, now } = driver;
  for (const spec of groups) {
    const { waiting, waitingBytes, leases, oldestSince } = gate.status(now, driver.group(spec.name));
    if (waiting + waitingBytes + leases > 0 || oldestSince !== undefined)
      throw new Error(`left behind in ${spec.name}: ${JSON.stringify({ waiting, waitingBytes, leases, oldestSince })}`);
  }
  const wrong = gate.audit(now);
  if (wrong.length > 0) throw new Error(`audit at the end: ${wrong.join('; ')}`);
  if (pairs.some(({ handle }) => handle.told !== 1)) throw new Error('somebody never ended');
}
