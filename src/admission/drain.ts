import type { Refusal } from '../core/refusal.ts';
import { after, type Micros, SECOND } from '../core/time.ts';
import type { Gates } from './gates.ts';
import type { AdmissionParts } from './parts.ts';

/** A disk that hangs does not hold up the end of the process for longer. */
const SEAL_FOR: Micros = 5 * SECOND;

/** Refuses newcomers, waits for those held until `grace` ends, refuses the rest, then leaves the exact state behind. */
export async function drain(gates: Gates, parts: AdmissionParts, grace: Micros): Promise<void> {
  const { clock } = parts;
  for (const tree of gates.trees()) tree.drain();
  await empty(gates, parts, grace);
  const refusal: Refusal = { reason: 'draining', retryAt: clock.now() };
  for (const tree of gates.trees()) tree.refuseAll(refusal);
  // Their answers go out in slices; grants that wait for the disk may wait a little longer.
  await empty(gates, parts, SEAL_FOR);
  if (gates.lost === undefined) {
    const sealed = Promise.all(gates.trees().map((tree) => gates.close(tree, refusal)));
    await Promise.race([sealed, sleep(parts, SEAL_FOR)]);
  }
  for (const tree of gates.trees()) tree.stop(refusal);
  try {
    await parts.coordinator.leave();
  } finally {
    await parts.ledger.close();
  }
}

/** Until nobody is held, for so long at most. */
function empty(gates: Gates, { clock }: AdmissionParts, most: Micros): Promise<void> {
  if (gates.held === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.at(after(clock.now(), most), () => {
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

function sleep({ clock }: AdmissionParts, time: Micros): Promise<void> {
  return new Promise((resolve) => {
    clock.at(after(clock.now(), time), resolve);
  });
}
