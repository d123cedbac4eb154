import { ReplicaMachine } from '../../src/coordination/replica-machine.ts';
import { Gate } from '../../src/core/gate/gate.ts';
import { Replay } from '../../src/ledger/replay.ts';
import { Channels } from '../../src/relay/transport/channel.ts';

/** The code that is simulated: what ships, or a copy with one rule taken out. */
export interface SimModules {
  readonly Member: typeof ReplicaMachine;
  readonly Channels: typeof Channels;
  readonly Gate: typeof Gate;
  readonly Replay: typeof Replay;
}

/** What ships. */
export const SHIPPED: SimModules = { Member: ReplicaMachine, Channels, Gate, Replay };
