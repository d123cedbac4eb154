import type { SourceNode } from '../source-node.ts';
import { type Address, addressOf } from './address.ts';
import type { Draft, Options } from './draft.ts';
import { NotExpressible, type Processor, processorsOf, type Way, waysOf } from './flow-graph.ts';
import { classesOf } from './priorities.ts';
import { chainOf, type Quota } from './quotas.ts';
import { headerName, methodsOf } from './remedies.ts';
import { backlogOf, statusOf, ttlOf } from './settings.ts';

/* Flows of Lunar: queues and limiters before a provider, each with a quota. */

/** Wait timeout of a queue that sets none, in Lunar as here. */
const TTL_DEFAULT: Options = { default: '10s', max: '10s' };
/** Routes that the values of one filter's headers may make. */
const ROUTES_MAX = 64;

/** Groups that were made of quotas, by id. */
export type Groups = Map<string, string>;

/** A flow as read, with the quotas of each of its ways. */
export interface Flow {
  readonly node: SourceNode;
  readonly name: string;
  readonly url: SourceNode;
  readonly address: Address;
  readonly methods: readonly string[];
  readonly headers: readonly Options[];
  readonly ways: readonly (Way & { readonly quotas: readonly Quota[] })[];
}

/** Reads a flow, and counts what uses a quota. Returns undefined for one with mistakes, and one that has no equivalent, which is reported as ignored. */
export function readFlow(node: SourceNode, quotas: ReadonlyMap<string, Quota>, draft: Draft): Flow | undefined {
  const nameNode = node.get('name') ?? node.get('id');
  const name = nameNode?.text() ?? 'flow';
  const filter = node.need('filter', 'Say which requests it takes: url: api.example.com/*.');
  const url = filter?.get('url') ?? filter?.get('path');
  if (filter !== undefined && url === undefined) filter.mistake('url is missing', 'Say which requests it takes: url: api.example.com/*.');
  const processors = processorsOf(node);
  const found = node.get('enabled')?.truth() === false ? new NotExpressible('it is not enabled') : waysOf(node, processors);
  const why = found instanceof NotExpressible ? found.why : found.every(({ steps }) => steps.length === 0) ? 'it holds no request' : undefined;
  if (found instanceof NotExpressible || why !== undefined) {
    node.overrule(`the flow is not imported: ${why}`);
    draft.notes.push(`${node.where.source}: the flow ${name} is not imported (${why}): its requests are not limited by it.`);
    return undefined;
  }
  const address = url && addressOf(url);
  const conditions = filter && conditionsOf(filter);
  nameNode?.understood('the name of its group');
  node.get('enabled')?.understood('enabled');
  judgeSteps(node, processors);
  const ways = found.map((way) => ({ ...way, quotas: quotasOf(way.steps, quotas) }));
  for (const quota of ways.flatMap((way) => way.quotas)) quota.users++;
  return url && address && conditions && { node, name, url, address, ways, ...conditions };
}

/** Makes the groups and routes of a flow. Call it once all flows are read. */
export function importFlow(flow: Flow, quotas: ReadonlyMap<string, Quota>, groups: Groups, draft: Draft): void {
  const { name, address, methods, url } = flow;
  for (const [index, way] of flow.ways.entries()) {
    const making = { quotas, groups, draft, address, url: String(url.text()).toLowerCase() };
    const options = groupOf(way, index === 0 ? name : `${name}-${index + 1}`, making) ?? {};
    const passed = Object.fromEntries(way.headers);
    for (const wanted of flow.headers) {
      const clash = Object.entries(wanted).some(([key, value]) => passed[key] !== undefined && passed[key] !== value);
      const missed = way.absent.some(([key, value]) => wanted[key] === value);
      if (!clash && !missed) draft.route({ address, methods, headers: { ...wanted, ...passed }, options }, url);
    }
  }
}

/** Methods and sets of headers of a filter; several values of one header are sets of their own. */
function conditionsOf(filter: SourceNode): { readonly methods: readonly string[]; readonly headers: readonly Options[] } {
  const method = filter.get('method');
  const methods = method === undefined ? [] : methodsOf(method.raw.kind === 'list' ? method.items() : [method]);
  const values = new Map<string, string[]>();
  for (const item of filter.get('headers')?.items() ?? []) {
    const key = item.need('key', 'Name the header.');
    const value = item.need('value', 'Write its value.');
    const header = key && headerName(key);
    const text = value?.text();
    if (header === undefined || text === undefined || key === undefined || value === undefined) continue;
    if (!/^[\t\x20-\x7e]{1,1024}$/.test(text)) value.mistake('a route cannot match this value', 'Write at most 1024 characters that print.');
    for (const each of [key, value]) each.understood('match.header; of several values of one header any');
    values.set(header, [...new Set([...(values.get(header) ?? []), text])]);
  }
  let sets: readonly Options[] = [{}];
  for (const [header, texts] of values) sets = sets.flatMap((set) => texts.map((text) => ({ ...set, [header]: text })));
  if (sets.length > ROUTES_MAX) filter.mistake(`these headers make ${sets.length} routes`, `Name at most ${ROUTES_MAX} combinations of values.`);
  for (const [key, node] of filter.entries())
    if (!['url', 'path', 'method', 'headers'].includes(key)) node.ignore('routes do not look at this: requests are taken whatever it is');
  return { methods, headers: sets.slice(0, ROUTES_MAX) };
}

