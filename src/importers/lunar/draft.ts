import type { Plain } from '../../config/source-value.ts';
import type { SourceNode } from '../source-node.ts';
import { type Address, byParticularity } from './address.ts';

/** How the import was asked for. */
export interface LunarOptions {
  /** `rolling`: at most the number in any interval; `fixed`: side by side, as in Lunar, with up to twice the number around an edge. */
  readonly windows: 'rolling' | 'fixed';
  /** Takes requests of a remedy without a known priority group for the most urgent, as Lunar does. */
  readonly compat: boolean;
  /** Where requests to a host go, by host; https://HOST if it is not there. */
  readonly backends: ReadonlyMap<string, string>;
  /** Where all other requests go, and those of rules for any host; undefined: such rules are mistakes. */
  readonly fallback: string | undefined;
  /** IANA name of the time zone that Lunar's `Local` stands for. */
  readonly timezone: string;
}

/** Names and values in the order of the file. */
export type Options = { readonly [name: string]: Plain };

/** A route that is to be written. */
export interface RouteDraft {
  readonly address: Address;
  readonly methods: readonly string[];
  /** Headers that must be there. */
  readonly headers: Options;
  /** What follows `match`; its backend is added. */
  readonly options: Options;
}

/** Headers in which a backend says what is left of its quota (`backends.NAME.quotaHeaders`). */
export interface QuotaHeaders {
  readonly remaining?: string;
  readonly reset?: string;
  readonly retryAfter?: string;
}

/** Lunar's own fields end at its gateway. */
const DROPS: Options = { dropHeaders: ['x-lunar-*'] };

/** The configuration that is being made. */
export class Draft {
  readonly options: LunarOptions;
  readonly notes: string[] = [];
  readonly #groups = new Map<string, Options>();
  readonly #routes: RouteDraft[] = [];
  /** What routes take already. */
  readonly #taken = new Set<string>();
  readonly #backends = new Map<string, { readonly name: string; readonly url: string; headers: QuotaHeaders }>();

  constructor(options: LunarOptions) {
    this.options = options;
  }

  get hasRoutes(): boolean {
    return this.#routes.length > 0;
  }

  /** Adds a group. Returns its name: the wanted one, as far as it can be a name and is free. */
  group(wanted: string, options: Options): string {
    const name = freeName(wanted, (each) => this.#groups.has(each));
    this.#groups.set(name, options);
    return name;
  }

  /** Adds a route; reports a rule for hosts of which it is not known where they are. `at` is its URL. */
  route(draft: RouteDraft, at: SourceNode): void {
    if (this.#backendOf(draft.address.host, at) === undefined) return;
    const { address, methods, headers } = draft;
    const key = JSON.stringify([address, [...methods].sort(), Object.entries(headers).sort()]);
    if (this.#taken.has(key)) {
      at.overrule('a rule before this one takes the same requests: only that one counts');
      this.notes.push(`${at.where.source}:${at.where.line}: a rule before this one takes the same requests: only that one counts.`);
      return;
    }
    this.#taken.add(key);
    this.#routes.push(draft);
  }

  /** Has answers of a host's backend looked at for what is left of its quota. */
  quotaHeaders(host: string | undefined, headers: QuotaHeaders, at: SourceNode): void {
    const backend = this.#backendOf(host, at);
    if (backend !== undefined) backend.headers = { ...backend.headers, ...headers };
  }

  /** Returns the whole configuration; requests of known hosts that no rule takes go straight through, as in Lunar. */
  config(): Options {
    const routes = this.#routes.map((draft, index) => ({ draft, index })).sort((a, b) => compareRoutes(a.draft, b.draft) || a.index - b.index);
    const written: Plain[] = routes.map(({ draft }) => ({
      ...matchOf(draft),
      ...draft.options,
      ...DROPS,
      backend: this.#backends.get(draft.address.host ?? '')?.name ?? '',
    }));
    for (const [host, { name }] of this.#backends) if (!this.#takesAll(host)) written.push({ match: { host }, ...DROPS, backend: name });
    const backends = [...this.#backends.values()].map(({ name, url, headers }) => [
      name,
      { urls: [url], ...(Object.keys(headers).length > 0 && { quotaHeaders: headers as Options }) },
    ]);
    return {
      listen: { api: 'none', grpc: 'none', proxy: 8000 },
      backends: Object.fromEntries(backends) as Options,
      groups: Object.fromEntries(this.#groups) as Options,
      routes: written,
    };
  }

  /** Whether a route takes every request to a host; '' is any host. */
  #takesAll(host: string): boolean {
    return (
      host === '' ||
      this.#routes.some(({ address, methods, headers }) => {
        const all = address.path === undefined && methods.length === 0 && Object.keys(headers).length === 0;
        return all && (address.host === undefined || address.host === host);
      })
    );
  }

  #backendOf(host: string | undefined, at: SourceNode) {
    const known = this.#backends.get(host ?? '');
    if (known !== undefined) return known;
    const { backends, fallback } = this.options;
    const usual = host === undefined || host.startsWith('*') ? undefined : `https://${host}`;
    const url = (host === undefined ? undefined : backends.get(host)) ?? fallback ?? usual;
    if (url === undefined) {
      const which = host === undefined ? '' : `${host}=`;
      at.mistake('it is not known where these requests go', `Say so: --backend ${which}https://api.example.com.`);
      return undefined;
    }
    const taken = new Set([...this.#backends.values()].map(({ name }) => name));
    const made = { name: freeName(host?.replace(/^\*\./, '') ?? 'default', (each) => taken.has(each)), url, headers: {} };
    this.#backends.set(host ?? '', made);
    return made;
  }
}

function matchOf({ address: { host, path }, methods, headers }: RouteDraft): Options {
  const match: Options = {
    ...(host !== undefined && { host }),
    ...(path !== undefined && { path }),
    ...(methods.length > 0 && { methods }),
    ...(Object.keys(headers).length > 0 && { header: headers }),
  };
  return Object.keys(match).length === 0 ? {} : { match };
}

function compareRoutes(a: RouteDraft, b: RouteDraft): number {
  const conditions = ({ methods, headers }: RouteDraft): number => Object.keys(headers).length * 2 + (methods.length > 0 ? 1 : 0);
  return byParticularity(a.address, b.address) || conditions(b) - conditions(a);
}

/** Returns a name of groups, backends and routes near to `wanted` that is not taken. */
function freeName(wanted: string, taken: (name: string) => boolean): string {
  const base =
    wanted
      .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 110) || 'unnamed';
  if (!taken(base)) return base;
  for (let number = 2; ; number++) if (!taken(`${base}-${number}`)) return `${base}-${number}`;
}
