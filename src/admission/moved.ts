import type { Refusal } from '../core/refusal.ts';

/**
 * The tree of this group is not decided here, or not any more. Known by identity and never told to a caller: whoever holds
 * the caller's connection asks again where the tree went, with the place it had (`Held.since`).
 */
export const MOVED: Refusal = Object.freeze({ reason: 'undecided', detail: 'Another replica decides for this group now: ask again at once.' });
