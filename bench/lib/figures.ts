/** Middle of some figures; NaN of none. */
export function median(figures: readonly number[]): number {
  return quantile(figures, 0.5);
}

/** Figure below which that part of all lies, by linear interpolation. */
export function quantile(figures: readonly number[], part: number): number {
  const sorted = Float64Array.from(figures).sort();
  const at = (sorted.length - 1) * part;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}

/** A median with what it may be worth. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** 95 % interval of the median by bootstrap, with a fixed seed. */
  readonly low: number;
  readonly high: number;
}

/** Median, range and bootstrap interval. */
export function spread(figures: readonly number[]): Spread {
  const next = xorshift(20_260_101);
  const medians = Array.from({ length: 2_000 }, () => median(figures.map(() => figures[next() % figures.length] ?? Number.NaN)));
  return {
    median: median(figures),
    least: Math.min(...figures),
    most: Math.max(...figures),
    low: quantile(medians, 0.025),
    high: quantile(medians, 0.975),
  };
}

/** Whole numbers below 2^32 that look random and are the same in every run. */
export function xorshift(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** With so many digits that there are three. */
export function short(figure: number): string {
  if (!Number.isFinite(figure)) return '-';
  const size = Math.abs(figure);
  return figure.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** A table in Markdown. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((instances) => `| ${instances.join(' | ')} |`).join('\n');
}

/** Processor time of this thread so far in milliseconds: what a machine shared with others does not change much. */
export function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
