import { create } from '@bufbuild/protobuf';
import type { FixedQuota, Quota } from '../core/group.ts';
import { type NamedQuota, NamedQuotaSchema } from '../gen/sluice/internal/v1/ledger_pb.ts';
import { UnreadableBatch } from './strings.ts';

/** A quota as the ledger writes it; `limit` is a reference to its name. */
export function encodeQuota(limit: number, quota: Quota): NamedQuota {
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
export function decodeQuota({ quota }: NamedQuota): Quota {
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
