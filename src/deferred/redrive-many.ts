import type { Refusal } from '../core/refusal.ts';

/** Dead letters redriven at once. */
const AT_ONCE = 64;

/** Answers the redrive of a request that was a dead letter when it was looked up, and is none any more. */
export const NOT_DEAD: Refusal = { reason: 'conflict', detail: 'This request is not a dead letter any more.' };

/** Answers the redrive of a request in another state. */
export function onlyDead(state: string): Refusal {
  return { reason: 'conflict', detail: `This request is ${state}: only a dead letter can be redriven.` };
}

/** Redrives a page of at most `size` dead letters from `token` on; returns what became of each, and where the list goes on. */
export type RedrivePage = (size: number, token: string) => Promise<{ readonly results: readonly (Refusal | undefined)[]; readonly next: string } | Refusal>;

/**
 * Redrives up to `max` dead letters page by page. Passes over those that another call took meanwhile; another refusal ends it, and is
 * the answer only if nothing was redriven before. What was redriven leaves the list, so the next token shows what came after it.
 */
export async function redriveMany(page: RedrivePage, max: number, token: string): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
  let redriven = 0;
  let next = token;
  do {
    const done = await page(Math.min(AT_ONCE, max - redriven), next);
    if ('reason' in done) return redriven === 0 ? done : { redriven, next };
    const failed = done.results.find((each) => each !== undefined && each.reason !== 'conflict' && each.reason !== 'gone');
    redriven += done.results.filter((each) => each === undefined).length;
    if (failed !== undefined) return redriven === 0 ? failed : { redriven, next };
    next = done.next;
  } while (next !== '' && redriven < max);
  return { redriven, next };
}
