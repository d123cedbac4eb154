import { type Micros, plus } from '../core/time.ts';
import { BodyStore } from './body/body-store.ts';
import type { BufferedBody } from './body/buffered-body.ts';
import { WatchLater } from './body/watch-later.ts';
import { JSON_BYTES_MAX, readsBody } from './costs.ts';
import { ForwardedRequest } from './forwarded-request.ts';
import type { Forwarding, ForwardingDeps, ForwardingOptions, TakenRequest, TunnelSink } from './forwarding.ts';
import { requestHeaders } from './headers.ts';
import type { ForwardHandle, IncomingRequest, ResponseSink } from './incoming.ts';
import { RequestTrace, traceContextIn } from './request-trace.ts';
import type { BackendSpec, Route } from './route.ts';
import { createTraceparents } from './trace-context.ts';
import { UpgradeRequest } from './upgrade-request.ts';
import { type Backend, BackendRegistry } from './upstream/backend.ts';

/**
 * Joins the parts of forwarding. The life of a held request:
 *
 *     hold ─▶ acquire ─▶ a URL ─▶ forward ─▶ answer ─▶ release
 *               ▲                    │
 *               └── pushed back, or failed and may be repeated
 *
 * Rejects, saying what to do, when the folder for held bodies cannot be used.
 */
export async function createForwarding(options: ForwardingOptions): Promise<Forwarding> {
  const { clock, random, onError } = options;
  const hold = await BodyStore.open({ clock, random, onError, ...options.hold });
  const delivering = { ...options, traceparent: createTraceparents(random), passes: new WatchLater(clock) };
  return new Deliveries(delivering, hold, new BackendRegistry(options.backends, options));
}

class Deliveries implements Forwarding {
  readonly #deps: ForwardingDeps;
  readonly #hold: BodyStore;
  readonly #lines: BackendRegistry;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(deps: ForwardingDeps, hold: BodyStore, lines: BackendRegistry) {
    this.#deps = deps;
    this.#hold = hold;
    this.#lines = lines;
  }

  get held() {
    return this.#hold.used;
  }

  deliver(incoming: IncomingRequest, route: Route, sink: ResponseSink): ForwardHandle {
    const line = this.#lines.of(route.backend);
    const body = this.#bodyOf(incoming, route);
    this.#begin(line);
    const { tracer } = this.#deps;
    const trace = tracer && new RequestTrace(tracer, incoming, route);
    const traced = trace === undefined ? incoming : { ...incoming, trace: trace.context };
    const run = new ForwardedRequest({ deps: this.#deps, incoming: traced, route, line, body, sink, trace, over: this.#over });
    run.begin();
    return run;
  }

  take(incoming: IncomingRequest, route: Route): TakenRequest | undefined {
    const { facts } = incoming;
    // A span of the submission takes the place of one that is made up.
    const traceparent = this.#deps.tracer === undefined ? this.#deps.traceparent : undefined;
    const headers = requestHeaders(incoming.headers, { facts, attempt: undefined, fence: undefined, drops: route.drops, traceparent });
    return headers && { headers, body: this.#bodyOf(incoming, route) };
  }

  tunnel(incoming: IncomingRequest, route: Route, sink: TunnelSink): ForwardHandle {
    const line = this.#lines.of(route.backend);
    this.#begin(line);
    const traced = this.#deps.tracer === undefined ? incoming : { ...incoming, trace: traceContextIn(incoming.headers) };
    const run = new UpgradeRequest({ deps: this.#deps, incoming: traced, route, line, body: undefined, sink, over: this.#over });
    run.begin();
    return run;
  }

  prepare(backends: readonly BackendSpec[]): () => void {
    return this.#lines.prepare(backends);
  }

  async close(grace?: Micros): Promise<void> {
    if (this.#running > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#idle = resolve;
      const { clock } = this.#deps;
      const stop = grace === undefined ? undefined : clock.at(plus(clock.now(), grace), () => this.#lines.abortAll());
      await promise;
      stop?.();
    }
    await this.#lines.close();
  }

  #bodyOf({ body }: IncomingRequest, { admission, hold }: Route): BufferedBody | undefined {
    if (body === undefined) return undefined;
    // A body whose JSON is to be read stays in memory as far as it is read.
    const limits = admission !== undefined && readsBody(admission.costs) ? { ...hold, memoryBytesMax: Math.max(hold.memoryBytesMax, JSON_BYTES_MAX) } : hold;
    return this.#hold.body(body, admission?.group ?? '', limits);
  }

  #begin(line: Backend): void {
    line.enter();
    this.#running++;
  }

  readonly #over = (line: Backend): void => {
    line.leave();
    this.#running--;
    if (this.#running === 0) this.#idle?.();
  };
}
