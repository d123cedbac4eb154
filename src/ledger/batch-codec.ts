import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Reservation } from '../core/events.ts';
import type { SealedState } from '../core/gate/snapshot.ts';
import type { FixedQuota, Quota } from '../core/group.ts';
import type { Claim, LeaseRecord } from '../core/permit.ts';
import type { Instant } from '../core/time.ts';
import type { OverrideRecord } from '../core/tree/overrides.ts';
import {
  BatchSchema,
  type Lease,
  LeaseSchema,
  type NamedQuota,
  NamedQuotaSchema,
  type Override,
  OverrideSchema,
  RecordSchema,
  type Batch as Written,
  type Record as WrittenRecord,
} from '../gen/sluice/internal/v1/ledger_pb.ts';
import type { LedgerRecord } from './ledger.ts';

/** What is written to a chain at once; `proto/sluice/internal/v1/ledger.proto` defines each part. */
export interface Batch {
  readonly term: bigint;
  readonly opening: boolean;
  /** The instant from which the term decides. Only in an opening; one of an earlier version has none. */
  readonly from?: Instant | undefined;
  readonly part: SnapshotPart | undefined;
  readonly reservations: readonly Reservation[];
  readonly records: readonly LedgerRecord[];
  readonly limits: SealedState['limits'];
}

/** Which part of a snapshot a batch is. */
export interface SnapshotPart {
  readonly index: number;
  readonly of: number;
  /** The snapshot is a seal, made at this instant. */
  readonly sealedAt: Instant | undefined;
}

/** A batch with nothing in it, to be spread. */
export const EMPTY_BATCH = { opening: false, part: undefined, reservations: [], records: [], limits: [] } as const;

/** A batch as bytes. */
export function encodeBatch(batch: Batch): Uint8Array {
  const names = new StringTable();
  const columns = boundColumns(batch.reservations, names);
  const written = create(BatchSchema, {
    term: batch.term,
    opening: batch.opening,
    records: batch.records.map((record) => writtenRecord(record, names)),
    limits: batch.limits.map(({ group, limit, key, state }) => ({ group: names.ref(group), limit: names.ref(limit), key: names.ref(key), state: [...state] })),
    strings: names.strings,
    ...(batch.part && { part: partOf(batch.part) }),
    ...(columns && { bounds: columns }),
    ...(batch.from !== undefined && { from: batch.from }),
  });
  return toBinary(BatchSchema, written);
}

/** The inverse. Throws {@link UnreadableBatch}. */
export function decodeBatch(bytes: Uint8Array): Batch {
  const batch = parsed(bytes);
  const names = new StringReader(batch.strings);
  return {
    term: batch.term,
    opening: batch.opening,
    from: batch.from as Instant | undefined,
    part: batch.part && { index: batch.part.index, of: batch.part.of, sealedAt: batch.part.sealedAt as Instant | undefined },
    reservations: reservationsOf(batch, names),
    records: batch.records.map((record) => readRecord(record, names)),
    limits: batch.limits.map((one) => ({ group: names.name(one.group), limit: names.name(one.limit), key: names.optional(one.key), state: one.state })),
  };
}

function parsed(bytes: Uint8Array): Written {
  try {
    return fromBinary(BatchSchema, bytes);
  } catch (cause) {
    throw new UnreadableBatch('The ledger holds a batch that is none.', { cause });
  }
}

function partOf({ index, of, sealedAt }: SnapshotPart) {
  return sealedAt === undefined ? { index, of } : { index, of, sealedAt };
}

function boundColumns(reservations: readonly Reservation[], names: StringTable) {
  if (reservations.length === 0) return undefined;
  return {
    group: reservations.map(({ group }) => names.ref(group)),
    limit: reservations.map(({ limit }) => names.ref(limit)),
    key: reservations.map(({ key }) => names.ref(key)),
    slot: reservations.map(({ bound }) => bound.slot),
    value: reservations.map(({ bound }) => bound.value),
  };
}

