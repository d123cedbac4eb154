import type { GroupSettings } from '../../src/admission/admission.ts';
import { MemoryRegisters } from '../../src/coordination/registers/memory.ts';
import { openSingleNodeCoordinator } from '../../src/coordination/single-node.ts';
import { SECOND } from '../../src/core/time.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryDisk, MemoryStore } from '../../src/ledger/stores/memory.ts';
import { START } from '../core/specs.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { Rig } from './rig.ts';

/** One machine whose processes come and go; its disk and its clock stay. */
export class Machine {
  readonly clock = new FakeClock(START);
  readonly registers = new MemoryRegisters();
  readonly disk = new MemoryDisk();
  readonly settings: readonly GroupSettings[];
  #lives = 0;

  constructor(settings: readonly GroupSettings[]) {
    this.settings = settings;
  }

  /** Starts a process; the one before is dead, or was drained. */
  async start(): Promise<Rig> {
    const coordinator = await openSingleNodeCoordinator({ registers: this.registers, clock: this.clock, session: `life-${++this.#lives}` });
    const placement = coordinator.place('');
    if (placement.at !== 'here') throw new Error('not here');
    const { term, from } = placement.leaderLease;
    const ledger = createLedger({ store: new MemoryStore({ bytes: 1 << 30 }, this.disk), clock: this.clock, term, from });
    const rig = new Rig(this.settings, { clock: this.clock, ledger, coordinator, reports: true });
    await rig.admission.start();
    return rig;
  }

  /** From now on `rig` is dead: whatever it still does comes too late, since the next process has the term. */
  async restartAfter(seconds: number): Promise<Rig> {
    await this.clock.advanceAsync(seconds * SECOND);
    return this.start();
  }
}
