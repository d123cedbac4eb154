import type { Timing } from './clock.ts';
import { SluiceLeaseLost, SluiceRefused } from './errors.ts';

/** A lease to be kept. */
export interface KeptLease {
  /** Its length in milliseconds; undefined: there is none, or no more. */
  leaseMs(): number | undefined;
  /** Milliseconds until it lapses. */
  leftMs(): number;
  /** Throws where it could not be renewed. */
  renew(): Promise<void>;
}

/** Reasons after which there is no lease any more. */
const OVER: ReadonlySet<string> = new Set(['fenced', 'unknown_permit', 'forbidden', 'malformed']);
/** A renewal that failed is tried again after a tenth of the lease, within these bounds. */
const AGAIN_MS = { least: 100, most: 5000 };

/**
 * Renews at each third of the lease, up to a thirtieth of it early. `lost` is aborted when the lease is over: the server said
 * so, or its time ran out on this side. `stop` ends it without that.
 */
export function keepAlive(timing: Timing, lease: KeptLease): { readonly lost: AbortSignal; stop(): void } {
  const over = new AbortController();
  let failed: unknown;
  let cancelRenewal = (): void => {};
  let cancelEnd = (): void => {};

  const stop = (): void => {
    cancelRenewal();
    cancelEnd();
    cancelEnd = NOTHING;
  };
  const lose = (): void => {
    stop();
    over.abort(new SluiceLeaseLost('The lease is lost: another caller may hold it now', { cause: failed }));
  };
  const renew = async (): Promise<void> => {
    try {
      await lease.renew();
      if (cancelEnd !== NOTHING) begin();
    } catch (cause) {
      failed = cause;
      if (cancelEnd === NOTHING) return;
      if (lease.leftMs() <= 0 || (cause instanceof SluiceRefused && OVER.has(cause.reason))) return lose();
      const again = Math.min(AGAIN_MS.most, Math.max(AGAIN_MS.least, (lease.leaseMs() ?? 0) / 10));
      cancelRenewal = timing.later(again * (0.5 + timing.random() / 2), () => void renew());
    }
  };
  const begin = (): void => {
    const length = lease.leaseMs();
    if (length === undefined) return;
    const left = lease.leftMs();
    failed = undefined;
    cancelEnd();
    // An answer that was long under way may seem lapsed already: it gets one try.
    cancelEnd = left > 0 ? timing.later(left, lose) : () => {};
    cancelRenewal = timing.later(Math.max(0, length / 3 - (length - left) - (timing.random() * length) / 30), () => void renew());
  };
  begin();
  return { lost: over.signal, stop };
}

/** Stands for a keeping that has ended. */
const NOTHING = (): void => {};