function reservationsOf({ bounds }: Written, names: StringReader): Reservation[] {
  if (bounds === undefined) return [];
  const { group, limit, key, slot, value } = bounds;
  if ([limit, key, slot, value].some((column) => column.length !== group.length)) throw new UnreadableBatch('The ledger holds bounds with a part missing.');
  return group.map((ref, at) => ({
    group: names.name(ref),
    limit: names.name(limit[at] as number),
    key: names.optional(key[at] as number),
    bound: { slot: slot[at] as number, value: value[at] as number },
  }));
}

function writtenRecord(record: LedgerRecord, names: StringTable): WrittenRecord {
  switch (record.kind) {
    case 'grant':
    case 'renew':
      return create(RecordSchema, { record: { case: record.kind, value: writtenLease(record.lease, names) } });
    case 'end':
      return create(RecordSchema, { record: { case: 'end', value: { group: names.ref(record.group), term: record.term, serial: record.serial } } });
    case 'pause': {
      const { group, key, until } = record.pause;
      return create(RecordSchema, { record: { case: 'pause', value: { group: names.ref(group), key: names.ref(key), until } } });
    }
    case 'resume':
      return create(RecordSchema, { record: { case: 'resume', value: { group: names.ref(record.group), key: names.ref(record.key) } } });
    case 'override':
      return create(RecordSchema, { record: { case: 'override', value: writtenOverride(record.override, names) } });
    case 'restore':
      return create(RecordSchema, { record: { case: 'restore', value: { group: names.ref(record.group) } } });
  }
}

function readRecord({ record }: WrittenRecord, names: StringReader): LedgerRecord {
  switch (record.case) {
    case 'grant':
    case 'renew':
      return { kind: record.case, lease: readLease(record.value, names) };
    case 'end':
      return { kind: 'end', group: names.name(record.value.group), term: record.value.term, serial: record.value.serial };
    case 'pause': {
      const { group, key, until } = record.value;
      return { kind: 'pause', pause: { group: names.name(group), key: names.optional(key), until: until as Instant } };
    }
    case 'resume':
      return { kind: 'resume', group: names.name(record.value.group), key: names.optional(record.value.key) };
    case 'override':
      return { kind: 'override', override: readOverride(record.value, names) };
    case 'restore':
      return { kind: 'restore', group: names.name(record.value.group) };
    case undefined:
      throw new UnreadableBatch('The ledger holds a record that this version of Sluice does not know: start the version that wrote it.');
  }
}

function writtenLease(lease: LeaseRecord, names: StringTable): Lease {
  const costs = Object.entries(lease.costs);
  return create(LeaseSchema, {
    group: names.ref(lease.group),
    key: names.ref(lease.key),
    term: lease.term,
    serial: lease.serial,
    tagHigh: lease.tag.high,
    tagLow: lease.tag.low,
    costUnits: costs.map(([unit]) => names.ref(unit)),
    costAmounts: costs.map(([, amount]) => amount),
    grantedAt: lease.grantedAt,
    expiresAt: lease.expiresAt,
    duration: lease.duration,
    holder: names.ref(lease.holder),
    standIn: lease.aggregate,
    caller: names.ref(lease.claim?.caller),
    requestId: names.ref(lease.claim?.request?.id),
    requestDigest: lease.claim?.request?.digest ?? '',
  });
}

function readLease(lease: Lease, names: StringReader): LeaseRecord {
  return {
    group: names.name(lease.group),
    key: names.name(lease.key),
    term: lease.term,
    serial: lease.serial,
    tag: { high: lease.tagHigh, low: lease.tagLow },
    costs: Object.fromEntries(lease.costUnits.map((ref, at) => [names.name(ref), lease.costAmounts[at] ?? 0])),
    grantedAt: lease.grantedAt as Instant,
    expiresAt: lease.expiresAt as Instant,
    duration: lease.duration,
    holder: names.name(lease.holder),
    aggregate: lease.standIn,
    claim: readClaim(lease, names),
  };
}

function readClaim({ caller: ref, requestId, requestDigest: digest }: Lease, names: StringReader): Claim | undefined {
  const caller = names.optional(ref);
  if (caller === undefined) return undefined;
  const id = names.optional(requestId);
  return { caller, request: id === undefined ? undefined : { id, digest } };
}

