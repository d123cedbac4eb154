import { DEPTH_MAX } from '../../core/bounds.ts';
import type { SourceNode } from '../source-node.ts';
import { type CounterSource, counterSource } from './counter-path.ts';
import type { LunarOptions, Options, QuotaHeaders } from './draft.ts';
import { headerName } from './remedies.ts';
import { judgeWindow, permitsOf, secondsText, windowLimit } from './settings.ts';

/* Quotas of Lunar, and their internal limits: what a group counts. */

const SECONDS: Readonly<Record<string, number>> = { second: 1, minute: 60, hour: 3_600, day: 86_400, month: 30 * 86_400 };
/** Longest window of a limit. */
const WINDOW_SECONDS_MAX = 400 * 86_400;
/** Quotas above each other at most, the group of a flow not counted. */
const QUOTA_DEPTH_MAX = DEPTH_MAX - 1;

/** A quota as read. */
export interface Quota {
  readonly id: string;
  readonly node: SourceNode;
  /** Limit of its group; undefined: it has none of its own. */
  readonly limit: Options | undefined;
  /** Header by whose values it counts. */
  readonly key: { readonly header: string; readonly node: SourceNode } | undefined;
  /** What its limit counts beside requests. */
  readonly counter: ({ readonly unit: string } & CounterSource) | undefined;
  readonly headers: QuotaHeaders;
  readonly parent: string | undefined;
  /** Part of its parent's limits, in percent. */
  readonly share: number | undefined;
  /** How many flows and quotas stand below it. */
  users: number;
  /** URLs of the flows whose requests it counts. */
  readonly urls: Set<string>;
}

/** Reads the quotas of one file into `quotas`. */
export function readQuotas(root: SourceNode, quotas: Map<string, Quota>, options: LunarOptions): void {
  const single = root.get('quota');
  const listed = root.get('quotas');
  const internal = root.get('internal_limits');
  const nodes = [...(single === undefined ? [] : [single]), ...itemsOf(listed)];
  for (const node of nodes) readQuota(node, false, quotas, options);
  for (const node of itemsOf(internal)) readQuota(node, true, quotas, options);
}

/** Reports parents that are not there, and circles; counts who stands below whom. Call it once all files are read. */
export function joinQuotas(quotas: ReadonlyMap<string, Quota>): void {
  for (const quota of quotas.values()) {
    const { parent, node } = quota;
    if (parent === undefined) continue;
    const above = quotas.get(parent);
    const at = node.get('parent_id') ?? node;
    if (above === undefined) {
      at.mistake(`there is no quota ${JSON.stringify(parent)}`, 'Name the id of a quota, and import its file too.');
      continue;
    }
    above.users++;
    at.understood('parent.group');
    if (chainOf(quota, quotas) === undefined) at.mistake(`more than ${QUOTA_DEPTH_MAX} quotas stand above each other, or in a circle`, 'Remove a parent_id.');
    const share = node.get('strategy')?.get('allocation_percentage');
    if (share !== undefined && quota.share !== undefined && above.limit === undefined && above.share === undefined)
      share.mistake(`a part of ${JSON.stringify(parent)}, which has no number`, 'Give the parent a number, or the child one of its own.');
  }
}

/** Judges the filter of a quota that flows use: what counts here is who uses it. */
export function judgeFilter({ node, urls }: Quota): void {
  const filter = node.get('filter');
  const url = filter?.get('url');
  const text = url?.raw.kind === 'scalar' ? String(url.raw.value).toLowerCase() : undefined;
  const [used, ...more] = urls;
  if (text !== undefined && text === used && more.length === 0) url?.understood('the requests of its flow');
  filter?.ignore('the requests of its flows are counted, and no others; in Lunar all that fit this filter are');
}

/** Returns a quota and those above it, the nearest first; undefined for a circle, or too many. */
export function chainOf(quota: Quota, quotas: ReadonlyMap<string, Quota>): readonly Quota[] | undefined {
  const chain: Quota[] = [];
  for (let at: Quota | undefined = quota; at !== undefined; at = at.parent === undefined ? undefined : quotas.get(at.parent)) {
    chain.push(at);
    if (chain.length > QUOTA_DEPTH_MAX) return undefined;
  }
  return chain;
}

function itemsOf(node: SourceNode | undefined): readonly SourceNode[] {
  return node?.isList('one quota per item, each after "- "') ? node.items() : [];
}

