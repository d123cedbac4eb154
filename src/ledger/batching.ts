import type { Reservation } from '../core/events.ts';
import type { SealedState } from '../core/gate/snapshot.ts';
import { type Batch, EMPTY_BATCH } from './batch-codec.ts';
import type { LedgerRecord } from './ledger.ts';

/** A batch is cut at about this many bytes. */
export const BATCH_BYTES_MAX = 256 << 10;

/** One thing to write, and about how many bytes it takes. */
export type BatchItem = { readonly bytes: number } & (
  | { readonly kind: 'bound'; readonly reservation: Reservation }
  | { readonly kind: 'record'; readonly record: LedgerRecord }
  | { readonly kind: 'limit'; readonly limit: SealedState['limits'][number] }
);

/** Cuts what is to be written into batches. */
export const Pieces = {
  of(reservations: readonly Reservation[], records: readonly LedgerRecord[], limits: SealedState['limits'] = []): BatchItem[] {
    return [
      ...reservations.map(
        (reservation): BatchItem => ({ kind: 'bound', reservation, bytes: 25 + 3 * lengthOf(reservation.key) + 3 * lengthOf(reservation.group) }),
      ),
      ...records.map((record): BatchItem => ({ kind: 'record', record, bytes: recordBytes(record) })),
      ...limits.map((limit): BatchItem => ({ kind: 'limit', limit, bytes: 20 + 3 * lengthOf(limit.key) + 8 * limit.state.length })),
    ];
  },

  /** How many of the first pieces make one batch: at least one. */
  fitting(pieces: readonly BatchItem[], from = 0): number {
    let bytes = 0;
    for (let at = from; at < pieces.length; at++) {
      bytes += (pieces[at] as BatchItem).bytes;
      if (bytes > BATCH_BYTES_MAX) return Math.max(1, at - from);
    }
    return pieces.length - from;
  },

  /** The batch that these pieces make, records in their order. */
  batch(pieces: readonly BatchItem[]): Omit<Batch, 'term'> {
    const reservations: Reservation[] = [];
    const records: LedgerRecord[] = [];
    const limits: SealedState['limits'][number][] = [];
    for (const piece of pieces) {
      if (piece.kind === 'bound') reservations.push(piece.reservation);
      else if (piece.kind === 'record') records.push(piece.record);
      else limits.push(piece.limit);
    }
    return { ...EMPTY_BATCH, reservations, records, limits };
  },

  /** All pieces as batches; at least one, maybe empty. */
  batches(pieces: readonly BatchItem[]): Omit<Batch, 'term'>[] {
    const batches: Omit<Batch, 'term'>[] = [];
    for (let from = 0; from < pieces.length || batches.length === 0; ) {
      const count = Pieces.fitting(pieces, from);
      batches.push(Pieces.batch(pieces.slice(from, from + count)));
      from += Math.max(1, count);
    }
    return batches;
  },
} as const;

/** A string is three bytes a character at most; a name repeated in a batch is written once, so this errs on the safe side. */
function lengthOf(value: string | undefined): number {
  return value?.length ?? 0;
}

function recordBytes(record: LedgerRecord): number {
  if (record.kind === 'grant' || record.kind === 'renew') {
    const { group, key, holder, costs, claim } = record.lease;
    const named = (claim?.caller.length ?? 0) + (claim?.request === undefined ? 0 : claim.request.id.length + claim.request.digest.length);
    return 100 + 3 * (group.length + key.length + holder.length + named) + 40 * Object.keys(costs).length;
  }
  if (record.kind === 'override') return 100 + 200 * record.override.override.limits.size;
  return 120;
}
