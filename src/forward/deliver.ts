import { after, type Micros } from '../core/time.ts';
import { type BackendLine, BackendLines } from './backend-line.ts';
import { JSON_BYTES_MAX, readsBody } from './costs.ts';
import type { Delivering, DeliveryParts, Forwarding, TakenRequest, TunnelSink } from './forwarding.ts';
import { createTraceparents, requestHeaders } from './headers.ts';
import { Hold } from './hold.ts';
import type { HoldingBody } from './holding-body.ts';
import type { CallerSink, Delivery, IncomingRequest } from './incoming.ts';
import { Newcomers } from './newcomers.ts';
import type { BackendSpec, Route } from './route.ts';
import { Run } from './run.ts';
import { TunnelRun } from './tunnel-run.ts';

/**
 * Joins the parts of forwarding. The life of a held request:
 *
 *     hold ─▶ acquire ─▶ a URL ─▶ forward ─▶ answer ─▶ release
 *               ▲                    │
 *               └── pushed back, or failed and may be repeated
 *
 * Rejects, saying what to do, when the folder for held bodies cannot be used.
 */
export async function createForwarding(parts: DeliveryParts): Promise<Forwarding> {
  const { clock, random, onFault } = parts;
  const hold = await Hold.open({ clock, random, onFault, ...parts.hold });
  const delivering = { ...parts, traceparent: createTraceparents(random), passes: new Newcomers(clock) };
  return new Deliveries(delivering, hold, new BackendLines(parts.backends, parts));
}

class Deliveries implements Forwarding {
  readonly #parts: Delivering;
  readonly #hold: Hold;
  readonly #lines: BackendLines;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(parts: Delivering, hold: Hold, lines: BackendLines) {
    this.#parts = parts;
    this.#hold = hold;
    this.#lines = lines;
  }

  get held() {
    return this.#hold.used;
  }

  deliver(incoming: IncomingRequest, route: Route, sink: CallerSink): Delivery {
    const line = this.#lines.of(route.backend);
    const body = this.#bodyOf(incoming, route);
    this.#begin(line);
    const run = new Run({ parts: this.#parts, incoming, route, line, body, sink, over: this.#over });
    run.begin();
    return run;
  }

  take(incoming: IncomingRequest, route: Route): TakenRequest | undefined {
    const { facts } = incoming;
    const headers = requestHeaders(incoming.headers, { facts, attempt: undefined, fence: undefined, traceparent: this.#parts.traceparent });
    return headers && { headers, body: this.#bodyOf(incoming, route) };
  }

  tunnel(incoming: IncomingRequest, route: Route, sink: TunnelSink): Delivery {
    const line = this.#lines.of(route.backend);
    this.#begin(line);
    const run = new TunnelRun({ parts: this.#parts, incoming, route, line, body: undefined, sink, over: this.#over });
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
      const { clock } = this.#parts;
      const stop = grace === undefined ? undefined : clock.at(after(clock.now(), grace), () => this.#lines.cut());
      await promise;
      stop?.();
    }
    await this.#lines.close();
  }

  #bodyOf({ body }: IncomingRequest, { admission, hold }: Route): HoldingBody | undefined {
    if (body === undefined) return undefined;
    // A body whose JSON is to be read stays in memory as far as it is read.
    const limits = admission !== undefined && readsBody(admission.costs) ? { ...hold, memoryBytesMax: Math.max(hold.memoryBytesMax, JSON_BYTES_MAX) } : hold;
    return this.#hold.body(body, admission?.group ?? '', limits);
  }

  #begin(line: BackendLine): void {
    line.enter();
    this.#running++;
  }

  readonly #over = (line: BackendLine): void => {
    line.leave();
    this.#running--;
    if (this.#running === 0) this.#idle?.();
  };
}
