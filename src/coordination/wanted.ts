import type { Instant } from '../core/time.ts';
import type { Question } from './questions.ts';
import type { Beat } from './session-record.ts';
import type { ShardClock } from './shard-clock.ts';

/** What a member tells its process. `seal`: stop deciding for the shard and say `halt`, write its exact state, then say `sealed`. */
export type MemberEvent =
  | { readonly kind: 'gained'; readonly shard: number; readonly term: bigint; readonly from: Instant; readonly clock: ShardClock }
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'left' };

/** What a member wants done: questions to the registers, heartbeats to everybody, a word to a session that was given a shard. */
export interface Wanted {
  readonly questions: readonly Question[];
  readonly beats: readonly Beat[];
  readonly notices: readonly { readonly to: string; readonly instance: string; readonly shard: number; readonly term: bigint }[];
  readonly events: readonly MemberEvent[];
}

/** Is anything wanted at all? */
export function isSomething({ questions, beats, notices, events }: Wanted): boolean {
  return questions.length + beats.length + notices.length + events.length > 0;
}
