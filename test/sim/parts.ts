import { Channel } from '../../src/coordination/channel.ts';
import { Member } from '../../src/coordination/member.ts';
import { Gate } from '../../src/core/gate.ts';
import { Replay } from '../../src/ledger/replay.ts';

/** The code that is simulated: what ships, or a copy with one rule taken out. */
export interface SimParts {
  readonly Member: typeof Member;
  readonly Channel: typeof Channel;
  readonly Gate: typeof Gate;
  readonly Replay: typeof Replay;
}

/** What ships. */
export const SHIPPED: SimParts = { Member, Channel, Gate, Replay };
