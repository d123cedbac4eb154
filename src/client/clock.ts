/** Time and chance as the client sees them; tests hand in their own. */
export interface Timing {
  /** Milliseconds that only grow. */
  now(): number;
  /** Calls `act` once after `ms`, unless the answer is called before. */
  later(ms: number, act: () => void): () => void;
  /** 0 to 1, for jitter. */
  random(): number;
}

/** The machine's. */
export const systemClock: Timing = {
  now: () => performance.now(),
  later(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

/** Resolves after `ms`; rejects with the signal's reason when that comes first. */
export function sleep(timing: Timing, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const gone = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = timing.later(ms, () => {
      signal?.removeEventListener('abort', gone);
      resolve();
    });
    signal?.addEventListener('abort', gone, { once: true });
  });
}
