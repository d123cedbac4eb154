import type { WaitRange } from './errors.ts';

const UNITS: Readonly<Record<string, number>> = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001 };

/** `30s`, `1m30s`, `250ms`, `0` in milliseconds. Throws a RangeError for what is no duration with a unit. */
export function toMillis(text: string): number {
  if (text === '0') return 0;
  if (!/^(\d+(\.\d+)?(w|d|h|ms|us|m|s))+$/.test(text)) throw new RangeError(`${JSON.stringify(text)} is not a duration; write for example 30s or 250ms`);
  let millis = 0;
  for (const [, number, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(w|d|h|ms|us|m|s)/gy)) millis += Number(number) * (UNITS[unit] ?? Number.NaN);
  return millis;
}

/** Milliseconds as Sluice reads them, in whole ones, rounded up. */
export function fromMillis(millis: number): string {
  return `${Math.ceil(millis)}ms`;
}

/** As {@link toMillis} for what a server sent; undefined: it sent none, or none that can be parsed. */
export function parseServerDuration(text: unknown): number | undefined {
  try {
    return typeof text === 'string' ? toMillis(text) : undefined;
  } catch {
    return undefined;
  }
}

/** A range of durations of the server; undefined: none, or not of this form. */
export function parseServerRange(range: unknown): WaitRange | undefined {
  const { earliest, latest } = (range ?? {}) as { readonly earliest?: unknown; readonly latest?: unknown };
  const [earliestMs, latestMs] = [parseServerDuration(earliest), parseServerDuration(latest)];
  return earliestMs === undefined || latestMs === undefined ? undefined : { earliestMs, latestMs };
}