function writtenOverride({ group, override }: OverrideRecord, names: StringTable): Override {
  return create(OverrideSchema, {
    group: names.ref(group),
    until: override.until,
    quotas: [...override.limits].map(([limit, quota]) => encodeQuota(names.ref(limit), quota)),
    ...(override.enforce !== undefined && { enforce: override.enforce }),
  });
}

function readOverride(override: Override, names: StringReader): OverrideRecord {
  const limits = new Map(override.quotas.map((quota) => [names.name(quota.limit), decodeQuota(quota)]));
  return { group: names.name(override.group), override: { limits, enforce: override.enforce, until: override.until as Instant } };
}

/** A quota as the ledger writes it; `limit` is a reference to its name. */
function encodeQuota(limit: number, quota: Quota): NamedQuota {
  switch (quota.kind) {
    case 'rate':
      return create(NamedQuotaSchema, { limit, quota: { case: 'rate', value: { permits: quota.permits, per: quota.per, burst: quota.burst } } });
    case 'spacing':
      return create(NamedQuotaSchema, { limit, quota: { case: 'spacing', value: { spacing: quota.spacing, slack: quota.slack } } });
    case 'window':
      return create(NamedQuotaSchema, { limit, quota: { case: 'window', value: { permits: quota.permits, per: quota.per } } });
    case 'fixed': {
      const { kind: _kind, per, ...rest } = quota;
      return create(NamedQuotaSchema, { limit, quota: { case: 'fixed', value: { ...rest, per: per === 'month' ? 0 : per } } });
    }
    case 'concurrency':
      // Of an override, which is the only one that is written: a fixed number, for a time.
      return create(NamedQuotaSchema, { limit, quota: { case: 'concurrency', value: { max: quota.max } } });
  }
}

/** The inverse. Throws {@link UnreadableBatch} for a kind of quota that this version does not know. */
function decodeQuota({ quota }: NamedQuota): Quota {
  switch (quota.case) {
    case 'rate':
      return { kind: 'rate', permits: quota.value.permits, per: quota.value.per, burst: quota.value.burst };
    case 'spacing':
      return { kind: 'spacing', spacing: quota.value.spacing, slack: quota.value.slack };
    case 'window':
      return { kind: 'window', permits: quota.value.permits, per: quota.value.per };
    case 'fixed': {
      const { permits, per, day, time, timezone, spill } = quota.value;
      return { kind: 'fixed', permits, per: per === 0 ? 'month' : per, align: alignOf(quota.value.align), day, time, timezone, spill };
    }
    case 'concurrency':
      return { kind: 'concurrency', max: quota.value.max };
    case undefined:
      throw new UnreadableBatch('The ledger holds a quota that this version of Sluice does not know.');
  }
}

function alignOf(align: string): FixedQuota['align'] {
  if (align === 'epoch' || align === 'first' || align === 'calendar' || align === 'reported') return align;
  throw new UnreadableBatch(`The ledger holds a window aligned to ${JSON.stringify(align)}, which this version does not know.`);
}

/** The names of a batch as they are written: each once; a reference is its index plus 1, 0 is `undefined`. */
class StringTable {
  readonly strings: string[] = [];
  readonly #refs = new Map<string, number>();

  ref(value: string | undefined): number {
    if (value === undefined) return 0;
    let ref = this.#refs.get(value);
    if (ref === undefined) {
      this.strings.push(value);
      ref = this.strings.length;
      this.#refs.set(value, ref);
    }
    return ref;
  }
}

/** A batch refers to a name it does not have, or has something this version cannot read. */
export class UnreadableBatch extends Error {
  override readonly name = 'UnreadableBatch';
}

/** The names of a batch as they are read. */
class StringReader {
  readonly #strings: readonly string[];

  constructor(strings: readonly string[]) {
    this.#strings = strings;
  }

  /** Throws {@link UnreadableBatch} for 0 as for a reference past the end. */
  name(ref: number): string {
    const value = this.#strings[ref - 1];
    if (value === undefined) throw new UnreadableBatch(`The ledger refers to name ${ref}, which its batch does not have.`);
    return value;
  }

  optional(ref: number): string | undefined {
    return ref === 0 ? undefined : this.name(ref);
  }
}
