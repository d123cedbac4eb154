/** What a request must be for a route to take it; everything that is said must fit. */
export interface RouteMatch {
  /** Lower case: a name, or `*.name` for every name below it; a port only where it counts. undefined: any. */
  readonly host: string | undefined;
  /** `/words/{name}/*`; undefined: any. */
  readonly path: string | undefined;
  readonly methods: readonly string[] | undefined;
  /** By name (case does not count); `*` is any value. */
  readonly headers: ReadonlyMap<string, string>;
}

/** What routing looks at. */
export interface RequestHead {
  readonly method: string;
  /** As sent, without the query. */
  readonly path: string;
  /** The Host field as sent; undefined: HTTP/1.0 without one. */
  readonly host: string | undefined;
  /** By lower-case name; repeated ones joined by `, `. */
  header(name: string): string | undefined;
}

/** The route that takes a request, and what stood where its pattern has names, percent-decoded. */
export interface Routed<R> {
  readonly route: R;
  readonly names: ReadonlyMap<string, string>;
}

/** Finds the first route that fits; undefined: none. */
export type Router<R> = (request: RequestHead) => Routed<R> | undefined;

type Step = { readonly word: string } | { readonly name: string } | 'any';

interface Pattern {
  readonly steps: readonly Step[];
  /** Ends in `/*`: whatever follows. */
  readonly open: boolean;
}

const NO_NAMES: ReadonlyMap<string, string> = new Map();

/** Joins routes to one look-up, in their order. Patterns must be well-formed (`config/route-leaves.ts`). */
export function createRouter<R extends { readonly match: RouteMatch }>(routes: readonly R[]): Router<R> {
  const compiled = routes.map((route) => ({
    route,
    hostFits: hostTest(route.match.host),
    methods: route.match.methods === undefined ? undefined : new Set(route.match.methods),
    pattern: route.match.path === undefined ? undefined : compile(route.match.path),
    headers: [...route.match.headers].map(([name, value]) => [name.toLowerCase(), value] as const),
  }));
  return (request) => {
    let segments: readonly string[] | undefined;
    for (const { route, hostFits, methods, pattern, headers } of compiled) {
      if (methods !== undefined && !methods.has(request.method)) continue;
      if (hostFits !== undefined && !hostFits(request.host)) continue;
      if (!headers.every(([name, value]) => fits(request.header(name), value))) continue;
      if (pattern === undefined) return { route, names: NO_NAMES };
      segments ??= comparable(request.path).slice(1).split('/');
      const names = namesOf(pattern, segments);
      if (names !== undefined) return { route, names };
    }
    return undefined;
  };
}

/**
 * The path as routes compare it (RFC 3986 6.2.2): dot segments removed, slashes merged, escapes of unreserved characters
 * undone, so that `/v1//chat` and `/v1/x/../%63hat` do not slip past the limits of `/v1/chat`. What is sent on stays as it came.
 */
export function comparable(path: string): string {
  if (!/%|\/\/|\/\./.test(path)) return path;
  const decoded = path.replaceAll(/%([0-9A-Fa-f]{2})/g, (whole, digits: string) => {
    const character = String.fromCharCode(Number.parseInt(digits, 16));
    return /[A-Za-z0-9._~-]/.test(character) ? character : whole.toUpperCase();
  });
  const kept: string[] = [];
  const segments = decoded.split('/').slice(1);
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '..') kept.pop();
    else if (segment !== '.' && segment !== '') kept.push(segment);
    if (last && (segment === '' || segment === '.' || segment === '..')) kept.push('');
  }
  return `/${kept.join('/')}`;
}

function compile(path: string): Pattern {
  const open = path.endsWith('/*');
  const words = (open ? path.slice(1, -2) : path.slice(1)).split('/');
  if (open && path === '/*') return { steps: [], open };
  return { steps: words.map((word) => (word === '*' ? 'any' : word.startsWith('{') ? { name: word.slice(1, -1) } : { word })), open };
}

function namesOf({ steps, open }: Pattern, segments: readonly string[]): ReadonlyMap<string, string> | undefined {
  if (open ? segments.length <= steps.length : segments.length !== steps.length) return undefined;
  let names: Map<string, string> | undefined;
  for (const [index, step] of steps.entries()) {
    const segment = segments[index] ?? '';
    if (step === 'any' || 'name' in step) {
      if (segment === '') return undefined;
      if (step === 'any') continue;
      names ??= new Map();
      names.set(step.name, decode(segment));
    } else if (step.word !== segment) return undefined;
  }
  return names ?? NO_NAMES;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // Escapes that are no UTF-8 stand for themselves.
  }
}

function hostTest(pattern: string | undefined): ((host: string | undefined) => boolean) | undefined {
  if (pattern === undefined) return undefined;
  const withPort = /:\d+$/.test(pattern);
  const below = pattern.startsWith('*.') ? pattern.slice(1) : undefined;
  return (host) => {
    if (host === undefined) return false;
    const [, name = '', port = ''] = /^(.*?)(:\d*)?$/.exec(host.toLowerCase()) ?? [];
    const wanted = `${name.replace(/\.$/, '')}${withPort ? port : ''}`;
    return below === undefined ? wanted === pattern : wanted.length > below.length && wanted.endsWith(below);
  };
}

function fits(value: string | undefined, wanted: string): boolean {
  return value !== undefined && (wanted === '*' || value === wanted);
}
