import type { Plain } from '../../config/source-value.ts';
import type { SourceNode } from '../source-node.ts';
import { type Address, addressOf } from './address.ts';
import type { Draft, Options } from './draft.ts';
import { classesOf } from './priorities.ts';
import { backlogOf, judgeWindow, permitsOf, statusOf, ttlOf, windowLimit } from './settings.ts';

/* policies.yaml: the remedies of Lunar before its flows. */

const PASS_ON = 'this remedy holds and counts nothing; requests pass on';

/** A remedy that has an equivalent. */
interface Remedy {
  readonly node: SourceNode;
  readonly name: string;
  readonly limit: Options;
  /** How callers wait; undefined: they are refused at once. */
  readonly ttl: Plain | undefined;
  readonly backlog: number | undefined;
  readonly status: number;
  readonly header: string | undefined;
  readonly classes: Readonly<Record<string, number>>;
}

/** Reads `global` and `endpoints` of a policies file. */
export function importPolicies(root: SourceNode, draft: Draft): void {
  const groups = new Map<string, string>();
  const everywhere = root.get('global');
  const global = everywhere && remediesOf(everywhere, draft);
  const above = global && groupOf(global, draft, undefined, groups);
  for (const endpoint of listOf(root.get('endpoints'))) {
    const url = endpoint.need('url', 'Write the host and path of the endpoint.');
    const address = url && addressOf(url);
    const method = endpoint.get('method');
    const methods = method === undefined ? [] : methodsOf([method]);
    const remedies = remediesOf(endpoint, draft);
    endpoint.get('diagnosis')?.ignore('metrics are at listen.health, and nothing else is collected');
    const group = groupOf(remedies, draft, above, groups) ?? above;
    if (address === undefined || group === undefined || url === undefined) continue;
    const options = { group, ...classOf(remedies.length > 0 ? remedies : (global ?? [])) };
    draft.route({ address, methods, headers: {}, options }, url);
  }
  everywhere?.get('diagnosis')?.ignore('metrics are at listen.health, and nothing else is collected');
  if (above !== undefined && everywhere !== undefined) {
    const anywhere: Address = { host: undefined, path: undefined };
    draft.route({ address: anywhere, methods: [], headers: {}, options: { group: above, ...classOf(global ?? []) } }, everywhere);
  }
  root.get('accounts')?.ignore('accounts of providers are not switched: requests keep their own credentials');
  root.get('exporters')?.ignore('metrics are at listen.health, and nothing else is exported');
}

/** Reads methods; judges them. */
export function methodsOf(nodes: readonly SourceNode[]): readonly string[] {
  const methods = nodes.map((node) => {
    const method = node.text()?.toUpperCase();
    if (method === undefined) return undefined;
    if (!/^[A-Z][A-Z-]{0,31}$/.test(method) || method === 'CONNECT' || method === 'TRACE') {
      node.mistake('this is no method that is passed on', 'Write GET, POST, PUT and the like.');
      return undefined;
    }
    node.understood(method === 'GET' ? 'match.methods; GET takes HEAD too' : 'match.methods');
    return method;
  });
  return [...new Set(methods.filter((method) => method !== undefined))];
}

function listOf(node: SourceNode | undefined): readonly SourceNode[] {
  if (node === undefined || !node.isList('one item per line, each after "- "')) return [];
  return node.items();
}

function remediesOf(at: SourceNode, draft: Draft): readonly Remedy[] {
  const found: Remedy[] = [];
  for (const node of listOf(at.get('remedies'))) {
    const name = node.need('name', 'Give the remedy a name.')?.text();
    const config = node.get('config');
    const kinds = config?.entries() ?? [];
    if (node.get('enabled')?.truth() !== true) {
      node.ignore('the remedy is not enabled');
      continue;
    }
    for (const [kind, settings] of kinds) {
      const remedy = remedyOf(kind, settings, name ?? kind, node, draft);
      if (remedy === undefined) settings.ignore(PASS_ON);
      else found.push(remedy);
    }
    const taken = found.some((each) => each.node === node);
    for (const key of [node.get('name'), node.get('enabled')]) {
      if (taken) key?.understood('its group');
      else key?.ignore(PASS_ON);
    }
  }
  return found;
}