function readQuota(node: SourceNode, child: boolean, quotas: Map<string, Quota>, options: LunarOptions): void {
  const idNode = node.need('id', 'Give the quota an id.');
  const id = idNode?.text();
  const strategy = node.need('strategy', 'Say how it counts: fixed_window, fixed_window_custom_counter, concurrent, header_based or allocation_percentage.');
  const parent = child ? node.need('parent_id', 'Name the quota that it is part of.')?.text() : undefined;
  if (idNode === undefined || id === undefined || strategy === undefined) return;
  if (quotas.has(id)) {
    idNode.mistake(`two quotas are called ${JSON.stringify(id)}`, 'Give each its own id.');
    return;
  }
  idNode.understood('the name of its group');
  const empty: Quota = { id, node, limit: undefined, key: undefined, counter: undefined, headers: {}, parent, share: undefined, users: 0, urls: new Set() };
  quotas.set(id, { ...empty, ...strategyOf(strategy, id, options) });
}

type Strategy = Partial<Pick<Quota, 'limit' | 'key' | 'counter' | 'headers' | 'share'>>;

const READERS: Readonly<Record<string, (node: SourceNode, id: string, options: LunarOptions) => Strategy>> = {
  fixed_window: (node, _id, options) => fixedWindow(node, options),
  fixed_window_custom_counter: customCounter,
  concurrent,
  header_based: headerBased,
  allocation_percentage: allocation,
};

function strategyOf(strategy: SourceNode, id: string, options: LunarOptions): Strategy {
  const known = strategy.entries().filter(([name]) => Object.hasOwn(READERS, name));
  const [first, ...more] = known;
  if (first === undefined) {
    strategy.mistake('this strategy is not known', `Write one of ${Object.keys(READERS).join(', ')}.`);
    return {};
  }
  for (const [name, node] of more) node.mistake(`${first[0]} and ${name} are two strategies`, 'Make each a quota of its own.');
  const [name, node] = first;
  return READERS[name]?.(node, id, options) ?? {};
}

/** Both spellings: the numbers in `static`, or beside the rest. */
function fixedWindow(node: SourceNode, options: LunarOptions): Strategy {
  const numbers = node.get('static') ?? node;
  const group = numbers.get('group_by_header') ?? node.get('group_by_header');
  const header = group && headerName(group);
  if (group !== undefined) group.understood('scope: key, and key: header of the routes; requests without it share the empty key');
  const dynamic = node.get('dynamic');
  const headers = dynamic === undefined ? {} : headersOf(dynamic, 'remaining_header', 'reset_time_header', 'retry_after_header');
  const limit = windowOf(numbers, node, options);
  return { limit: limit && scoped(limit, header), key: keyOf(header, group), headers };
}

function customCounter(node: SourceNode, id: string, options: LunarOptions): Strategy {
  const numbers = node.get('static') ?? node;
  const group = numbers.get('group_by_header') ?? node.get('group_by_header');
  const header = group && headerName(group);
  if (group !== undefined) group.understood('scope: key, and key: header of the routes; requests without it share the empty key');
  const path = node.need('counter_value_path', 'Say where the weight of a request stands: $.request.headers["x-tokens"].');
  const text = path?.text();
  const source = text === undefined ? undefined : counterSource(text);
  const limit = windowOf(numbers, node, options);
  if (path === undefined || text === undefined) return {};
  if (source === undefined) {
    path.ignore('a cost is read from one header of the request, its query, its JSON or the JSON of the answer: each request counts 1 instead');
    return { limit: limit && scoped(limit, header), key: keyOf(header, group) };
  }
  if (source.of === 'request') path.changed('costs.ask of the routes. A request without a whole number there counts 1; in Lunar it is free');
  else path.changed('costs.settle of the routes: a request counts 1 when it goes, and what its answer says from then on');
  const unit = unitOf(id);
  return { limit: limit && scoped({ ...limit, unit }, header), key: keyOf(header, group), counter: { unit, ...source } };
}

function concurrent(node: SourceNode): Strategy {
  const max = node.get('max_request_count') ?? node.get('max') ?? node.need('max_request_count', 'Write how many may be under way.');
  const number = max && permitsOf(max);
  max?.understood('concurrency');
  node.get('request_expiration_sec')?.changed('not needed: a slot is held while its request is under way, and free at once after it');
  node.get('gc_interval_sec')?.ignore('nothing is collected: slots that end are free at once');
  return number === undefined ? {} : { limit: { name: 'concurrent', concurrency: number } };
}

function headerBased(node: SourceNode): Strategy {
  node.need('quota_header', 'Name the header in which the provider says what is left.');
  return { headers: headersOf(node, 'quota_header', 'reset_header', 'retry_after_header') };
}

function headersOf(node: SourceNode, ...names: readonly [remaining: string, reset: string, retryAfter: string]): QuotaHeaders {
  const [remaining, reset, retryAfter] = names.map((name) => {
    const at = node.get(name);
    const header = at && headerName(at);
    at?.changed('backends: quotaHeaders. At 0, and at 429 or 503, the group pauses; Lunar lets all pass');
    return header;
  });
  return { ...(remaining && { remaining }), ...(reset && { reset }), ...(retryAfter && { retryAfter }) };
}

