import type { Reservation } from '../../src/core/events.ts';
import type { GateSnapshot } from '../../src/core/gate/snapshot.ts';
import type { LeaseRecord } from '../../src/core/permit.ts';
import type { OverrideRecord, PauseRecord } from '../../src/core/tree/overrides.ts';

/**
 * What a ledger would hold: every bound that was acknowledged, as it came (replay must bear repeats and older bounds), and
 * the leases. Each call answers the effect of the write, to be run when the write is acknowledged.
 */
export class Disk {
  readonly reservations: Reservation[] = [];
  readonly leases = new Map<string, LeaseRecord>();
  readonly pauses: PauseRecord[] = [];
  readonly overrides: OverrideRecord[] = [];

  reserve(reservations: readonly Reservation[]): () => void {
    return () => void this.reservations.push(...reservations);
  }

  lease(record: LeaseRecord): () => void {
    return () => void this.leases.set(leaseName(record.term, record.serial), record);
  }

  end(_group: string, term: bigint, serial: number): () => void {
    return () => void this.leases.delete(leaseName(term, serial));
  }

  /** A snapshot takes the place of all that was written before. */
  replace(snapshot: Omit<GateSnapshot, 'seal'>): void {
    this.reservations.splice(0, Number.POSITIVE_INFINITY, ...snapshot.reservations);
    this.leases.clear();
    for (const record of snapshot.leases) this.lease(record)();
  }

  restored(): GateSnapshot {
    return {
      reservations: [...this.reservations],
      leases: [...this.leases.values()],
      pauses: [...this.pauses],
      overrides: [...this.overrides],
      seal: undefined,
    };
  }
}

function leaseName(term: bigint, serial: number): string {
  return `${term}/${serial}`;
}