interface Making {
  readonly quotas: ReadonlyMap<string, Quota>;
  readonly groups: Groups;
  readonly draft: Draft;
  readonly address: Address;
  /** Of the flow, as written in small letters. */
  readonly url: string;
}

/** Makes the group of one way. Returns the options of its routes; undefined if nothing holds its requests. */
function groupOf(way: Flow['ways'][number], name: string, making: Making): Options | undefined {
  const { quotas, draft, address } = making;
  const [lowest, ...unrelated] = way.quotas;
  if (lowest === undefined) return undefined;
  const queue = way.steps.find(({ kind }) => kind === 'Queue');
  const waiting = queue === undefined ? AT_ONCE : queueOf(queue);
  const chain = chainOf(lowest, quotas) ?? [lowest];
  const { header: own, node: ownNode } = waiting.separate ?? {};
  const key = chain.find((quota) => quota.key !== undefined)?.key?.header ?? own;
  if (ownNode !== undefined && own !== key) ownNode.ignore(`requests are distinguished by ${key}, as the quota says: a route has one key`);
  else ownNode?.understood('key: header of the routes: fair between its values');
  const base =
    lowest.users === 1 && making.groups.get(lowest.id) === undefined
      ? ownOptions(lowest, key, making)
      : { limits: [], parent: { group: parentOf(lowest, key, making) } };
  const inlined = unrelated.flatMap((quota) => inlineOf(quota, way, key));
  const limits = [...(base.limits as readonly Options[]), ...inlined.map((limit, index) => ({ ...limit, name: `${String(limit['name'])}-${index + 2}` }))];
  const all = [...chain, ...unrelated];
  for (const quota of all) quota.urls.add(making.url);
  const headers = all.filter(({ headers: each }) => Object.keys(each).length > 0);
  for (const quota of headers) draft.quotaHeaders(address.host, quota.headers, quota.node);
  const group = draft.group(name, {
    ...base,
    limits,
    ...waiting.options,
    fairness: { by: own !== undefined && own === key ? 'key' : 'none' },
    ...(headers.length > 0 && { pushback: { scope: key === undefined ? 'group' : 'key', max: '1d' } }),
    ...refusalOf(way.refusal),
  });
  const costs = all.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.unit, costOf(counter)] as const]));
  return {
    group,
    ...(key !== undefined && { key: `header ${key}` }),
    ...(waiting.header !== undefined && { class: `header ${waiting.header}` }),
    ...(costs.length > 0 && { costs: Object.fromEntries(costs) as Options }),
  };
}

/** Quotas of the steps, the one below all that stand above each other first; others behind it. Judges the parameters that name them. */
function quotasOf(steps: readonly Processor[], quotas: ReadonlyMap<string, Quota>): readonly Quota[] {
  const named: Quota[] = [];
  for (const { node, parameters } of steps) {
    const at = parameters.get('quota_id');
    const id = at?.text();
    if (at === undefined || id === undefined) {
      node.mistake('quota_id is missing', 'Name the quota that counts its requests.');
      continue;
    }
    const quota = quotas.get(id);
    if (quota === undefined) at.mistake(`there is no quota ${JSON.stringify(id.slice(0, 60))}`, 'Name the id of a quota, and import its file too.');
    else {
      at.understood('limits of its group, or of the group above it');
      if (!named.includes(quota)) named.push(quota);
    }
  }
  const above = (quota: Quota): readonly Quota[] => chainOf(quota, quotas)?.slice(1) ?? [];
  const lowest = named.filter((quota) => !named.some((other) => above(other).includes(quota)));
  return lowest;
}

/** Limits and parent of a quota, as options of a group. */
function ownOptions(quota: Quota, key: string | undefined, making: Making): { readonly limits: readonly Options[]; readonly parent?: Options } {
  const above = quota.parent === undefined ? undefined : making.quotas.get(quota.parent);
  const parent = above && { group: parentOf(above, key, making), ...(quota.share !== undefined && { share: `${quota.share}%` }) };
  return { limits: quota.limit === undefined ? [] : [keyed(quota, key)], ...(parent && { parent }) };
}

/** Returns the name of the group of a quota that several share. */
function parentOf(quota: Quota, key: string | undefined, making: Making): string {
  const known = making.groups.get(quota.id);
  if (known !== undefined) return known;
  const name = making.draft.group(quota.id, { ...ownOptions(quota, key, making) });
  making.groups.set(quota.id, name);
  return name;
}

/** The limit of a quota; counted for all together where its header is not the key of the routes. */
function keyed(quota: Quota, key: string | undefined): Options {
  const limit = quota.limit ?? {};
  if (quota.key === undefined || quota.key.header === key) return limit;
  quota.key.node.ignore(`requests are distinguished by ${key}: a route has one key, so that this quota counts all together`);
  return Object.fromEntries(Object.entries(limit).filter(([name]) => name !== 'scope'));
}

