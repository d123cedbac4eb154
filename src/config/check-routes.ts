import type { BackendOptions } from './backend-options.ts';
import type { ClusterOptions } from './cluster-options.ts';
import { unitsOf, unknownUnit } from './cost-units.ts';
import { ValueError } from './errors.ts';
import type { GroupOptions } from './group-options.ts';
import type { Listener } from './listen-options.ts';
import type { RouteOptions } from './route-options.ts';
import type { ReportAt, Unverified } from './schema.ts';
import { suggest } from './suggest.ts';

/** The parts of a configuration that forwarding is made of. */
interface Forwarding {
  readonly cluster?: Pick<ClusterOptions, 'durability' | 'monitor'> | undefined;
  readonly listen: { readonly proxy: Pick<Listener, 'address'> };
  readonly groups: ReadonlyMap<string, GroupOptions>;
  readonly backends: ReadonlyMap<string, BackendOptions>;
  readonly routes: readonly RouteOptions[];
}

/** Reports routes to groups, backends, classes and path names that do not exist, and a proxy without routes or routes without a proxy. */
export function checkRoutes(options: Unverified<Forwarding>, report: ReportAt): void {
  for (const [index, route] of (options.routes ?? []).entries())
    if (route !== undefined) checkRoute(options, route, (below, fault) => report(['routes', index, ...below], fault));
  checkSpellings(options.routes ?? [], report);
  checkStored(options, report);
  const proxy = options.listen?.proxy?.address;
  const routes = options.routes?.length ?? 0;
  if (proxy === 'none' && routes > 0) report(['routes'], new ValueError('routes without a listener', 'Give listen.proxy a port, or remove the routes.'));
  if (proxy !== undefined && proxy !== 'none' && options.routes !== undefined && routes === 0)
    report(['listen', 'proxy'], new ValueError('a proxy without routes would answer 404 to every request', 'Write routes, or leave listen.proxy out.'));
}

/** The name of a route: its own, or its path, or its place among all. */
export function routeName(
  route: { readonly name?: string | undefined; readonly match?: { readonly path?: string | undefined } | undefined },
  index: number,
): string {
  return route.name ?? route.match?.path ?? `routes[${index}]`;
}

/** Whether requests of a route may be stored. */
export function isStored({ mode, respondAsync }: { readonly mode?: string | undefined; readonly respondAsync?: boolean | undefined }): boolean {
  return mode === 'deferred' || respondAsync === true;
}

/** Reports routes whose stored requests could not be distinguished, and a cluster that does not declare whether what it acknowledges survives. */
function checkStored({ cluster, routes }: Unverified<Forwarding>, report: ReportAt): void {
  const names = new Map<string, number>();
  for (const [index, route] of (routes ?? []).entries()) {
    if (route === undefined || !isStored(route)) continue;
    const name = routeName(route, index);
    const first = names.get(name);
    if (first !== undefined) {
      const remedy = 'Stored requests know their route by name: give each a name of its own.';
      report(['routes', index, route.name === undefined ? 'match' : 'name'], new ValueError(`routes[${first}] is called ${JSON.stringify(name)} too`, remedy));
    } else names.set(name, index);
    if (cluster?.durability === 'synced' && cluster.monitor === undefined) {
      const remedy =
        'Name the servers in cluster.monitor, or set cluster.durability: acknowledged if the disks of NATS sync (`sync_interval: always`), or a loss of all its servers at once may lose requests.';
      report(['routes', index, route.mode === 'deferred' ? 'mode' : 'respondAsync'], new ValueError('nothing says that NATS syncs what it has taken', remedy));
    }
  }
}

