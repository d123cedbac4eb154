import { isKey } from '../../core/bounds.ts';
import type { Costs } from '../../core/group.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { ProxyRoute } from '../../deferred/proxy-route.ts';
import { computeCosts, parseJsonBody, readsBody } from '../../proxy/costs.ts';
import { valueAt } from '../../proxy/json-path.ts';
import { readValue } from '../../proxy/request-values.ts';
import type { Route, RouteAdmission, Source } from '../../proxy/route.ts';
import { createRouter, type RequestHead, type RouteMatch, type Router } from '../../proxy/router.ts';
import { malformed } from '../validation.ts';
import type { SubmitFields } from './submit-fields.ts';

/** A deferred route as submissions see it: which requests it takes, and what it reads from them. */
export interface SubmitRoute {
  /** As `DeferredRequests` knows it. */
  readonly name: string;
  readonly match: RouteMatch;
  readonly route: Pick<Route, 'backend' | 'hold'> & { readonly admission: RouteAdmission };
  /** Requests of the proxy are refused unless their sender has signed them: here they need a credential. */
  readonly signed: boolean;
  /** A sender's own id of a delivery. */
  readonly dedupe: Source | undefined;
}

/** The routes of the proxy that store requests, as submissions see them. */
export function submitRoutesOf(routes: readonly ProxyRoute[]): readonly SubmitRoute[] {
  return routes.flatMap(({ match, route, deferred }) => {
    const { admission, ...rest } = route;
    if (deferred === undefined || admission === undefined) return [];
    return [{ name: route.name, match, route: { ...rest, admission }, signed: deferred.verify !== undefined, dedupe: deferred.dedupe }];
  });
}

/** What the route of a request sets for it; what the request names itself is in it already. */
export interface RoutedSubmit {
  readonly route: string;
  readonly group: string;
  readonly key: string;
  /** undefined: after every class. */
  readonly priorityClass: string | undefined;
  readonly costs: Costs;
  readonly host: string;
  readonly bodyBytesMax: number;
  readonly signed: boolean;
  readonly dedupeId: string;
}

/** The caller of a route. */
export interface SubmitCaller {
  readonly caller: string;
  /** Whether it may submit to a group. */
  readonly mayGroup: (group: string) => boolean;
  /** It may name some groups only: the rest, and their routes, are not for it to find out. */
  readonly restricted: boolean;
}

interface Routers {
  readonly found: readonly SubmitRoute[];
  readonly withHost: Router<SubmitRoute>;
  readonly withoutHost: Router<SubmitRoute>;
}

/**
 * Finds the route of a submission: the first whose `match` it fits, of those it names. A request never reaches a path at a
 * backend that its route does not lead to, and paths that servers read in different ways are refused, as on the proxy.
 */
export class SubmitRoutes {
  readonly #routes: () => readonly SubmitRoute[];
  #of: readonly SubmitRoute[] = [];
  #routers = new Map<string, Routers>();

  constructor(routes: () => readonly SubmitRoute[]) {
    this.#routes = routes;
  }

  /** Resolves the route and what it takes from the request; fields are checked by `checkSubmit` before. */
  find(fields: SubmitFields, asked: SubmitCaller): RoutedSubmit | Refusal {
    const routers = this.#routersFor(fields, asked);
    if (routers.found.length === 0) return unknown(fields, asked);
    const method = fields.method === '' ? 'POST' : fields.method;
    const head = headOf(fields, method);
    const routed = (fields.host === '' ? routers.withoutHost : routers.withHost)(head);
    if (routed === undefined) return unfit(fields, method);
    if (routed.kind === 'ambiguous') return malformed(routed.detail);
    const found = routers.found.find(({ name }) => name === routed.route.name) ?? routed.route;
    return read(found, fields, asked.caller, routed.names);
  }

