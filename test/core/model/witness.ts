import type { GroupSpec } from '../../../src/core/group.ts';
import { costOf } from '../../../src/core/group.ts';
import { Checker } from '../checker.ts';
import { type Handle, permitOf } from '../handle.ts';
import { START } from '../specs.ts';

/** What a witness knows of one ask. */
export interface Witnessed {
  readonly handle: Handle;
  readonly order: number;
  suspended: boolean;
  /** Released or undone. */
  returned: boolean;
  charge: ReturnType<Checker['admitted']> | undefined;
}

/** Sees every ask and every admission; throws at one that breaks a promise whatever the order of a group is. */
export class Witness {
  readonly checker: Checker;
  /** With aging and fairness together a priority level's next waiter may be a late one of another key: then only one priority level is compared. */
  readonly #oneLevel: boolean;
  readonly #seen = new Map<Handle, Witnessed>();
  #fence = 0n;

  constructor(groups: readonly GroupSpec[]) {
    this.checker = new Checker(groups);
    this.#oneLevel = groups.some((group) => group.aging !== undefined && group.fairness.by === 'key');
  }

  /** `before`: it comes again, to where it stood. */
  asked(handle: Handle, before?: Witnessed): Witnessed {
    const witnessed: Witnessed = { handle, order: before?.order ?? this.#seen.size, suspended: false, returned: false, charge: undefined };
    this.#seen.set(handle, witnessed);
    return witnessed;
  }

  admitted(handle: Handle): void {
    const permit = permitOf(handle);
    const mine = this.#seen.get(handle);
    if (!mine || handle.at === undefined) throw new Error('a permit for nobody');
    const { lease } = permit;
    mine.charge = this.checker.admitted(handle.at - START, handle.group, permit.key, permit.costs, lease ? lease.expiresAt - START : Number.POSITIVE_INFINITY);
    if (this.checker.complaints.length > 0) throw new Error(`over: ${this.checker.complaints.join('; ')}`);
    if (lease) this.#fences(mine, lease.fence, lease.fenceFloor);
    for (const other of this.#seen.values()) if (passed(mine, other, this.#oneLevel)) throw new Error(`${handle.name} passed ${other.handle.name}`);
  }

  /** Fences grow; the floor is the smallest fence of that group and key that is alive, its own included. */
  #fences(mine: Witnessed, fence: bigint, floor: bigint): void {
    if (fence <= this.#fence) throw new Error(`fence ${fence} after ${this.#fence}`);
    this.#fence = fence;
    const now = (mine.handle.at ?? START) - START;
    let least = fence;
    for (const { handle, charge } of this.#seen.values()) {
      const other = handle.permit?.lease?.fence;
      if (handle.group !== mine.handle.group || handle.ask.key !== mine.handle.ask.key || other === undefined) continue;
      if (charge && charge.end > now && other < least) least = other;
    }
    if (floor !== least) throw new Error(`fence floor ${floor}, the smallest alive is ${least}`);
  }
}

/** Of one group and key, at least as urgent, came before, costs no more: `other` should have gone first. */
function passed(mine: Witnessed, other: Witnessed, oneLevel: boolean): boolean {
  if (other.order >= mine.order || other.suspended || other.handle.fate !== 'waiting') return false;
  const [ask, before] = [mine.handle.ask, other.handle.ask];
  if (oneLevel && before.priority !== ask.priority) return false;
  if (other.handle.group !== mine.handle.group || before.key !== ask.key || before.priority > ask.priority) return false;
  return costOf(before.costs, 'requests') <= costOf(ask.costs, 'requests') && costOf(before.costs, 'tokens') <= costOf(ask.costs, 'tokens');
}
