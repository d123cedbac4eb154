import { type Costs, costOf } from '../group.ts';
import { DISTANT_PAST, type Instant, NEVER, plus } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { Reservations } from './reservations.ts';

/** Bounds are asked for this long before the slot they are for opens, so that it need not wait for the disk. */
const RESERVE_AHEAD = 100_000;

/**
 * Whether limits agree now, and if not, until when and because of which: asked many times, so the answer to the last
 * question stands in `until` and `because` instead of a new object.
 */
export class Readiness {
  /** Of the last question that was answered no: when to ask again; NEVER: when `because` changes. */
  until: Instant = DISTANT_PAST;
  /** The limit instance that binds; undefined: a pause, or nothing. */
  because: LimitInstance | undefined;
  readonly #admission: Reservations;
  readonly #from: Instant;

  constructor(admission: Reservations, from: Instant) {
    this.#admission = admission;
    this.#from = from;
  }

  /** When these limit instances agree that `costs` may go: DISTANT_PAST if now, else when; `because` is the one that binds. Limits in shadow mode are ignored; with `byTime`, those that only a release opens are ignored, too. */
  readyAt(now: Instant, instances: readonly LimitInstance[], costs: Costs, byTime = false): Instant {
    let at: Instant = DISTANT_PAST;
    this.because = undefined;
    for (const instance of instances) {
      if (!instance.enforced) continue;
      const ready = instance.limit.readyAt(now, costOf(costs, instance.rule.unit));
      if (ready <= now || ready <= at || (byTime && ready === NEVER)) continue;
      at = ready;
      this.because = instance;
    }
    return at;
  }

  /** May this key spend so much now, by its own limits here and above? */
  keyReady(now: Instant, state: KeyState, costs: Costs): boolean {
    for (const node of state.node.path) {
      const paused = node.keyPausedUntil(state.key, now);
      if (paused !== DISTANT_PAST) return this.#notBefore(paused, undefined);
    }
    for (const link of state.path) if (!this.#instancesReady(now, link.instances, costs)) return false;
    return true;
  }

  /** May this node let so much pass now, by its group limits? */
  nodeReady(now: Instant, node: GroupNode, costs: Costs): boolean {
    if (node.pausedUntil > now) return this.#notBefore(node.pausedUntil, undefined);
    if (node.parent === undefined && this.#from > now) return this.#notBefore(this.#from, undefined);
    return this.#instancesReady(now, node.instances, costs);
  }

  /** With nothing paused: may everything that this key would charge be charged now? */
  allReady(now: Instant, state: KeyState, costs: Costs): boolean {
    if (now < this.#from) return false;
    for (const node of state.node.path) if (node.pausedUntil > now || node.pausedKeys.size > 0) return false;
    return this.readyAt(now, state.limits, costs) <= now && this.covered(now, state, costs);
  }

  /** Is all that this key would charge within what is on disk? A bound is for a moment: an offer that waited above may have outlived it. */
  covered(now: Instant, state: KeyState, costs: Costs): boolean {
    if (!this.#admission.isDurable) return true;
    for (const instance of state.limits) if (!this.#admission.isCovered(now, instance, costOf(costs, instance.rule.unit))) return false;
    return true;
  }

  #instancesReady(now: Instant, instances: readonly LimitInstance[], costs: Costs): boolean {
    const at = this.readyAt(now, instances, costs);
    if (at <= now) {
      const missing = this.#admission.isDurable ? this.#reserve(now, now, instances, costs) : undefined;
      return missing === undefined || this.#notBefore(NEVER, missing);
    }
    this.until = at === NEVER ? (this.because?.limit.changesAt?.(now) ?? NEVER) : at;
    if (at !== NEVER && this.#admission.isDurable) this.#reserveAhead(now, at, instances, costs);
    return false;
  }

  /** The slot opens at `at`: what it needs is written shortly before. */
  #reserveAhead(now: Instant, at: Instant, instances: readonly LimitInstance[], costs: Costs): void {
    const early = plus(at, -RESERVE_AHEAD);
    if (early <= now) this.#reserve(now, at, instances, costs);
    else if (instances.some((instance) => !this.#admission.isCovered(at, instance, costOf(costs, instance.rule.unit)))) this.until = early;
  }

  /** Asks for every bound that is missing for an admission at `at`; answers a limit instance that must wait for the disk. */
  #reserve(now: Instant, at: Instant, instances: readonly LimitInstance[], costs: Costs): LimitInstance | undefined {
    let missing: LimitInstance | undefined;
    for (const instance of instances) {
      const cost = costOf(costs, instance.rule.unit);
      if (this.#admission.isCovered(at, instance, cost)) continue;
      this.#admission.request(now, at, instance, cost);
      missing = instance;
    }
    return missing;
  }

  #notBefore(until: Instant, because: LimitInstance | undefined): false {
    this.until = until;
    this.because = because;
    return false;
  }
}

/** The limit that could never let this cost pass. */
export function findOversizedLimit(state: KeyState, costs: Costs): string | undefined {
  for (const instance of state.limits) {
    if (instance.enforced && costOf(costs, instance.rule.unit) > instance.limit.capacity) return instance.rule.qualifiedName(state.node);
  }
  return undefined;
}
