import type { MachineEvent } from '../../src/coordination/replica-machine.ts';
import type { Told } from './gate-world.ts';
import type { ShardGatesDeps } from './host.ts';
import { SimGate } from './sim-gate.ts';

/** The gates of one process: one for each shard that it owns. */
export class ShardGates {
  readonly #deps: ShardGatesDeps;
  readonly #gates = new Map<number, SimGate>();

  constructor(deps: ShardGatesDeps) {
    this.#deps = deps;
  }

  happened(event: Exclude<MachineEvent, { kind: 'left' }>): void {
    const { shard, term } = event;
    const known = this.#gates.get(shard);
    if (event.kind === 'gained') this.#gates.set(shard, new SimGate(this.#deps, event));
    else if (event.kind === 'seal') known?.seal();
    else if (known?.term === term) {
      known.stop();
      this.#gates.delete(shard);
    }
  }

  /** Whatever can be done now. */
  run(): void {
    for (const gate of this.#gates.values()) gate.run();
  }

  ask(shard: number): void {
    this.#gates.get(shard)?.ask();
  }

  /** The holder of a permit renews it, or lets it go; false: nobody here can say. */
  return(told: Told, how: 'renew' | 'release'): boolean {
    return this.#gates.get(told.shard)?.return(told, how) ?? false;
  }

  die(): void {
    for (const gate of this.#gates.values()) gate.stop();
    this.#gates.clear();
  }
}
