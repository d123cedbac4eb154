import type { PendingAcquire } from './pending-acquire.ts';

/** Holds of leases whose end somebody wants to know, by the serial of their permit. */
export class TrackedLeases {
  readonly #holds = new Map<number, PendingAcquire>();

  get(serial: number): PendingAcquire | undefined {
    return this.#holds.get(serial);
  }

  set(serial: number, hold: PendingAcquire): void {
    this.#holds.set(serial, hold);
  }

  /** This permit ended: its caller is told, or whoever watches. */
  ended(serial: number): void {
    const hold = this.#holds.get(serial);
    if (hold === undefined) return;
    this.#holds.delete(serial);
    if (hold.phase === 'kept' || hold.phase === 'answered') hold.over();
    else if (hold.phase === 'granted' && hold.permit !== undefined) {
      hold.permit = undefined;
      hold.refusal = { reason: 'fenced' };
    } else if (hold.phase === 'recording') hold.refusal = { reason: 'fenced' };
  }

  /** Leases that live on are no business of this process any more. */
  closeAll(): void {
    for (const hold of [...this.#holds.values()]) if (hold.phase === 'kept') hold.over();
    this.#holds.clear();
  }
}
