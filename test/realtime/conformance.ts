/**
 * Says from client-side stamps alone whether a server admitted too early; shares no code with the server. All times are
 * milliseconds of one monotonic clock.
 */

/** What a client knows of one admission: it happened somewhere between these two. */
export interface Seen {
  /** The ask was sent, and waited for so long as the permit says. */
  readonly earliest: number;
  /** The answer was there. */
  readonly latest: number;
}

/**
 * The worst certain excess over "at most `burst + floor(L / intervalMs)` in any interval L": admissions that lie wholly
 * inside some interval, less what may pass in it. 0 or less: none was early. O(n²).
 */
export function worstExcess(seen: readonly Seen[], intervalMs: number, burst = 1): number {
  const byEnd = [...seen].sort((a, b) => a.latest - b.latest);
  let worst = Number.NEGATIVE_INFINITY;
  for (const { earliest: start } of seen) {
    let inside = 0;
    for (const each of byEnd) {
      if (each.earliest < start) continue;
      inside += 1;
      const allowed = burst + Math.floor((each.latest - start) / intervalMs);
      worst = Math.max(worst, inside - allowed);
    }
  }
  return worst;
}
