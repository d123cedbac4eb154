import { isDeepStrictEqual } from 'node:util';
import type { ForwardEvent } from '../forwarding.ts';
import type { BackendSpec } from '../route.ts';
import type { Forwarder } from './forwarder.ts';
import { LoadBalancer } from './load-balancer.ts';

/** What the lines of all backends are made of. */
export interface BackendRegistryDeps {
  /** Makes the forwarder of a backend. */
  readonly forwarder: (spec: BackendSpec) => Forwarder;
  readonly events: (event: ForwardEvent) => void;
  readonly onError: (error: unknown) => void;
}

/** One backend at work: its description, the choice of its URLs, and its forwarder. A request that may send through it enters, and leaves. */
export class Backend {
  readonly spec: BackendSpec;
  readonly choice: LoadBalancer;
  readonly forwarder: Forwarder;
  readonly #report: (event: ForwardEvent) => void;
  #users = 0;
  #next: Backend | undefined;
  /** Set once it is replaced or gone: what is done when no request uses it any more. */
  #whenUnused: (() => void) | undefined;

  constructor(spec: BackendSpec, { forwarder, events }: BackendRegistryDeps) {
    this.spec = spec;
    this.#report = events;
    this.choice = new LoadBalancer(spec, ({ kind, url }) => {
      // Events of a URL that is no longer configured are dropped.
      if (this.#whenUnused === undefined) this.#event(kind, url);
    });
    this.forwarder = forwarder(spec);
  }

  enter(): void {
    this.#users++;
  }

  leave(): void {
    this.#users--;
    if (this.#users === 0) this.#whenUnused?.();
  }

  /** Moves one who has entered to the line that stands in place of this one now; itself while there is no other. */
  moved(): Backend {
    let line: Backend = this;
    while (line.#next !== undefined) line = line.#next;
    // That one may be gone too, and its connections closed.
    if (line === this || line.#whenUnused !== undefined) return this;
    line.enter();
    this.leave();
    return line;
  }

  /** Another is in its place from now on, or none; `unused` is called once no request is on its way through it. */
  retire(next: Backend | undefined, unused: () => void): void {
    for (const url of this.choice.ejected) this.#event('restored', url);
    this.#next = next;
    this.#whenUnused = unused;
    if (this.#users === 0) unused();
  }

  #event(kind: 'ejected' | 'restored', url: number): void {
    this.#report({ kind, backend: this.spec.name, url: this.spec.urls[url] ?? '' });
  }
}

/** The backends by name, and those that were replaced until their last request has ended. */
export class BackendRegistry {
  readonly #deps: BackendRegistryDeps;
  #lines: ReadonlyMap<string, Backend>;
  readonly #retired = new Set<Backend>();

  constructor(specs: readonly BackendSpec[], deps: BackendRegistryDeps) {
    this.#deps = deps;
    this.#lines = new Map(specs.map((spec) => [spec.name, new Backend(spec, deps)]));
  }

  /** Throws where there is none of that name: routes were checked. */
  of(backend: string): Backend {
    const line = this.#lines.get(backend);
    if (line === undefined) throw new Error(`No backend is called ${backend}.`);
    return line;
  }

  /** Makes what is new of these; answers what puts all of them, and no others, in force. One that is as it was keeps its connections and what is known of its URLs. */
  prepare(specs: readonly BackendSpec[]): () => void {
    const before = this.#lines;
    const same = (spec: BackendSpec): Backend | undefined => {
      const line = before.get(spec.name);
      return line !== undefined && isDeepStrictEqual(line.spec, spec) ? line : undefined;
    };
    const after = new Map(specs.map((spec) => [spec.name, same(spec) ?? new Backend(spec, this.#deps)]));
    return () => {
      this.#lines = after;
      for (const [name, line] of before) if (after.get(name) !== line) this.#retire(line, after.get(name));
    };
  }

  /** Closes the connections of all. */
  async close(): Promise<void> {
    await Promise.all(this.#all().map(({ forwarder }) => forwarder.close()));
  }

  /** Gives up every request on its way. */
  abortAll(): void {
    for (const { forwarder } of this.#all()) forwarder.cut();
  }

  #all(): readonly Backend[] {
    return [...this.#lines.values(), ...this.#retired];
  }

  #retire(line: Backend, next: Backend | undefined): void {
    this.#retired.add(line);
    line.retire(next, () => {
      line.forwarder
        .close()
        .catch(this.#deps.onError)
        .finally(() => this.#retired.delete(line));
    });
  }
}
