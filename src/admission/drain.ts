import type { Refusal } from '../core/refusal.ts';
import { type Micros, plus, SECOND } from '../core/time.ts';
import { sleep } from './clock.ts';
import type { AdmissionDeps } from './deps.ts';
import type { TreeRegistry } from './tree-registry.ts';

/** A disk that hangs does not hold up the end of the process for longer. */
const SEAL_FOR: Micros = 5 * SECOND;

/** Refuses arrivals, waits for those held until `grace` ends, refuses the rest, then leaves the exact state behind. */
export async function drain(gates: TreeRegistry, deps: AdmissionDeps, grace: Micros): Promise<void> {
  const { clock } = deps;
  for (const tree of gates.trees()) tree.drain();
  await empty(gates, deps, grace);
  const refusal: Refusal = { reason: 'draining', retryAt: clock.now() };
  for (const tree of gates.trees()) tree.refuseAll(refusal);
  // Their answers go out in slices; grants that wait for the disk may wait a little longer.
  await empty(gates, deps, SEAL_FOR);
  if (gates.lost === undefined) {
    const sealed = Promise.all(gates.trees().map((tree) => gates.close(tree, refusal)));
    await Promise.race([sealed, sleep(deps.clock, SEAL_FOR)]);
  }
  for (const tree of gates.trees()) tree.stop(refusal);
  try {
    await deps.coordinator.leave();
  } finally {
    await deps.ledger.close();
  }
}

/** Waits until no caller is held, for `grace` at most. */
function empty(gates: TreeRegistry, { clock }: AdmissionDeps, most: Micros): Promise<void> {
  if (gates.held === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.at(plus(clock.now(), most), () => {
      gates.onEmpty = () => {};
      resolve();
    });
    gates.onEmpty = () => {
      if (gates.held > 0) return;
      gates.onEmpty = () => {};
      cancel();
      resolve();
    };
  });
}
