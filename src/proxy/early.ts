import type { Explanation } from '../admission/admission.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Micros, SECOND } from '../core/time.ts';

/** A sender is prompt whose rest, at its speed so far, is here within this long. */
const PROMPT: Micros = SECOND;
/** A prompt sender that holds a slot, and is not whole within this long of its own time, is cut. */
export const FAST_UPLOAD_MAX: Micros = 10 * SECOND;

/** How far a body is. */
export interface Progress {
  /** Its Content-Length. */
  readonly announced: number;
  readonly received: number;
  /** Since its head came. */
  readonly took: Micros;
}

/** How much must be there before a body may stream. */
export function minBufferedBytes(memoryBytesMax: number): number {
  return Math.ceil(memoryBytesMax / 2);
}

/**
 * Whether a body, charged when it is there, has to be there whole: not where its request would pass this moment (`explained`)
 * and its sender holds nothing by being slow, for a rate is spent in an instant. Where it would hold a slot (a limit of
 * concurrency, a backend's `concurrency`: `slots`), only where it has shown to be prompt: `hurry`, the rest must come soon.
 */
export function canStream({ announced, received, took }: Progress, slots: boolean, explained: Explanation | Refusal): 'yes' | 'hurry' | 'no' {
  if ('reason' in explained || !explained.admitted) return 'no';
  if (!slots && explained.limits.every(({ kind }) => kind !== 'concurrency')) return 'yes';
  return (announced - received) * took <= PROMPT * received ? 'hurry' : 'no';
}