function remedyOf(kind: string, settings: SourceNode, name: string, node: SourceNode, draft: Draft): Remedy | undefined {
  const none = { node, name, ttl: undefined, backlog: 0, header: undefined, classes: {} };
  if (kind === 'concurrency_based_throttling') {
    const max = settings.need('max_concurrent_requests', 'Write how many may be under way.');
    const number = max && permitsOf(max);
    max?.understood('concurrency');
    const status = settings.get('response_status_code');
    return number === undefined ? undefined : { ...none, limit: { name: 'slots', concurrency: number }, status: (status && statusOf(status)) ?? 429 };
  }
  if (kind !== 'strategy_based_queue' && kind !== 'strategy_based_throttling') return undefined;
  const count = settings.need('allowed_request_count', 'Write how many requests a window lets pass.');
  const size = settings.need('window_size_in_seconds', 'Write how long a window is.');
  const code = settings.need('response_status_code', 'Write the status of a refusal.');
  const permits = count && permitsOf(count);
  const seconds = size?.integer(1, 34_560_000);
  const status = code && statusOf(code);
  if (permits === undefined || seconds === undefined || status === undefined || count === undefined || size === undefined) return undefined;
  for (const each of [count, size]) judgeWindow(each, draft.options);
  const limit = windowLimit('window', permits, seconds, draft.options, 'epoch');
  if (kind === 'strategy_based_throttling') {
    settings
      .get('group_quota_allocation')
      ?.ignore('parts of a window for values of a header are not divided: all requests share the window; write child groups with parent.share');
    return { ...none, limit, status };
  }
  return { ...none, limit, status, ...queueOf(settings, draft) };
}

/** What a queue has beyond its window. */
function queueOf(settings: SourceNode, { options: { compat } }: Draft): Pick<Remedy, 'ttl' | 'backlog' | 'header' | 'classes'> {
  const ttl = settings.need('ttl_seconds', 'Write how long a request may wait.');
  const size = settings.get('queue_size');
  const prioritization = settings.get('prioritization');
  const groupBy = prioritization?.get('group_by')?.get('header_name');
  const header = groupBy === undefined ? undefined : headerName(groupBy);
  const groups = prioritization?.get('groups');
  const classes =
    groups === undefined ? {} : classesOf(groups, (node) => (node.isMap('priority: 1') ? node.need('priority', 'Write its priority.') : undefined));
  if (groupBy !== undefined && header !== undefined) {
    if (compat) groupBy.understood('class: header, without case; requests without a known group come first, as in Lunar');
    else groupBy.changed('class: header, without case. Requests without a known group come last, where Lunar takes them first (--compat keeps that)');
  }
  return { ttl: ttl && ttlOf(ttl, true), backlog: size && backlogOf(size, 'backlog.requests'), header, classes };
}

/** Reads the name of a header; reports one that is none. */
export function headerName(node: SourceNode): string | undefined {
  const name = node.text()?.toLowerCase();
  if (name === undefined) return undefined;
  if (/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name)) return name;
  node.mistake('this is not the name of a header', 'Write one: x-group.');
  return undefined;
}

/** Makes one group of the remedies of one place; the same remedy elsewhere is the same group. Returns its name. */
function groupOf(remedies: readonly Remedy[], draft: Draft, parent: string | undefined, made: Map<string, string>): string | undefined {
  const [first, ...more] = remedies;
  if (first === undefined) return undefined;
  for (const { node } of more)
    draft.notes.push(`${node.where.source}:${node.where.line}: the remedies of one endpoint share one queue: a request waits until all of them let it pass.`);
  const queue = remedies.find(({ ttl }) => ttl !== undefined);
  const { compat } = draft.options;
  const { classes = {}, header } = queue ?? {};
  const limits = remedies.map(({ limit }, index) => (index === 0 ? limit : { ...limit, name: `${String(limit['name'])}-${index + 1}` }));
  const options: Options = {
    limits,
    ...(parent !== undefined && { parent: { group: parent } }),
    ttl: queue?.ttl ?? { default: 0, max: 0 },
    backlog: { ...(queue === undefined ? { requests: 0 } : queue.backlog !== undefined && { requests: queue.backlog }), onFull: 'newest' },
    ...(Object.keys(classes).length > 0 && { priority: { classes, ...(compat && header !== undefined && { default: 0 }) } }),
    fairness: { by: 'none' },
    refusal: { status: (queue ?? first).status, contentType: 'text/plain', body: 'Too many requests' },
  };
  const key = JSON.stringify([remedies.map(({ name }) => name), options]);
  const name = made.get(key) ?? draft.group(first.name, options);
  made.set(key, name);
  return name;
}

function classOf(remedies: readonly Remedy[]): Options {
  const queue = remedies.find(({ ttl }) => ttl !== undefined);
  const known = Object.keys(queue?.classes ?? {}).length > 0;
  return queue?.header !== undefined && known ? { class: `header ${queue.header}` } : {};
}
