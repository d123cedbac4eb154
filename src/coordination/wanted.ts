import type { Instant } from '../core/time.ts';
import type { ShardClock } from './clocks/shard-clock.ts';
import type { Heartbeat } from './membership/session-record.ts';
import type { RegisterRequest } from './registers/requests.ts';

/** What a member tells its process. `seal`: stop deciding for the shard and say `halt`, write its exact state, then say `sealed`. */
export type MachineEvent =
  | { readonly kind: 'gained'; readonly shard: number; readonly term: bigint; readonly from: Instant; readonly clock: ShardClock }
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'left' };

/** What a member wants done: questions to the registers, heartbeats to everybody, a word to a session that was given a shard. */
export interface MachineOutput {
  readonly questions: readonly RegisterRequest[];
  readonly beats: readonly Heartbeat[];
  readonly notices: readonly { readonly to: string; readonly instance: string; readonly shard: number; readonly term: bigint }[];
  readonly events: readonly MachineEvent[];
}

/** Is anything wanted at all? */
export function hasOutput({ questions, beats, notices, events }: MachineOutput): boolean {
  return questions.length + beats.length + notices.length + events.length > 0;
}
