import type { Tone } from './parts.ts';
import { countText, type Millis, rangeText, readCount, readInstant, readSpan, shortCount, spanText, UNKNOWN, word } from './text.ts';

/* What the API says of a group, as the page shows it. Pure: a figure that is absent stays absent. */

/** A limit as the API has it; 64-bit numbers are text. */
export interface ApiLimit {
  readonly group?: string;
  readonly name: string;
  readonly unit?: string;
  readonly kind?: string;
  readonly scope?: string;
  readonly capacity?: string;
  readonly used?: string;
  readonly debt?: string;
  readonly per?: string;
  readonly permits?: string;
  readonly quota?: string;
  readonly resetAfter?: string;
  readonly keysInUse?: string;
  readonly fullest?: readonly { readonly key: string; readonly used?: string; readonly capacity?: string; readonly debt?: string }[];
}

/** Why a group does not pass more, and on whom it waits. */
export interface ApiBinding {
  readonly group?: string;
  readonly limit?: string;
  readonly kind?: string;
  readonly opensAt?: string;
  readonly holders?: {
    readonly count?: string;
    readonly oldest?: { readonly permit?: string; readonly holder?: string; readonly key?: string; readonly since?: string };
  };
  readonly loudest?: { readonly key?: string; readonly share?: number };
  readonly backend?: string;
  readonly text?: string;
}

/** Ends of a wait that hold. */
export interface ApiRange {
  readonly from?: string;
  readonly to?: string;
}

/** A group as the API has it. */
export interface ApiGroup {
  readonly name: string;
  readonly parent?: string;
  readonly enforce?: boolean;
  readonly limits?: readonly ApiLimit[];
  readonly waiting?: string;
  readonly waitingBytes?: string;
  readonly backlog?: readonly ApiBacklog[];
  readonly oldestWaited?: string;
  readonly oldestSince?: string;
  readonly leases?: string;
  readonly keys?: string;
  readonly pause?: { readonly left?: string; readonly since?: string; readonly by?: string; readonly reason?: string };
  readonly pausedKeys?: unknown;
  readonly overrideLeft?: string;
  readonly counters?: ApiCounters;
  readonly placement?: { readonly shard?: number; readonly replica?: string; readonly term?: string };
  readonly state?: string;
  readonly stateSince?: string;
  readonly lastAdmittedAt?: string;
  readonly binding?: ApiBinding;
  readonly verdict?: unknown;
  readonly history?: ApiHistory;
  readonly recent?: { readonly refused?: Readonly<Record<string, string>> };
  readonly told?: ApiRange;
  readonly degraded?: unknown;
}

/** Waiters of one priority. */
export interface ApiBacklog {
  readonly priority?: number;
  readonly class?: string;
  readonly waiting?: string;
  readonly oldestSince?: string;
  readonly leastTtlLeft?: string;
  readonly told?: ApiRange;
}

/** What was counted since the process began. */
export interface ApiCounters {
  readonly arrived?: string;
  readonly left?: string;
  readonly admitted?: string;
  readonly refused?: Readonly<Record<string, string>>;
}

/** Counts of the last 15 minutes, by step of time; the newest last. */
export interface ApiHistory {
  readonly from?: string;
  readonly step?: string;
  readonly arrived?: readonly (string | number)[];
  readonly admitted?: readonly (string | number)[];
  readonly refused?: readonly (string | number)[];
}

/** State of a group in lower case; '' where the server does not say. */
export function stateOf({ state }: Pick<ApiGroup, 'state'>): string {
  return word(state, 'GROUP_STATE_');
}

/** Since when the oldest waits, by the server's clock; undefined: nobody waits. `at`: when the answer was given. */
export function oldestSince(group: Pick<ApiGroup, 'oldestSince' | 'oldestWaited'>, at: Millis): Millis | undefined {
  const waited = readSpan(group.oldestWaited);
  return readInstant(group.oldestSince) ?? (waited === undefined ? undefined : at - waited);
}

