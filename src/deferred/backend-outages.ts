import type { Clock } from '../admission/clock.ts';
import { type Instant, MILLISECOND, plus } from '../core/time.ts';
import { type AttemptOutcome, saysDown } from './deferred-route.ts';

/** What the outages of backends are noticed by. */
export interface OutagesDeps {
  readonly clock: Clock;
  /** Failed attempts in a row, over all URLs, after which a backend is down. */
  readonly after: number;
  /** Between two probes, at most. */
  readonly probeMs: number;
  readonly onDown: (backend: string) => void;
  readonly onUp: (backend: string) => void;
  /** Sends one request to see whether the backend answers: the oldest, or with `another` the next after the last probe. Returns false if there is none to send. */
  readonly probe: (backend: string, another: boolean) => boolean;
}

/**
 * Backends that are down: after that many failed attempts in a row, one request probes at a time, and no other is sent.
 * Neither the probe nor the attempts that found the outage count against a request while it lasts.
 */
export class BackendOutages {
  readonly #deps: OutagesDeps;
  readonly #failures = new Map<string, number>();
  readonly #down = new Map<string, () => void>();
  readonly #probeAt = new Map<string, Instant>();
  /** Backends that took the last connection: what failed may be the request's own fault. */
  readonly #connected = new Set<string>();
  #stopped = false;

  constructor(deps: OutagesDeps) {
    this.#deps = deps;
  }

  isDown(backend: string): boolean {
    return this.#down.has(backend);
  }

  /** When the next request probes a backend that is down, at the latest; undefined: it is not down. */
  probeAt(backend: string): Instant | undefined {
    return this.#down.has(backend) ? this.#probeAt.get(backend) : undefined;
  }

  get down(): readonly string[] {
    return [...this.#down.keys()];
  }

  /** Counts how an attempt ended. Returns true if the backend is down now: the attempt is not to be counted against its request. */
  note(backend: string, outcome: AttemptOutcome): boolean {
    if (outcome.kind === 'failed' && (outcome.error === 'aborted' || outcome.error === 'store')) return this.isDown(backend);
    if (!saysDown(outcome)) {
      this.#failures.delete(backend);
      const stop = this.#down.get(backend);
      if (stop === undefined) return false;
      stop();
      this.#down.delete(backend);
      this.#probeAt.delete(backend);
      this.#deps.onUp(backend);
      return false;
    }
    if (outcome.kind === 'failed' && outcome.error === 'connect') this.#connected.delete(backend);
    else this.#connected.add(backend);
    const failures = (this.#failures.get(backend) ?? 0) + 1;
    this.#failures.set(backend, failures);
    if (this.isDown(backend)) return true;
    if (failures < this.#deps.after) return false;
    this.#down.set(backend, () => {});
    this.#deps.onDown(backend);
    this.#probeLater(backend);
    return true;
  }

  stop(): void {
    this.#stopped = true;
    for (const stop of this.#down.values()) stop();
  }

  #probeLater(backend: string): void {
    const { clock, probeMs } = this.#deps;
    const at = plus(clock.now(), probeMs * MILLISECOND);
    this.#probeAt.set(backend, at);
    const stop = clock.at(at, () => {
      if (this.#stopped || !this.#down.has(backend)) return;
      this.#deps.probe(backend, this.#connected.has(backend));
      this.#probeLater(backend);
    });
    this.#down.set(backend, stop);
  }
}