  #routersFor({ route, group }: SubmitFields, { mayGroup, restricted }: SubmitCaller): Routers {
    const routes = this.#routes();
    if (routes !== this.#of) {
      this.#of = routes;
      this.#routers = new Map();
    }
    const named = routes.filter((each) => (route === '' || each.name === route) && (group === '' || each.route.admission.group === group));
    const found = restricted ? named.filter((each) => mayGroup(each.route.admission.group)) : named;
    const id = found.map((each) => routes.indexOf(each)).join();
    const known = this.#routers.get(id);
    if (known !== undefined) return known;
    if (this.#routers.size >= ROUTERS_MAX) this.#routers.clear();
    const made: Routers = { found, withHost: createRouter(found, true), withoutHost: createRouter(found.map(withoutHost), true) };
    this.#routers.set(id, made);
    return made;
  }
}

/** Sets of routes lately asked for: one for each route, group and credential that is used. */
const ROUTERS_MAX = 10_000;

/** A request that names no host is for the one that the route names. */
function withoutHost(route: SubmitRoute): SubmitRoute {
  const { host } = route.match;
  return host === undefined || host.startsWith('*.') ? route : { ...route, match: { ...route.match, host: undefined } };
}

function unknown({ route, group }: SubmitFields, { restricted }: SubmitCaller): Refusal {
  if (restricted) return { reason: 'forbidden', detail: `This credential may not submit ${route === '' ? 'to any deferred route' : 'to that route'}.` };
  const which = route !== '' ? `is called ${JSON.stringify(route)}` : group !== '' ? `belongs to the group ${JSON.stringify(group)}` : 'is configured';
  return { reason: 'unknown_group', detail: `No deferred route ${which}; see \`routes\` in the configuration of the server.` };
}

function unfit({ route, group }: SubmitFields, method: string): Refusal {
  const what = `${method} with this host, path and headers`;
  if (route === '' && group === '')
    return { reason: 'unknown_group', detail: `No deferred route takes ${what}; see \`routes\` in the configuration of the server.` };
  const whose = route === '' ? `No deferred route of group ${JSON.stringify(group)} takes` : `The route ${JSON.stringify(route)} does not take`;
  return malformed(`${whose} ${what}; see its \`match\`.`);
}

function headOf({ path, host, headers }: SubmitFields, method: string): RequestHead {
  const mark = path.indexOf('?');
  return {
    method,
    path: mark < 0 ? path : path.slice(0, mark),
    host: host === '' ? undefined : host,
    header: (name) => {
      const values = headers.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
      return values.length === 0 ? undefined : values.join(', ');
    },
  };
}

function read(
  { name, match, route, signed, dedupe }: SubmitRoute,
  fields: SubmitFields,
  caller: string,
  params: ReadonlyMap<string, string>,
): RoutedSubmit | Refusal {
  const { admission, hold } = route;
  const facts = { params, caller, clientIp: '', peerIp: '', peerTrusted: false, scheme: 'http' as const };
  const request = { headers: fields.headers.flat(), target: fields.path, facts };
  const key = fields.key !== '' || admission.key === undefined ? fields.key : readValue(admission.key, request);
  if (key !== '' && !isKey(key)) return malformed('What names the key of this request must have 1 to 256 bytes in UTF-8, no control characters.');
  const json = readsBody(admission.costs) ? parseJsonBody(fields.body) : undefined;
  const costs = computeCosts(
    admission.costs,
    ({ ask }) => (ask === undefined ? undefined : ask.from === 'json' ? valueAt(json, ask.path) : readValue(ask, request)),
    () => {},
  );
  const classed = fields.priorityClass !== '' || admission.priorityClass === undefined ? fields.priorityClass : readValue(admission.priorityClass, request);
  const isNamed = fields.priorityClass !== '' || admission.classes.has(classed);
  const host = fields.host !== '' || match.host === undefined || match.host.startsWith('*.') ? fields.host : match.host;
  return {
    route: name,
    group: admission.group,
    key,
    priorityClass: isNamed && classed !== '' ? classed : undefined,
    costs: fields.costs === undefined ? costs : { ...costs, ...fields.costs },
    host,
    bodyBytesMax: hold.bodyBytesMax,
    signed,
    dedupeId: fields.dedupeId !== '' || dedupe === undefined ? fields.dedupeId : readValue(dedupe, request),
  };
}
