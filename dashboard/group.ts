import type { Tone } from './parts.ts';
import { type Millis, rangeText, readCount, readInstant, readSpan, shortCount, spanText, UNKNOWN, word } from './text.ts';

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
    readonly oldest?: { readonly expiresAt?: string; readonly permit?: string; readonly holder?: string; readonly key?: string; readonly since?: string };
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
  readonly flags?: readonly string[];
  readonly arrivedPerSecond?: number;
  readonly admittedPerSecond?: number;
  readonly keyPauses?: readonly { readonly key: string; readonly left?: string; readonly by?: string; readonly reason?: string }[];
  readonly override?: ApiOverride;
  readonly history?: ApiHistory;
  readonly recent?: { readonly refused?: Readonly<Record<string, string>> };
  readonly told?: ApiRange;
  readonly degraded?: unknown;
}

/** Changes that hold for a time. */
export interface ApiOverride {
  readonly left?: string;
  readonly by?: string;
  readonly reason?: string;
  readonly limits?: Readonly<Record<string, { readonly from?: string; readonly to?: string }>>;
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

/** State of a group; '' where the server does not say. */
export function stateOf({ state = '' }: Pick<ApiGroup, 'state'>): string {
  return state;
}

/** Since when the oldest waits, by the server's clock; undefined: no caller waits. `at`: when the answer was given. */
export function oldestSince(group: Pick<ApiGroup, 'oldestSince' | 'oldestWaited'>, at: Millis): Millis | undefined {
  const waited = readSpan(group.oldestWaited);
  return readInstant(group.oldestSince) ?? (waited === undefined ? undefined : at - waited);
}

/** Flags beside the name of a group, as the server writes them, and their tone. */
export function flagsOf({ flags = [] }: ApiGroup): readonly (readonly [text: string, tone: Tone])[] {
  return flags.map((flag) => [flag, flag === 'shadow' ? '' : 'amber']);
}

/** The limit that a row shows: the binding one, else the fullest that it meets. */
export function limitOf({ name, binding, limits = [] }: Pick<ApiGroup, 'name' | 'binding' | 'limits'>): ApiLimit | undefined {
  if (binding === undefined) return [...limits].sort((a, b) => partOf(b) - partOf(a))[0];
  const of = binding.group === name ? binding.limit : `${binding.group}.${binding.limit}`;
  return limits.find((limit) => limit.name === of);
}

/** How much of a limit is used, 0 to 1. */
export function partOf({ used, capacity }: ApiLimit): number {
  return (readCount(used) ?? 0) / Math.max(1, readCount(capacity) ?? 1);
}

/** Name of what binds: `one`, `provider.minute`, `pause`, `backend shop`. */
export function bindsOf(group: ApiGroup): string {
  const { binding, name } = group;
  if (binding?.backend) return `backend ${binding.backend}`;
  if (binding?.kind === 'pause' || (binding === undefined && group.pause !== undefined)) return 'pause';
  if (binding === undefined) return limitOf(group)?.name ?? '';
  return `${binding.group === name ? '' : `${binding.group}.`}${binding.limit ?? ''}`;
}

/** Use of a limit: `1 / 1`, `200k / 200k`, `1 per 5 s`, `per key`. */
export function usedText(limit: ApiLimit): string {
  if (word(limit.scope, 'LIMIT_SCOPE_') === 'key') return 'per key';
  if (word(limit.kind, 'LIMIT_KIND_') === 'spacing') return `1 per ${shortSpan(limit.per)}`;
  const [used, capacity] = [readCount(limit.used), readCount(limit.capacity)];
  return used === undefined || capacity === undefined ? UNKNOWN : `${shortCount(used)} / ${shortCount(capacity)}`;
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