/** The limits of a quota that stands beside the first: a group has one parent. */
function inlineOf(quota: Quota, way: Way, key: string | undefined): readonly Options[] {
  const at = way.steps.map(({ parameters }) => parameters.get('quota_id')).find((node) => node?.raw.kind === 'scalar' && String(node.raw.value) === quota.id);
  if (quota.users > 1 || quota.parent !== undefined || quota.limit === undefined) {
    at?.mistake('two quotas of one flow stand beside each other, and this one is used elsewhere too', 'Make one the parent_id of the other.');
    return [];
  }
  return [keyed(quota, key)];
}

function costOf({ source, of }: NonNullable<Quota['counter']>): Options {
  return of === 'request' ? { ask: source, default: 1 } : { default: 1, settle: source };
}

interface Waiting {
  readonly options: Options;
  readonly header?: string;
  readonly separate?: { readonly header: string; readonly node: SourceNode };
}

/** With limiters alone no request waits. */
const AT_ONCE: Waiting = { options: { ttl: { default: 0, max: 0 }, backlog: { requests: 0, onFull: 'newest' } } };

/** How a queue lets requests wait. */
function queueOf({ parameters, node }: Processor): Waiting {
  const get = (name: string): SourceNode | undefined => parameters.get(name);
  const ttl = get('ttl_seconds');
  const size = get('queue_size');
  const redis = get('redis_queue_size');
  const all = redis === undefined ? undefined : redis.integer(-1, Number.MAX_SAFE_INTEGER);
  if (all === -1) redis?.ignore('no bound over all gateways: queue_size bounds them together');
  const together = redis !== undefined && all !== undefined && all > 0 ? backlogOf(redis, 'backlog.requests: over all replicas') : undefined;
  const separateNode = get('group_by_header');
  const separate = separateNode && headerName(separateNode);
  if (size === undefined) node.mistake('queue_size is missing', 'Write how many requests may wait.');
  const backlog = size && backlogOf(size, separate === undefined ? 'backlog.requests' : 'backlog.perKey');
  if (size !== undefined && together !== undefined && separate === undefined) size.changed('redis_queue_size bounds all replicas together');
  const byHeader = get('priority_group_by_header');
  const header = byHeader && headerName(byHeader);
  const groups = get('priority_groups');
  const classes = groups === undefined ? {} : classesOf(groups, (each) => each);
  const known = Object.keys(classes).length > 0;
  if (known) byHeader?.understood('class: header, without case; requests without a known group come last');
  else byHeader?.ignore('no priority group has a class');
  const bounds = { ...(separate !== undefined && backlog !== undefined && { perKey: backlog }) };
  const requests = together ?? (separate === undefined ? backlog : undefined);
  const options: Options = {
    ttl: (ttl && ttlOf(ttl, false)) ?? TTL_DEFAULT,
    backlog: { ...(requests !== undefined && { requests }), ...bounds, onFull: 'newest' },
    ...(known && { priority: { classes } }),
  };
  return {
    options,
    ...(known && header !== undefined && { header }),
    ...(separate !== undefined && separateNode !== undefined && { separate: { header: separate, node: separateNode } }),
  };
}

/** What a refused request is answered. */
function refusalOf(processor: Processor | undefined): { readonly refusal?: Options } {
  if (processor === undefined) return {};
  const refusal: Record<string, string | number> = {};
  for (const [key, node] of processor.parameters) {
    const kind = key.toLowerCase();
    if (kind === 'status') refusal['status'] = statusOf(node) ?? 429;
    else if (kind === 'body') {
      const body = node.raw.kind === 'scalar' ? String(node.raw.value ?? '') : undefined;
      if (body === undefined) node.text();
      else refusal['body'] = body;
      node.understood('refusal.body');
    } else if (kind === 'content-type') {
      const type = node.text();
      if (type !== undefined && /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(; ?[\w.+-]+=[\w.+-]+)*$/.test(type)) refusal['contentType'] = type;
      else node.mistake('this is not a media type', 'Write one: text/plain.');
      node.understood('refusal.contentType');
    } else node.ignore('a refusal has a status, a content type and a body; Retry-After and the reason are added');
  }
  return { refusal };
}

/** Judges what stands around the settings: kinds, keys, the order of the steps. */
function judgeSteps(flow: SourceNode, processors: ReadonlyMap<string, Processor>): void {
  for (const { node, kind } of processors.values()) {
    node.get('processor')?.understood(kind === 'GenerateResponse' ? 'refusal of the group' : 'its group');
    node.get('metrics')?.ignore('metrics are at listen.health, by group, limit and class');
    for (const item of node.get('parameters')?.items() ?? []) {
      item.get('key')?.understood('see its value');
      if (kind === 'Filter') item.get('value')?.understood('match.header of its routes');
    }
  }
  const steps = flow.get('flow');
  steps?.get('request')?.understood('the order of the steps');
  const response = steps?.get('response');
  response?.understood('answers come back as they are; refusals as the group sets them');
}
