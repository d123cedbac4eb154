import type { Gate } from '../../../src/core/gate/gate.ts';
import type { GateExplanation } from '../../../src/core/gate/views.ts';
import { type Costs, type GroupSpec, REQUESTS } from '../../../src/core/group.ts';
import { arrivalOf } from '../../../src/core/request.ts';
import { type Instant, NEVER, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import { type Handle, permitOf } from '../handle.ts';
import { START } from '../specs.ts';
import { agree, leaveNothing, type Pair, withinNow } from './agree.ts';
import { Model } from './model.ts';
import { type Plan, type Step, scale } from './plans.ts';
import { capacityOf } from './quota-model.ts';
import { Witness } from './witness.ts';

/** How a plan is played. */
export interface PlayOptions {
  readonly gateClass?: typeof Gate;
  readonly recording?: boolean;
  /** Compare every decision with the model: only where the order is fully determined. */
  readonly model: boolean;
  /** Timers come late: `run` steps stall, then tick once. */
  readonly late?: boolean;
  /** Where time starts. */
  readonly start?: Instant;
  /** Groups of the tree that nobody asks. */
  readonly silent?: readonly GroupSpec[];
}

/** A plan came out otherwise than it should. */
export class Disagreement extends Error {
  override readonly name = 'Disagreement';
}

/** Plays a plan on a gate and, where asked, on the model beside it; throws at the first thing that is wrong. */
export class Play {
  readonly driver: Driver;
  readonly pairs: Pair[] = [];
  readonly witness: Witness;
  readonly #model: Model | undefined;
  readonly #options: PlayOptions;
  readonly #groups: readonly GroupSpec[];
  readonly #cameAgain = new Set<Handle>();
  #factor = 1;
  #overriddenUntil = 0;

  constructor(groups: readonly GroupSpec[], options: PlayOptions) {
    this.#groups = groups;
    this.#options = options;
    const { gateClass, recording = false, start = START, silent = [] } = options;
    this.driver = new Driver({ groups: [...groups, ...silent], recording, reports: recording, now: start, ...(gateClass ? { gateClass } : {}) });
    this.witness = new Witness(groups);
    this.#model = options.model ? new Model(groups, START) : undefined;
    this.driver.onAdmitted = (handle) => {
      this.witness.admitted(handle);
      if (!options.late) withinNow(this.driver, handle, groups);
    };
  }

  run(plan: Plan): void {
    for (const [index, step] of plan.steps.entries()) {
      try {
        this.#step(step);
        const behind = this.#options.late && step.do === 'run';
        if (this.#options.late && !behind) this.driver.tick();
        if (!behind) agree(this.driver, this.#groups, this.pairs);
      } catch (error) {
        throw new Disagreement(`step ${index} (${JSON.stringify(step)}) at ${this.#now} us: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }
    leaveNothing(this.driver, this.#groups, this.pairs);
  }

  get #now(): number {
    return this.driver.now - START;
  }

  #step(step: Step): void {
    switch (step.do) {
      case 'ask':
        return this.#ask(step);
      case 'run':
        return this.#run(step.by);
      case 'pause':
      case 'resume':
        return this.#pause(step);
      case 'reconfigure':
      case 'override':
        return this.#change(step);
      case 'renew':
      case 'release':
        return this.#permit(step);
      case 'undo':
      case 'revoke':
        return this.#takeBack(step);
      default:
        return this.#waiter(step);
    }
  }

  #ask(step: Extract<Step, { do: 'ask' }>): void {
    const group = this.#name(step.group);
    const id = this.pairs.length;
    const costs: Costs = step.tokens === 0 ? { [REQUESTS]: step.cost } : { [REQUESTS]: step.cost, tokens: step.tokens };
    // Who can pass only under doubled limits is refused when its turn comes under halved ones: not part of the model.
    const least = this.#groups.some((spec) => spec.parent?.share !== undefined) ? 0.5 : 1;
    const large = (spec: GroupSpec): boolean => spec.limits.some((limit) => (costs[limit.unit] ?? 0) > Math.floor(capacityOf(limit.quota) * least));
    if (this.#factor > 1 && this.#groups.some(large)) return;
    const asked = { group, key: step.key, priority: step.priority, costs, lease: step.lease, reported: id % 2 === 1 };
    // Late: the ask itself is the first call after a stall.
    const look = this.#options.late ? undefined : this.#explain(asked, step.ttl === 'meets' ? SECOND : step.ttl);
    const expectedAt = look?.place.expectedAt ?? NEVER;
    const ttl = step.ttl !== 'meets' ? step.ttl : Number.isFinite(expectedAt) ? Math.max(0, expectedAt - this.driver.now) : SECOND;
    const before = this.#comingAgain(step);
    const permit = before?.handle.permit;
    const since = permit === undefined ? undefined : arrivalOf(permit);
    const place = { order: before?.caller?.order ?? id, since: before?.caller?.since ?? this.#now, again: since !== undefined };
    const caller = this.#model?.acquire({ ...asked, ...place, until: this.#now + ttl });
    const handle = this.driver.ask({ name: `${group} ${step.key} #${id}`, ...asked, ttl, bytes: id % 3, since }, (made) =>
      this.pairs.push({ handle: made, caller, witnessed: this.witness.asked(made, before?.witnessed) }),
    );
    if (before !== undefined) return;
    if (look?.admitted && handle.fate !== 'admitted') throw new Error(`explain said it would be admitted, it is ${handle.fate}`);
    if (this.#model === undefined || this.#options.recording || step.ttl === 'meets') return;
    const said = look?.admitted ? 'admitted' : look?.refusal ? 'refused' : 'waiting';
    if (handle.fate !== said) throw new Error(`explain said ${said} (${look?.refusal?.reason}), it is ${handle.fate}`);
  }

  /** Somebody who was admitted and has not come again. */
  #comingAgain({ again }: Extract<Step, { do: 'ask' }>): Pair | undefined {
    if (again === undefined) return undefined;
    // Who is due before goes before: it is not there yet.
    if (this.#options.late) this.driver.tick();
    const admitted = this.pairs.filter(({ handle }) => handle.fate === 'admitted' && !this.#cameAgain.has(handle));
    const pair = admitted[again % (admitted.length || 1)];
    if (pair !== undefined) this.#cameAgain.add(pair.handle);
    return pair;
  }

  /** A look changes nothing: no event, no bound to write. */
  #explain(asked: { group: string; key: string; priority: number; costs: Costs; lease: number }, ttl: number): GateExplanation {
    const { gate, now } = this.driver;
    const before = gate.wakeAt(now);
    const waitUntil = (now + ttl) as Instant;
    const look = gate.explain(now, {
      ...asked,
      group: this.driver.group(asked.group),
      waitUntil,
      bytes: 0,
      holder: '',
      tag: { high: 0, low: 0 },
      token: undefined,
    });
    if (gate.takeEvents().length > 0 || gate.takeReservations().length > 0) throw new Error('explain did something');
    if (gate.wakeAt(now) !== before) throw new Error(`explain moved wakeAt from ${before} to ${gate.wakeAt(now)}`);
    return look;
  }

  #run(by: number): void {
    if (this.#options.late) this.driver.stall(by);
    else this.driver.advance(by);
    if (this.#overriddenUntil > 0 && this.#overriddenUntil <= this.#now) {
      this.#overriddenUntil = 0;
      this.#factor = 1;
      this.witness.checker.reconfigure(this.#groups);
    }
    // Late: whatever comes next finds that much time gone, not always a tick.
    if (this.#options.late && by % 2_000 === 0) return;
    const before = this.#options.late ? Number.POSITIVE_INFINITY : this.driver.log.length;
    this.driver.tick();
    if (this.driver.log.length > before) throw new Error('an extra tick decided something: wakeAt was late');
    this.#model?.runTo(this.#now);
  }

  #pause(step: Extract<Step, { do: 'pause' | 'resume' }>): void {
    const name = this.#name(step.group);
    const group = this.driver.group(name);
    if (step.do === 'pause') {
      this.driver.call((gate, now) => gate.pause(now, group, (now + step.by) as Instant, step.key));
      this.#model?.pause(name, step.key, this.#now + step.by);
    } else {
      this.#model?.resume(name, step.key);
      this.driver.call((gate, now) => gate.resume(now, group, step.key));
    }
  }

  #change(step: Extract<Step, { do: 'reconfigure' | 'override' }>): void {
    if (this.#overriddenUntil > this.#now) return;
    // What is due before passes under the limits there were.
    if (this.#options.late) this.driver.tick();
    if (step.do === 'reconfigure') {
      this.#factor = step.factor;
      const groups = scale(this.#groups, step.factor);
      this.witness.checker.reconfigure(groups);
      this.#model?.reconfigure(groups);
      const all = [...groups, ...(this.#options.silent ?? [])];
      // Both ways of the same change, as none of the groups moves.
      const complaint = this.driver.call((gate, now) => (step.factor === 1 ? gate.reconfigure(now, all) : gate.respecify(now, all)));
      if (complaint !== undefined) throw new Error(`reconfigure: ${complaint}`);
      return;
    }
    if (this.#factor !== 1) return;
    const name = this.#name(step.group);
    const groups = scale(this.#groups, step.factor, name);
    const until = this.#now + step.by;
    this.#factor = step.factor;
    this.#overriddenUntil = until;
    // The checker keeps the larger limits until the override ends: it is told after the run step that passes the end.
    this.witness.checker.reconfigure(groups);
    this.#model?.override(groups, until);
    const limits = new Map(groups.find((spec) => spec.name === name)?.limits.map((limit) => [limit.name, limit.quota]));
    const complaint = this.driver.call((gate, now) =>
      gate.override(now, this.driver.group(name), { limits, enforce: undefined, until: (now + step.by) as Instant }),
    );
    if (complaint !== undefined) throw new Error(`override: ${complaint}`);
  }

  #permit(step: Extract<Step, { do: 'renew' | 'release' }>): void {
    const admitted = this.pairs.filter(({ handle }) => handle.fate === 'admitted' && (handle.permit?.lease || handle.permit?.settleable));
    const pair = admitted[step.pick % (admitted.length || 1)];
    if (!pair) return;
    const { handle, caller, witnessed } = pair;
    // The checker reads a log in order: what is due before is in it first.
    if (this.#options.late) this.driver.tick();
    if (step.do === 'renew') {
      const answer = this.driver.renew(handle, step.lease);
      if (caller && this.#model) {
        const renewed = this.#model.renew(caller, step.lease);
        if (renewed !== 'expiresAt' in answer) throw new Error(`renew answered ${JSON.stringify(answer, big)}, the model ${renewed}`);
      }
      if ('expiresAt' in answer && witnessed.charge) witnessed.charge.end = answer.expiresAt - START;
      return;
    }
    const asked = permitOf(handle).costs;
    const settled: Costs | undefined = step.tokens === undefined ? undefined : { ...asked, tokens: step.tokens };
    const real: Costs = step.how === 'unused' ? { [REQUESTS]: 0, tokens: 0 } : (settled ?? asked);
    // The checker must know of the refund before the waiters it wakes; the model must see the same moment.
    const answer = this.driver.gate.release(
      this.driver.now,
      permitOf(handle).serial,
      permitOf(handle).tag,
      step.how,
      step.how === 'unused' ? undefined : settled,
    );
    if (answer === true && witnessed.charge) {
      witnessed.returned = true;
      witnessed.charge.end = Math.min(witnessed.charge.end, this.#now);
      this.witness.checker.settled(witnessed.charge, this.#now, real);
      if (caller) this.#model?.release(caller, real, step.how);
    } else if (caller && this.#model?.live(caller)) throw new Error(`a live lease could not be released: ${JSON.stringify(answer)}`);
    this.driver.settle();
  }

  /** A permit that never reached its caller; a lease that an operator ends. */
  #takeBack(step: Extract<Step, { do: 'undo' | 'revoke' }>): void {
    const live = this.pairs.filter(
      ({ witnessed: { charge, returned }, handle }) => charge && !returned && charge.end > this.#now && (step.do === 'undo' || handle.permit?.lease),
    );
    const pair = live[step.pick % (live.length || 1)];
    const charge = pair?.witnessed.charge;
    if (!pair || !charge) return;
    if (this.#options.late) this.driver.tick();
    const permit = permitOf(pair.handle);
    pair.witnessed.returned = true;
    charge.end = Math.min(charge.end, this.#now);
    if (step.do === 'undo') this.witness.checker.settled(charge, this.#now, { [REQUESTS]: 0, tokens: 0 });
    const undone = { [REQUESTS]: 0, tokens: 0 };
    if (pair.caller) this.#model?.release(pair.caller, step.do === 'undo' ? undone : pair.caller.charged, step.do === 'undo' ? 'unused' : 'revoked');
    this.driver.call((gate, now) => (step.do === 'undo' ? gate.rollback(now, permit) : gate.revoke(now, permit.serial)));
  }

  #waiter(step: Extract<Step, { do: 'cancel' | 'evict' | 'suspend' | 'unsuspend' }>): void {
    const waiting = this.pairs.filter(({ handle }) => handle.fate === 'waiting');
    const pair = waiting[step.pick % (waiting.length || 1)];
    if (!pair) return;
    if (step.do === 'cancel') {
      if (!this.driver.cancel(pair.handle)) throw new Error('a waiter could not be cancelled');
      if (pair.caller) this.#model?.cancel(pair.caller);
      return;
    }
    if (step.do === 'evict') {
      if (pair.caller) this.#model?.evict(pair.caller);
      this.driver.call((gate, now) => gate.evict(now, pair.handle.ref, { reason: 'cancelled' }));
      return;
    }
    pair.witnessed.suspended = step.do === 'suspend';
    const { do: what } = step;
    this.driver.call((gate, now) => gate[what](now, pair.handle.ref));
    if (pair.caller) this.#model?.suspend(pair.caller, pair.witnessed.suspended);
  }

  #name(pick: number): string {
    return this.#groups[pick % this.#groups.length]?.name ?? '';
  }
}

function big(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
