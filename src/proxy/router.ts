import { ambiguityOf, isUsual, otherReadings, segmentsOf } from './json-readings.ts';
import type { Route } from './route.ts';
import { decodeEscapes } from './text.ts';

/** What a request must be for a route to take it; everything that is set must fit. */
export interface RouteMatch {
  /** Lower case: a name, or `*.name` for every name below it; a port only where it counts. undefined: any. */
  readonly host: string | undefined;
  /** `/words/{name}/*`; undefined: any. */
  readonly path: string | undefined;
  /** The case of words in `path` counts. */
  readonly exactCase: boolean;
  /** A slash at the end of a path counts. */
  readonly exactSlash: boolean;
  /** GET covers HEAD. undefined: any. */
  readonly methods: readonly string[] | undefined;
  /** By name (case does not count); `*` is any value. */
  readonly headers: ReadonlyMap<string, string>;
}

/** What routing needs to know of a route. */
export interface RoutingTarget {
  readonly match: RouteMatch;
  readonly route: Pick<Route, 'backend' | 'admission'>;
}

/** What routing looks at. */
export interface RequestHead {
  readonly method: string;
  /** As sent, without the query; begins with `/`. */
  readonly path: string;
  /** The Host field as sent, well-formed; undefined: HTTP/1.0 without one. */
  readonly host: string | undefined;
  /** By lower-case name; repeated ones joined by `, `. */
  header(name: string): string | undefined;
}

/** The route that takes a request, and what stood where its pattern has names, without escapes. */
export interface Routed<R> {
  readonly kind: 'routed';
  readonly route: R;
  readonly names: ReadonlyMap<string, string>;
}

/** A path that other servers resolve to another route's; `detail` explains it to the caller. */
export interface AmbiguousPath {
  readonly kind: 'ambiguous';
  readonly detail: string;
}

/** Returns the first route that fits; undefined if none does. */
export type Router<R> = (request: RequestHead) => Routed<R> | AmbiguousPath | undefined;

type Step = { readonly word: string; readonly folded: string } | { readonly name: string } | 'any';

interface Pattern {
  readonly steps: readonly Step[];
  /** Ends in `/*`: whatever follows. */
  readonly open: boolean;
  readonly exactCase: boolean;
  readonly exactSlash: boolean;
}

const NO_NAMES: ReadonlyMap<string, string> = new Map();

const DIVIDED: AmbiguousPath = {
  kind: 'ambiguous',
  detail:
    'Servers read this path in different ways, and not all of them as the same route; send it without dot segments, doubled slashes, ";" and needless escapes.',
};

/**
 * Joins routes to one look-up, in their order. Patterns must be well-formed (`config/route-scalars.ts`). With `refusesAmbiguous`
 * a path is refused that servers cannot agree on ({@link ambiguityOf}), or that some of them resolve to another route than
 * the one RFC 3986 leads to; else only RFC 3986 counts.
 */
export function createRouter<R extends RoutingTarget>(routes: readonly R[], refusesAmbiguous: boolean): Router<R> {
  const find = createLookUp(routes);
  return (request) => {
    const { path } = request;
    if (isUsual(path)) return find(request, segmentsOf(path));
    const ambiguity = refusesAmbiguous ? ambiguityOf(path) : undefined;
    if (ambiguity !== undefined) return { kind: 'ambiguous', detail: ambiguity };
    const found = find(request, segmentsOf(path));
    if (!refusesAmbiguous || found === undefined) return found;
    const agreed = otherReadings(path).every(({ segments, mayMiss }) => agrees(found, find(request, segments), mayMiss));
    return agreed ? found : DIVIDED;
  };
}

/** The same resource, or one that is free to reach at that backend anyway. */
function agrees<R extends RoutingTarget>(found: Routed<R>, other: Routed<R> | undefined, mayMiss: boolean): boolean {
  if (other === undefined) return mayMiss;
  if (other.route !== found.route) return other.route.route.admission === undefined && other.route.route.backend === found.route.route.backend;
  return [...found.names].every(([name, value]) => {
    const text = other.names.get(name) ?? '';
    // Servers that match a path as it came decode what they took from it.
    return text === value || decodeEscapes(text) === value;
  });
}