function allocation(node: SourceNode): Strategy {
  const share = node.decimal(0, 100, 'above 0, up to 100');
  if (share === undefined) return {};
  if (share === 0) {
    node.mistake('0 % lets nothing pass', 'Write a part that one request fits into, or remove the child.');
    return {};
  }
  node.understood('parent.share');
  return { share };
}

function scoped(limit: Options, header: string | undefined): Options {
  return header === undefined ? limit : { ...limit, scope: 'key' };
}

function keyOf(header: string | undefined, node: SourceNode | undefined): Quota['key'] {
  return header === undefined || node === undefined ? undefined : { header, node };
}

/** A limit of `max` in each window, with `spillover` and `monthly_renewal`, which Lunar reads and does not carry out. */
function windowOf(numbers: SourceNode, node: SourceNode, options: LunarOptions): Options | undefined {
  const max = numbers.need('max', 'Write how many requests a window lets pass.');
  const interval = numbers.need('interval', 'Write how many units a window is long.');
  const unit = numbers.need('interval_unit', 'Write second, minute, hour, day or month.');
  const permits = max && permitsOf(max);
  const count = interval?.integer(1, 1_000_000_000);
  const unitText = unit?.text();
  if (max === undefined || interval === undefined || unit === undefined || permits === undefined || count === undefined || unitText === undefined)
    return undefined;
  const length = Object.hasOwn(SECONDS, unitText) ? SECONDS[unitText] : undefined;
  if (length === undefined) {
    unit.mistake(`${JSON.stringify(unitText.slice(0, 40))} is no unit of time`, 'Write second, minute, hour, day or month.');
    return undefined;
  }
  const spillover = node.get('spillover') ?? numbers.get('spillover');
  const spill = spillover?.need('max', 'Write how many at most are carried over.');
  const renewal = node.get('monthly_renewal') ?? numbers.get('monthly_renewal');
  const monthly = renewal !== undefined && unitText === 'month' && count === 1;
  if (!monthly && count * length > WINDOW_SECONDS_MAX) {
    interval.mistake('this window is longer than 400 days', 'Write a shorter one.');
    return undefined;
  }
  if (renewal !== undefined && !monthly) renewal.ignore('a spill is kept for one window, so that there is nothing to renew');
  const spilled = spill === undefined ? undefined : spillOf(spill, permits);
  for (const each of [max, interval, unit]) {
    if (monthly) each.understood('window: N/month, of the calendar');
    else if (spilled !== undefined) each.understood('window, kind: fixed, for its spill');
    else if (unitText === 'month') each.changed('window: months are 30 days, as in Lunar; rolling unless --windows fixed');
    else judgeWindow(each, options);
  }
  const carried = spilled === undefined ? {} : { spill: spilled };
  if (monthly) return { name: 'month', window: `${permits}/month`, kind: 'fixed', align: 'calendar', ...renewalOf(renewal, options), ...carried };
  if (spilled === undefined) return windowLimit('window', permits, count * length, options, 'first');
  return { name: 'window', window: `${permits}/${secondsText(count * length)}`, kind: 'fixed', align: 'first', ...carried };
}

function spillOf(node: SourceNode, permits: number): number | undefined {
  const spill = permitsOf(node);
  if (spill === undefined) return undefined;
  if (spill > permits) node.changed(`spill: ${permits}; more than a window has cannot be left of it. Lunar never fills it`);
  else node.changed('spill: what a window leaves is added to the next. Lunar never fills it');
  return Math.min(spill, permits);
}

function renewalOf(node: SourceNode, { timezone }: LunarOptions): Options {
  const day = node.need('day', 'Write the day of the month: 1 to 31.');
  const [hour, minute, zone] = [node.get('hour'), node.get('minute'), node.get('timezone')];
  const number = day?.integer(1, 31);
  const [hours = 0, minutes = 0] = [hour?.integer(0, 23), minute?.integer(0, 59)];
  const how = 'the beginning of the month, which Lunar reads and does not keep';
  for (const each of [day, hour, minute]) each?.changed(how);
  const name = zone?.text() ?? 'UTC';
  if (name === 'Local') zone?.changed(`timezone: ${timezone}, that of this machine; write that of the gateway if it is another`);
  else if (name === 'UTC') zone?.changed(how);
  else zone?.mistake('Lunar knows the time zones UTC and Local', 'Write one of the two.');
  const time = [hours, minutes].map((each) => String(each).padStart(2, '0')).join(':');
  return { ...(number !== undefined && { day: number }), time, timezone: name === 'Local' ? timezone : 'UTC' };
}

/** A unit is small letters and digits; "requests" counts requests. */
function unitOf(id: string): string {
  const unit = id
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 60);
  return unit === '' || unit === 'requests' || unit === 'constructor' ? `weight-${unit}`.replace(/-$/, '') : unit;
}
