import type { Quota } from '../core/group.ts';
import { DAY, HOUR, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';

/** Returns a quota in the notation of the file, with spans in their largest whole unit: `500/60s, burst 20`, `1000/24h fixed`, `one per 5s`, `8 at once`. */
export function quotaText(quota: Quota): string {
  switch (quota.kind) {
    case 'rate':
      return `${quota.permits}/${per(quota.per)}${quota.burst === 1 ? '' : `, burst ${quota.burst}`}`;
    case 'spacing':
      return `one per ${per(quota.spacing)}${quota.slack === 0 ? '' : ` + ${per(quota.slack)}`}`;
    case 'window':
      return `${quota.permits}/${per(quota.per)}`;
    case 'fixed':
      return `${quota.permits}/${quota.per === 'month' ? 'month' : per(quota.per)} fixed`;
    case 'concurrency':
      return `${quota.max} at once`;
  }
}

/** Windows of a minute are written in seconds, as in provider's documents. */
function per(span: Micros): string {
  if (span % HOUR === 0) return span % DAY === 0 && span > DAY ? `${span / DAY}d` : `${span / HOUR}h`;
  if (span % MINUTE === 0 && span > MINUTE) return `${span / MINUTE}m`;
  if (span % SECOND === 0) return `${span / SECOND}s`;
  return span % MILLISECOND === 0 ? `${span / MILLISECOND}ms` : `${span}us`;
}
