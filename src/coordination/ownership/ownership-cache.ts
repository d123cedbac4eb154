import type { Micros } from '../../core/time.ts';
import type { RegisterValue } from '../registers/registers.ts';
import { decodeOwnership, type OwnershipRecord } from './ownership-record.ts';

/** A shard's register as last read. */
export interface CachedOwnership {
  /** undefined if the shard never had an owner. */
  readonly record: OwnershipRecord | undefined;
  readonly revision: number;
  checkedAt: Micros;
}

/** The shards' registers as last read or written. A cached term never goes back: reads may lag. */
export class OwnershipCache {
  readonly #entries = new Map<number, CachedOwnership>();

  get(shard: number): CachedOwnership | undefined {
    return this.#entries.get(shard);
  }

  /** Records what was read or written. Returns the newest that is known. A register that was read before and is missing now is ignored. */
  update(shard: number, value: RegisterValue | undefined, mono: Micros): CachedOwnership {
    const known = this.#entries.get(shard);
    if (known !== undefined) known.checkedAt = mono;
    const record = value && decodeOwnership(value.bytes);
    if (known?.record !== undefined && (record === undefined || record.term <= known.record.term)) return known;
    const cached: CachedOwnership = { record, revision: value?.revision ?? 0, checkedAt: mono };
    this.#entries.set(shard, cached);
    return cached;
  }

  /** Returns true if this session owns a shard. */
  isOwner(session: string): boolean {
    for (const { record } of this.#entries.values()) if (record?.owner === session) return true;
    return false;
  }

  /** Returns the shards of the sessions that `matches` returns true for. */
  shardsOf(matches: (session: string) => boolean): readonly number[] {
    return [...this.#entries].flatMap(([shard, { record }]) => (record !== undefined && matches(record.owner) ? [shard] : []));
  }

  /** Returns the sessions that own a shard. */
  owners(): ReadonlySet<string> {
    const owners = new Set<string>();
    for (const { record } of this.#entries.values()) if (record !== undefined) owners.add(record.owner);
    return owners;
  }
}
