/** One stretch of an open loop. */
export interface Phase {
  readonly name: string;
  readonly perSecond: number;
  readonly seconds: number;
  /** So many new connections at once, each second, each with one request beside the others. */
  readonly storm: number;
}

/** What the generator is to do: requests at fixed instants, whatever becomes of those before. */
export interface Plan {
  readonly port: number;
  readonly path: string;
  /** Of each request's body. */
  readonly bytes: number;
  /** Opened before the first request. */
  readonly connections: number;
  /** A request for which there is none left is not sent, and counted. */
  readonly connectionsMax: number;
  /** An answer that comes later is none. */
  readonly waitTimeoutMs: number;
  readonly phases: readonly Phase[];
}

/** What came of one phase. Latencies in milliseconds, from the instant a request was due, not from when it was sent. */
export interface PhaseFigures {
  readonly name: string;
  readonly due: number;
  /** 2xx within wait timeout. */
  readonly good: number;
  readonly goodMs: Latencies;
  /** 429 and 503. */
  readonly shed: number;
  readonly shedMs: Latencies;
  readonly shedWithoutRetryAfter: number;
  /** Other statuses, answers after wait timeout, broken connections, and those not sent. */
  readonly others: Readonly<Record<string, number>>;
  /** How late the requests were sent themselves. */
  readonly lateMs: Latencies;
  /** By `Date.now()`. */
  readonly began: number;
  readonly ended: number;
  /** Since its beginning: the first of 300 ms in each tenth of a second of which 99 % were answered 2xx, none slower than twice the p99 of the phase `before` and 10 ms. undefined: never. */
  readonly wellAfterMs: number | undefined;
}

/** Quantiles; NaN of nothing, which JSON makes null. */
export interface Latencies {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly most: number;
}
