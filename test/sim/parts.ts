import { Channels } from '../../src/coordination/channels.ts';
import { Member } from '../../src/coordination/member.ts';
import { Gate } from '../../src/core/gate.ts';
import { Replay } from '../../src/ledger/replay.ts';

/** The code that is simulated: what ships, or a copy with one rule taken out. */
export interface SimParts {
  readonly Member: typeof Member;
  readonly Channels: typeof Channels;
  readonly Gate: typeof Gate;
  readonly Replay: typeof Replay;
}

/** What ships. */
export const SHIPPED: SimParts = { Member, Channels, Gate, Replay };