function createLookUp<R extends RoutingTarget>(routes: readonly R[]): (request: RequestHead, segments: readonly string[]) => Routed<R> | undefined {
  const compiled = routes.map((route) => ({
    route,
    hostFits: hostTest(route.match.host),
    methods: methodsOf(route.match.methods),
    pattern: route.match.path === undefined ? undefined : compile(route.match.path, route.match),
    headers: [...route.match.headers].map(([name, value]) => [name.toLowerCase(), value] as const),
  }));
  return (request, segments) => {
    let lowered: readonly string[] | undefined;
    const folded = (index: number): string => {
      lowered ??= segments.map(fold);
      return lowered[index] ?? '';
    };
    for (const { route, hostFits, methods, pattern, headers } of compiled) {
      if (methods !== undefined && !methods.has(request.method)) continue;
      if (hostFits !== undefined && !hostFits(request.host)) continue;
      if (!headers.every(([name, value]) => fits(request.header(name), value))) continue;
      const names = pattern === undefined ? NO_NAMES : namesOf(pattern, segments, folded);
      if (names !== undefined) return { kind: 'routed', route, names };
    }
    return undefined;
  };
}

/** A HEAD is a GET whose answer has no body (RFC 9110 9.3.2): the backend works as much for it. */
function methodsOf(methods: readonly string[] | undefined): ReadonlySet<string> | undefined {
  if (methods === undefined) return undefined;
  return new Set(methods.includes('GET') ? [...methods, 'HEAD'] : methods);
}

function compile(path: string, { exactCase, exactSlash }: Pick<RouteMatch, 'exactCase' | 'exactSlash'>): Pattern {
  const open = path.endsWith('/*');
  const words = (open ? path.slice(1, -2) : path.slice(1)).split('/');
  const bare = !exactSlash && !open && words.length > 1 && words.at(-1) === '' ? words.slice(0, -1) : words;
  return { steps: open && path === '/*' ? [] : bare.map(stepOf), open, exactCase, exactSlash };
}

function stepOf(word: string): Step {
  if (word === '*') return 'any';
  if (word.startsWith('{')) return { name: word.slice(1, -1) };
  // Letters beyond ASCII come encoded in a request.
  const plain = decodeEscapes(word.toWellFormed().replaceAll(/[\u0080-\uffff]+/g, encodeURIComponent));
  return { word: plain, folded: fold(plain) };
}

function namesOf(
  { steps, open, exactCase, exactSlash }: Pattern,
  segments: readonly string[],
  folded: (index: number) => string,
): ReadonlyMap<string, string> | undefined {
  const ends = !exactSlash && segments.length > 1 && segments.at(-1) === '' ? segments.length - 1 : segments.length;
  if (open ? (exactSlash ? segments.length <= steps.length : ends < steps.length) : ends !== steps.length) return undefined;
  let names: Map<string, string> | undefined;
  for (const [index, step] of steps.entries()) {
    const segment = segments[index] ?? '';
    if (step === 'any' || 'name' in step) {
      if (segment === '') return undefined;
      if (step === 'any') continue;
      names ??= new Map();
      names.set(step.name, segment);
    } else if (step.word !== segment && (exactCase || step.folded !== folded(index))) return undefined;
  }
  return names ?? NO_NAMES;
}

/** As file systems and servers without case compare: also the letters beyond ASCII whose capital is an ASCII one. */
function fold(text: string): string {
  return text.toUpperCase().toLowerCase();
}

function hostTest(pattern: string | undefined): ((host: string | undefined) => boolean) | undefined {
  if (pattern === undefined) return undefined;
  const withPort = /:\d{1,5}$/.test(pattern);
  const below = pattern.startsWith('*.') ? pattern.slice(1) : undefined;
  return (host) => {
    if (host === undefined) return false;
    const mark = host.lastIndexOf(':');
    const cut = mark < 0 || host.endsWith(']') ? host.length : mark;
    const name = host.slice(0, cut).toLowerCase();
    const wanted = `${name.endsWith('.') ? name.slice(0, -1) : name}${withPort ? host.slice(cut) : ''}`;
    return below === undefined ? wanted === pattern : wanted.length > below.length && wanted.endsWith(below);
  };
}

function fits(value: string | undefined, wanted: string): boolean {
  return value !== undefined && (wanted === '*' || value === wanted);
}