/** Reports a route that never takes a request, since one before it takes its path in any case, or with or without a slash at its end. */
function checkSpellings(routes: Unverified<readonly RouteOptions[]>, report: ReportAt): void {
  const taken = new Map<string, { readonly index: number; readonly path: string }>();
  for (const [index, route] of routes.entries()) {
    const { path, host, methods, header } = route?.match ?? {};
    if (route === undefined || path === undefined) continue;
    const anyCase = (route.match?.case ?? (route.group === undefined ? 'exact' : 'any')) === 'any';
    const anySlash = (route.match?.slash ?? (route.group === undefined ? 'exact' : 'any')) === 'any';
    const rest = JSON.stringify([host, methods, [...(header ?? [])]]);
    const bare = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
    const before = [path, `case ${path.toLowerCase()}`, `slash ${bare}`, `both ${bare.toLowerCase()}`]
      .map((key) => taken.get(`${key} ${rest}`))
      .find((each) => each !== undefined);
    if (before !== undefined && before.path !== path) {
      const remedy = 'Write case: exact, or slash: exact, into the match of the first, or remove this one.';
      report(['routes', index, 'match', 'path'], new ValueError(`routes[${before.index}] takes ${before.path} in this spelling too`, remedy));
    }
    const key = anyCase && anySlash ? `both ${bare.toLowerCase()}` : anyCase ? `case ${path.toLowerCase()}` : anySlash ? `slash ${bare}` : path;
    if (!taken.has(`${key} ${rest}`)) taken.set(`${key} ${rest}`, { index, path });
  }
}

function checkRoute(options: Unverified<Forwarding>, route: Unverified<RouteOptions>, report: ReportAt): void {
  const { backends, groups } = options;
  if (route.backend !== undefined && backends?.has(route.backend) === false) report(['backend'], missing('backend', route.backend, [...backends.keys()]));
  const { group } = route;
  if (group !== undefined && groups?.has(group) === false) report(['group'], missing('group', group, [...groups.keys()]));
  if (group === undefined) {
    for (const name of ['key', 'class'] as const)
      if (route[name] !== undefined)
        report([name], new ValueError(`${name} has no meaning without a group`, `Name the group whose limits count, or remove ${name}.`));
    if ((route.costs?.size ?? 0) > 0)
      report(['costs'], new ValueError('costs have no meaning without a group', 'Name the group whose limits count, or remove costs.'));
  }
  const units = group === undefined || groups?.has(group) !== true ? undefined : unitsOf(groups, group);
  for (const unit of route.costs?.keys() ?? []) {
    const fault = units && unknownUnit(group ?? '', unit, units);
    if (fault !== undefined) report(['costs', unit], fault);
  }
  checkClass(options, route, report);
  for (const name of ['key', 'class'] as const) {
    const source = route[name];
    if (source === undefined || source.from !== 'path' || source.name === undefined || route.match === undefined) continue;
    if (!route.match.path?.includes(`{${source.name}}`))
      report([name], new ValueError(`match.path has no {${source.name}}`, `Put {${source.name}} into match.path, or take the ${name} from somewhere else.`));
  }
  if (route.charge === 'headers') {
    for (const [unit, cost] of route.costs ?? [])
      if (cost?.ask?.from === 'json')
        report(['costs', unit, 'ask'], new ValueError('a cost in the body is not known on headers', 'Take charge: body, or ask a header.'));
  }
}

function checkClass({ groups }: Unverified<Forwarding>, route: Unverified<RouteOptions>, report: ReportAt): void {
  const classes = route.group === undefined ? undefined : groups?.get(route.group)?.priority?.classes;
  if (classes === undefined || route.class === undefined) return;
  if (classes.size === 0)
    report(['class'], new ValueError(`the group ${route.group} has no classes`, 'Name them under its priority.classes, or remove class.'));
  else if (route.class.from === 'value' && route.class.value !== undefined && !classes.has(route.class.value))
    report(['class'], missing('class', route.class.value, [...classes.keys()]));
}

function missing(noun: string, name: string, known: readonly string[]): ValueError {
  const guess = suggest(name, known);
  return new ValueError(`there is no ${noun} ${JSON.stringify(name)}`, guess === undefined ? 'Define it, or name one there is.' : `Did you mean ${guess}?`);
}