/** Flags beside the name of a group. */
export function flagsOf(group: ApiGroup): readonly (readonly [text: string, tone: Tone])[] {
  const flags: [string, Tone][] = [];
  if (group.overrideLeft !== undefined) flags.push(['override', 'amber']);
  if (group.enforce === false) flags.push(['shadow', '']);
  if (group.degraded === true) flags.push(['degraded', 'amber']);
  const keys = Array.isArray(group.pausedKeys) ? group.pausedKeys.length : (readCount(group.pausedKeys) ?? 0);
  if (keys > 0) flags.push([`keys paused ${keys}`, 'amber']);
  if (group.limits?.some(({ debt }) => (readCount(debt) ?? 0) > 0) === true) flags.push(['debt', 'amber']);
  return flags;
}

/** The limit that a row shows: the binding one, else the fullest of the group's own. */
export function limitOf(group: ApiGroup): ApiLimit | undefined {
  const own = group.limits ?? [];
  const named = group.binding?.limit;
  if (named !== undefined && named !== '')
    return own.find(({ name, group: of }) => name === named && (of === undefined || of === (group.binding?.group ?? group.name)));
  return [...own].sort((a, b) => partOf(b) - partOf(a))[0];
}

/** How much of a limit is used, 0 to 1. */
export function partOf({ used, capacity }: ApiLimit): number {
  return (readCount(used) ?? 0) / Math.max(1, readCount(capacity) ?? 1);
}

/** Name of what binds: `one`, `provider.minute`, `pause`, `backend shop`. */
export function bindsOf(group: ApiGroup): string {
  const { binding } = group;
  if (binding?.backend !== undefined && binding.backend !== '') return `backend ${binding.backend}`;
  if (binding?.limit !== undefined && binding.limit !== '')
    return binding.group !== undefined && binding.group !== '' && binding.group !== group.name ? `${binding.group}.${binding.limit}` : binding.limit;
  if (word(binding?.kind).endsWith('pause') || (binding === undefined && group.pause !== undefined)) return 'pause';
  return limitOf(group)?.name ?? '';
}

/** Use of a limit: `1 / 1`, `200k / 200k`, `1 per 5 s`, `per key`. */
export function usedText(limit: ApiLimit): string {
  if (word(limit.scope, 'LIMIT_SCOPE_') === 'key') return 'per key';
  if (word(limit.kind, 'LIMIT_KIND_') === 'spacing') return `1 per ${shortSpan(limit.per)}`;
  const [used, capacity] = [readCount(limit.used), readCount(limit.capacity)];
  return used === undefined || capacity === undefined ? UNKNOWN : `${shortCount(used)} / ${shortCount(capacity)}`;
}

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

/** Admissions or arrivals a second, as the mean of the last whole steps of 10 s. */
export function rateOf(history: ApiHistory | undefined, series: 'arrived' | 'admitted'): number | undefined {
  const step = readSpan(history?.step);
  const last = history?.[series]?.at(-1);
  return step === undefined || last === undefined ? undefined : (Number(last) * 1000) / step;
}

/** Refusals of the last 15 minutes: all, and by reason, the most frequent first. */
export function refusedOf(group: Pick<ApiGroup, 'recent'>): { readonly all: number; readonly reasons: readonly (readonly [string, number])[] } | undefined {
  const refused = group.recent?.refused;
  if (refused === undefined) return undefined;
  const reasons = Object.entries(refused)
    .map(([reason, count]): [string, number] => [reason.toLowerCase(), Number(count)])
    .filter(([, count]) => count > 0)
    .sort((a, b) => b[1] - a[1]);
  return { all: reasons.reduce((sum, [, count]) => sum + count, 0), reasons };
}

/** The wait that a new caller is told. */
export function toldText(told: ApiRange | undefined): string {
  return told === undefined ? UNKNOWN : rangeText(readSpan(told.from), readSpan(told.to));
}

/** Names in the sentence about a group that are set in bold. */
export function namesOf({ binding, pause }: Pick<ApiGroup, 'binding' | 'pause'>): readonly string[] {
  const names = [binding?.holders?.oldest?.holder, binding?.loudest?.key, binding?.backend, pause?.by];
  return names.filter((name): name is string => name !== undefined && name.length > 1);
}

/** `60 s` for 60s, `5m 00s` for 5m: a period of a limit, without a decimal that says nothing. */
export function shortSpan(span: string | undefined): string {
  const ms = readSpan(span);
  if (ms === undefined) return UNKNOWN;
  if (ms < 1000) return `${ms} ms`;
  return ms <= 60_000 ? `${ms / 1000} s` : spanText(ms).replace(/ 0+[smh]$/, '');
}
