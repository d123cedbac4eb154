import { type ApiLimit, shortSpan } from './group.ts';
import { countText, readCount, word } from './text.ts';

/** A quota in words: `60 in any 60 s`, `500 per 60 s, burst 20`, `1 at once`, `one per 5 s`. */
export function quotaText(limit: ApiLimit): string {
  const { kind = '', permits = limit.capacity, capacity, per, unit = 'requests', scope } = limit;
  const amount = countText(readCount(permits) ?? 0) + (unit === 'requests' || unit === '' ? '' : ` ${unit}`);
  const each = word(scope, 'LIMIT_SCOPE_') === 'key' ? ', each key' : '';
  switch (word(kind, 'LIMIT_KIND_')) {
    case 'concurrency':
      return `${amount} at once${each}`;
    case 'spacing':
      return `one per ${shortSpan(per)}${each}`;
    case 'rate':
      return `${amount} per ${shortSpan(per)}${capacity === '1' || capacity === undefined ? '' : `, burst ${countText(Number(capacity))}`}${each}`;
    case 'window':
    case 'rolling':
    case 'rolling window':
      return `${amount} in any ${shortSpan(per)}${each}`;
    default:
      return `${limit.quota ?? `${amount} per ${shortSpan(per)}`}${each}`;
  }
}
