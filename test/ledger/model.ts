import type { Reservation } from '../../src/core/events.ts';
import type { GateSnapshot } from '../../src/core/gate/snapshot.ts';
import type { LedgerRecord, LedgerSnapshot } from '../../src/ledger/ledger.ts';

/** What a ledger should say, kept as plainly as can be: an oracle for `Replay`, which it shares nothing with. */
export class LedgerModel {
  readonly bounds: Record<string, Reservation> = {};
  readonly leases: Record<string, LedgerSnapshot['leases'][number]> = {};
  readonly pauses: Record<string, LedgerSnapshot['pauses'][number]> = {};
  readonly overrides: Record<string, LedgerSnapshot['overrides'][number]> = {};

  reserve(one: Reservation): void {
    const name = JSON.stringify([one.group, one.limit, one.key ?? null, one.bound.slot]);
    const before = this.bounds[name];
    if (before === undefined || before.bound.value < one.bound.value) this.bounds[name] = one;
  }

  record(one: LedgerRecord): void {
    if (one.kind === 'grant' || one.kind === 'renew') {
      const name = `${one.lease.term}.${one.lease.serial}`;
      const before = this.leases[name];
      const expiresAt = Math.max(one.lease.expiresAt, before?.expiresAt ?? 0) as typeof one.lease.expiresAt;
      this.leases[name] = { ...one.lease, expiresAt };
      if (before !== undefined && one.lease.aggregate) {
        const { costs, duration } = one.lease;
        const units = new Set([...Object.keys(before.costs), ...Object.keys(costs)]);
        const larger = Object.fromEntries([...units].map((unit) => [unit, Math.max(before.costs[unit] ?? 0, costs[unit] ?? 0)]));
        this.leases[name] = { ...one.lease, expiresAt, costs: larger, duration: Math.max(before.duration, duration) };
      }
    } else if (one.kind === 'end') delete this.leases[`${one.term}.${one.serial}`];
    else if (one.kind === 'pause') {
      const name = JSON.stringify([one.pause.group, one.pause.key ?? null]);
      const until = Math.max(one.pause.until, this.pauses[name]?.until ?? 0) as typeof one.pause.until;
      this.pauses[name] = { ...one.pause, until };
    } else if (one.kind === 'resume') delete this.pauses[JSON.stringify([one.group, one.key ?? null])];
    else if (one.kind === 'override') this.overrides[one.override.group] = one.override;
    else delete this.overrides[one.group];
  }

  snapshot(): LedgerSnapshot {
    return {
      reservations: Object.values(this.bounds),
      leases: Object.values(this.leases),
      pauses: Object.values(this.pauses),
      overrides: Object.values(this.overrides),
    };
  }
}

/** Comparable, whatever the order. */
export function sorted(state: LedgerSnapshot | GateSnapshot | undefined): unknown {
  const list = (items: readonly unknown[]) => items.map((item) => JSON.stringify(item, plain)).sort();
  return state && { bounds: list(state.reservations), leases: list(state.leases), pauses: list(state.pauses), overrides: list(state.overrides) };
}

function plain(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Map) return [...value].sort(([a], [b]) => (a < b ? -1 : 1));
  if (value === Number.POSITIVE_INFINITY) return 'never';
  if (value !== null && typeof value === 'object' && !Array.isArray(value))
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  return value;
}

/** May the state after a crash stand for `acknowledged`? Bounds not lower, no lease, pause or override missing or shorter. Answers what is wrong. */
export function notDominated(restored: GateSnapshot | undefined, acknowledged: LedgerSnapshot): string[] {
  const found = new LedgerModel();
  for (const one of restored?.reservations ?? []) found.reserve(one);
  for (const one of restored?.leases ?? []) found.record({ kind: 'grant', lease: one });
  const wrong: string[] = [];
  const wanted = new LedgerModel();
  for (const one of acknowledged.reservations) wanted.reserve(one);
  for (const one of acknowledged.leases) wanted.record({ kind: 'grant', lease: one });
  for (const [name, one] of Object.entries(wanted.bounds)) if ((found.bounds[name]?.bound.value ?? -1) < one.bound.value) wrong.push(`bound ${name}`);
  for (const [name, one] of Object.entries(wanted.leases)) if ((found.leases[name]?.expiresAt ?? -1) < one.expiresAt) wrong.push(`lease ${name}`);
  return wrong;
}
