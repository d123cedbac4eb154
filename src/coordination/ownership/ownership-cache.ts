import type { Micros } from '../../core/time.ts';
import type { RegisterValue } from '../registers/registers.ts';
import { decodeOwnership, type OwnershipRecord } from './ownership-record.ts';

/** A shard's register as last seen. */
export interface CachedOwnership {
  /** undefined: never owned by anybody. */
  readonly record: OwnershipRecord | undefined;
  readonly revision: number;
  checkedAt: Micros;
}

/** What this process has seen of the shards' registers. It never goes back to an older term: reads may lag. */
export class OwnershipCache {
  readonly #entries = new Map<number, CachedOwnership>();

  get(shard: number): CachedOwnership | undefined {
    return this.#entries.get(shard);
  }

  /** What was read, or written; answers the newest that is known. A register that was seen and is missing now says nothing. */
  update(shard: number, value: RegisterValue | undefined, mono: Micros): CachedOwnership {
    const known = this.#entries.get(shard);
    if (known !== undefined) known.checkedAt = mono;
    const record = value && decodeOwnership(value.bytes);
    if (known?.record !== undefined && (record === undefined || record.term <= known.record.term)) return known;
    const cached: CachedOwnership = { record, revision: value?.revision ?? 0, checkedAt: mono };
    this.#entries.set(shard, cached);
    return cached;
  }

  /** Is any shard in this session's name? */
  isOwner(session: string): boolean {
    for (const { record } of this.#entries.values()) if (record?.owner === session) return true;
    return false;
  }

  /** The shards of the sessions that are meant. */
  shardsOf(matches: (session: string) => boolean): readonly number[] {
    return [...this.#entries].flatMap(([shard, { record }]) => (record !== undefined && matches(record.owner) ? [shard] : []));
  }

  /** The sessions that own something. */
  owners(): ReadonlySet<string> {
    const owners = new Set<string>();
    for (const { record } of this.#entries.values()) if (record !== undefined) owners.add(record.owner);
    return owners;
  }
}
