import { awaitAdmission, type Place } from './acquire.ts';
import { sleep, systemClock, type Timing } from './clock.ts';
import { toMillis } from './duration.ts';
import { SluiceLeaseLost, SluiceRefused, SluiceUnreachable, type WaitRange } from './errors.ts';
import { HttpTransport } from './http.ts';
import { Permit, type ReleaseOptions } from './permit.ts';
import {
  createRequests,
  type DeferredRequest,
  type DeferredResponse,
  type RequestQuery,
  type RequestStateName,
  type Requests,
  type RequestTry,
  type SubmitOptions,
  type Ticket,
} from './requests.ts';

export type {
  DeferredRequest,
  DeferredResponse,
  Permit,
  Place,
  ReleaseOptions,
  RequestQuery,
  RequestStateName,
  Requests,
  RequestTry,
  SubmitOptions,
  Ticket,
  Timing,
};
export { SluiceLeaseLost, SluiceRefused, SluiceUnreachable, type WaitRange };

/** Where the server is, and who calls. */
export interface SluiceOptions {
  /** Of the `api` listener, as `http://127.0.0.1:8080`. */
  readonly address: string;
  /** API key, or how to get it: asked for at each call. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** Name of the caller, for people who look at waiters and leases. */
  readonly holder?: string | undefined;
  /** In place of the global one. */
  readonly fetch?: typeof fetch;
  /** For tests. */
  readonly timing?: Timing;
}

/** One acquire. Durations are written with a unit: `30s`, `250ms`, `1m30s`. */
export interface AcquireOptions {
  /** Wait timeout: how long to wait in the queue at most; `0`: now or not at all. Absent: the group's default. */
  readonly ttl?: string | undefined;
  /** Partition of the group: a tenant, a shard's bucket. */
  readonly key?: string | undefined;
  /** 0 (most urgent) to 999, or the name of one of the group's classes. */
  readonly priority?: number | string | undefined;
  /** The name of one of the group's classes, as in the file; in place of `priority`, not beside it. */
  readonly class?: string | undefined;
  /** What it spends, by unit. `requests` counts 1 where it is not named. */
  readonly costs?: Readonly<Record<string, number>> | undefined;
  /** Life of the lease where the group limits concurrency. Absent: the group's default. */
  readonly lease?: string | undefined;
  /** In place of the client's. */
  readonly holder?: string | undefined;
  /** In place of one made by chance: the same id again finds the same place, or the same permit. */
  readonly requestId?: string | undefined;
  /** Gives the place up, at once. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the queue position while the request waits, at each change. */
  readonly onPlace?: ((place: Place) => void) | undefined;
  /** Tries again after refusals that pass (`shed`, `expired`, ...) and while no server answers, no earlier than Retry-After, for so long. Absent: never. */
  readonly retry?: { readonly for: string } | undefined;
}

/** A client of one Sluice. */
export interface Sluice {
  /**
   * Held until the group's limits let it pass. A connection that is cut comes back to the same place. Throws SluiceRefused,
   * SluiceUnreachable, or the signal's reason once the place was given up; RangeError for a duration that is none.
   */
  acquire(group: string, options?: AcquireOptions): Promise<Permit>;
  /**
   * Acquires, does the work while the lease is kept alive, and releases as `used`, whether the work succeeds or throws; for
   * another outcome release within it. `lost` is aborted when the lease is lost.
   */
  withPermit<T>(group: string, options: AcquireOptions, work: (permit: Permit, lost: AbortSignal) => T | Promise<T>): Promise<T>;
  /** Requests that are stored now and delivered later. */
  readonly requests: Requests;
}

/** Makes a client; nothing is sent yet. Throws a TypeError for an `address` that is no absolute URL of http or https. Works in Node and browsers, over plain HTTP. */
export function createSluice(options: SluiceOptions): Sluice {
  const { address, token, holder, fetch: send = globalThis.fetch, timing = systemClock } = options;
  const wire = new HttpTransport({ address: absolute(address), token, fetch: send, timing });
  const acquire = (group: string, options: AcquireOptions = {}): Promise<Permit> =>
    acquireFrom(wire, timing, group, { ...options, holder: options.holder ?? holder });
  return {
    acquire,
    async withPermit(group, options, work) {
      const permit = await acquire(group, options);
      try {
        return await work(permit, permit.keepAlive());
      } finally {
        // What came of the work matters more; a lease that cannot be released lapses.
        await permit.release().catch(() => false);
      }
    },
    requests: createRequests(wire, timing),
  };
}

function absolute(address: string): string {
  if (/^https?:/i.test(String(address)) && URL.canParse(address)) return new URL(address).href;
  throw new TypeError(`\`address\` is ${JSON.stringify(address) ?? 'missing'}; give the URL of the server's api listener, such as http://127.0.0.1:8080.`);
}

const RETRY_MS = { least: 100, unknown: 1000 };

async function acquireFrom(wire: HttpTransport, timing: Timing, group: string, options: AcquireOptions): Promise<Permit> {
  const { ttl, class: named, priority = named, signal, onPlace, requestId = crypto.randomUUID(), retry, key, costs, lease, holder } = options;
  if (named !== undefined && priority !== named) throw new RangeError('Give either `priority` or `class`, not both.');
  const urgency = typeof priority === 'string' ? { priorityClass: priority } : { priority };
  const fields = { key, costs, lease, holder, ...urgency };
  const giveUpAt = retry === undefined ? 0 : timing.now() + toMillis(retry.for);
  for (;;) {
    const failed = await awaitAdmission(wire, timing, { group, requestId, ttl, fields, signal, onPlace }).then(
      (answer) => (answer.kind === 'granted' ? new Permit({ wire, timing, group, ...answer }) : answer.refusal),
      (error: unknown) => {
        if (error instanceof SluiceUnreachable) return error;
        throw error;
      },
    );
    if (failed instanceof Permit) return failed;
    if (failed instanceof SluiceRefused && !failed.isPassing) throw failed;
    const after = failed instanceof SluiceRefused ? failed.retryAfterMs : undefined;
    const wait = Math.max(RETRY_MS.least, after ?? RETRY_MS.unknown) * (1 + timing.random() / 10);
    if (timing.now() + wait > giveUpAt) throw failed;
    await sleep(timing, wait, signal);
  }
}
