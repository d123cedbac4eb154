import { LeaseAccount } from '../leases/lease-account.ts';
import { type Instant, NEVER } from '../time.ts';
import type { GroupNode } from './group-node.ts';
import type { LimitInstance } from './limit-rule.ts';
import type { KeyQueue } from './queues.ts';

/** One key of one group: its queues, its own limits, its leases. Dropped when nothing of it matters any more. */
export class KeyState {
  readonly node: GroupNode;
  readonly key: string;
  /** Small number for the timer wheel. */
  readonly id: number;
  /** A queue per priority level this key waits in. */
  readonly queues: KeyQueue[] = [];
  /** Cells of the node's own limits with scope key. */
  instances: LimitInstance[] = [];
  /** This key here and at every ancestor that counts by key; what must agree before this key may go. */
  path: readonly KeyState[] = [];
  /** Everything an admission of this key charges: limit instances of the chain, then the groups' limit instances up to the root. */
  limits: readonly LimitInstance[] = [];
  /** Key states below that refer to this one. */
  children = 0;
  /** Waiters, stored requests included. */
  waiting = 0;
  /** Stored requests among them. */
  stored = 0;
  /** Its leases, and permits that can be settled. */
  readonly account = new LeaseAccount();
  /** Parked: no queue of it is offered until then, or until `parkedBy` changes. */
  parked = false;
  parkedBy: LimitInstance | undefined;
  /** Keys below that are parked because of a limit instance of this state. */
  readonly blockedKeys = new Set<KeyState>();

  constructor(node: GroupNode, key: string, id: number) {
    this.node = node;
    this.key = key;
    this.id = id;
  }

  /** Nothing waits, holds, refers to it, or still counts. */
  idle(now: Instant): boolean {
    if (this.waiting > 0 || this.children > 0 || this.blockedKeys.size > 0 || !this.account.idle(now)) return false;
    for (const queue of this.queues) if (!queue.isEmpty) return false;
    for (const instance of this.instances) {
      const at = instance.limit.idleAt(now);
      if (instance.pending || at === NEVER || at > now) return false;
    }
    return true;
  }
}
