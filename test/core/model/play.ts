import type { Gate } from '../../../src/core/gate.ts';
import type { GateExplanation } from '../../../src/core/gate-state.ts';
import type { Costs, GroupSpec } from '../../../src/core/group.ts';
import { REQUESTS } from '../../../src/core/group.ts';
import type { Instant } from '../../../src/core/time.ts';
import { SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import { type Handle, permitOf } from '../handle.ts';
import { START } from '../specs.ts';
import { type Caller, Model } from './model.ts';
import type { Plan, Step } from './plans.ts';
import { scale } from './plans.ts';
import { capacityOf } from './quota-model.ts';
import { Witness, type Witnessed } from './witness.ts';

/** How a plan is played. */
export interface PlayOptions {
  readonly gateClass?: typeof Gate;
  readonly recording?: boolean;
  /** Compare every decision with the model: only where the order is fully determined. */
  readonly model: boolean;
  /** Timers come late: `run` steps stall, then tick once. */
  readonly late?: boolean;
}

/** An ask on both sides. */
interface Pair {
  readonly handle: Handle;
  readonly caller: Caller | undefined;
  readonly witnessed: Witnessed;
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
  #factor = 1;
  #overriddenUntil = 0;

  constructor(groups: readonly GroupSpec[], options: PlayOptions) {
    this.#groups = groups;
    this.#options = options;
    const { gateClass } = options;
    this.driver = new Driver({ groups, recording: options.recording ?? false, ...(gateClass ? { gateClass } : {}) });
    this.witness = new Witness(groups);
    this.#model = options.model ? new Model(groups, START) : undefined;
    this.driver.onAdmitted = (handle) => this.witness.admitted(handle);
  }

  run(plan: Plan): void {
    for (const [index, step] of plan.steps.entries()) {
      try {
        this.#step(step);
        this.#compare();
      } catch (error) {
        throw new Disagreement(`step ${index} (${JSON.stringify(step)}) at ${this.#now} us: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }
    this.#leave();
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
      default:
        return this.#waiter(step);
    }
  }

  #ask(step: Extract<Step, { do: 'ask' }>): void {
    const group = this.#name(step.group);
    const costs: Costs = { [REQUESTS]: step.cost, tokens: step.tokens };
    // Who can pass only under doubled limits would be in line for ever once they are halved.
    if (this.#factor > 1 && this.#groups.some((spec) => spec.limits.some((limit) => (costs[limit.unit] ?? 0) > capacityOf(limit.quota)))) return;
    // A late timer: the ask comes in before the tick, and must not pass anybody.
    const asked = { group, key: step.key, priority: step.priority, costs, lease: step.lease };
    const look = this.#explain(asked, step.ttl === 'meets' ? SECOND : step.ttl);
    const { expectedAt } = look.place;
    const ttl = step.ttl !== 'meets' ? step.ttl : Number.isFinite(expectedAt) ? Math.max(0, expectedAt - this.driver.now) : SECOND;
    const id = this.pairs.length;
    const caller = this.#model?.acquire({ id, ...asked, since: this.#now, until: this.#now + ttl });
    const handle = this.driver.ask({ name: `${group} ${step.key} #${id}`, ...asked, ttl, bytes: id % 3 }, (made) =>
      this.pairs.push({ handle: made, caller, witnessed: this.witness.asked(made) }),
    );
    if (look.admitted && handle.fate !== 'admitted') throw new Error(`explain said it would be admitted, it is ${handle.fate}`);
    if (this.#model === undefined || this.#options.recording || step.ttl === 'meets') return;
    const said = look.admitted ? 'admitted' : look.refusal ? 'refused' : 'waiting';
    if (handle.fate !== said) throw new Error(`explain said ${said} (${look.refusal?.reason}), it is ${handle.fate}`);
  }

  /** A look changes nothing: no event, no bound to write. */
  #explain(asked: { group: string; key: string; priority: number; costs: Costs; lease: number }, ttl: number): GateExplanation {
    const { gate, now } = this.driver;
    if (this.#options.late) this.driver.settle();
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
    if (this.#options.late) {
      this.driver.stall(by);
      this.driver.tick();
    } else this.driver.advance(by);
    if (this.#overriddenUntil > 0 && this.#overriddenUntil <= this.#now) {
      this.#overriddenUntil = 0;
      this.#factor = 1;
      this.witness.checker.reconfigure(this.#groups);
    }
    const before = this.driver.log.length;
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
    if (step.do === 'reconfigure') {
      this.#factor = step.factor;
      const groups = scale(this.#groups, step.factor);
      this.witness.checker.reconfigure(groups);
      this.#model?.reconfigure(groups);
      const complaint = this.driver.call((gate, now) => gate.reconfigure(now, groups));
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
      witnessed.charge.end = Math.min(witnessed.charge.end, this.#now);
      this.witness.checker.settled(witnessed.charge, this.#now, real);
      if (caller) this.#model?.release(caller, real);
    } else if (caller && this.#model?.live(caller)) throw new Error(`a live lease could not be released: ${JSON.stringify(answer)}`);
    this.driver.settle();
  }

  #waiter(step: Extract<Step, { do: 'cancel' | 'suspend' | 'unsuspend' }>): void {
    const waiting = this.pairs.filter(({ handle }) => handle.fate === 'waiting');
    const pair = waiting[step.pick % (waiting.length || 1)];
    if (!pair) return;
    if (step.do === 'cancel') {
      if (!this.driver.cancel(pair.handle)) throw new Error('a waiter could not be cancelled');
      if (pair.caller) this.#model?.cancel(pair.caller);
      return;
    }
    pair.witnessed.suspended = step.do === 'suspend';
    this.driver.call((gate, now) => gate[step.do](now, pair.handle.ref));
    if (pair.caller) this.#model?.suspend(pair.caller, pair.witnessed.suspended);
  }

  #compare(): void {
    const { gate, now } = this.driver;
    const wrong = gate.audit(now);
    if (wrong.length > 0) throw new Error(`audit: ${wrong.join('; ')}`);
    for (const { handle, caller } of this.pairs) {
      if (handle.told > 1) throw new Error(`${handle.name} ended ${handle.told} times`);
      if (!caller) continue;
      const at = handle.at === undefined ? 0 : handle.at - START;
      if (handle.fate !== caller.fate || at !== caller.at)
        throw new Error(
          `${handle.name}: gate ${handle.fate} at ${at} (${handle.refusal?.reason}), model ${caller.fate} at ${caller.at} (${caller.reasons.join(', ')})`,
        );
      const reason = handle.refusal?.reason;
      if (reason !== undefined && !caller.reasons.includes(reason)) throw new Error(`${handle.name}: refused as ${reason}, model ${caller.reasons.join(', ')}`);
    }
    for (const spec of this.#groups) this.#counts(spec.name);
  }

  #counts(name: string): void {
    const status = this.driver.gate.status(this.driver.now, this.driver.group(name));
    const mine = this.pairs.filter(({ handle }) => handle.group === name);
    const waiting = mine.filter(({ handle }) => handle.fate === 'waiting').length;
    if (status.waiting !== waiting) throw new Error(`${name}: status says ${status.waiting} wait, there are ${waiting}`);
    const leases = mine.filter(({ handle, witnessed }) => handle.permit?.lease && (witnessed.charge?.end ?? 0) > this.#now).length;
    if (status.leases !== leases) throw new Error(`${name}: status says ${status.leases} leases, there are ${leases}`);
  }

  /** All leave: nothing may stay behind. */
  #leave(): void {
    for (const { handle } of this.pairs) if (handle.fate === 'waiting') this.driver.cancel(handle);
    for (const { handle, witnessed } of this.pairs) {
      if (witnessed.charge) witnessed.charge.end = Math.min(witnessed.charge.end, this.#now);
      if (handle.permit?.lease) this.driver.release(handle);
    }
    this.driver.advance(3_600_000_000);
    const { gate, now } = this.driver;
    for (const spec of this.#groups) {
      const { waiting, waitingBytes, leases, oldestSince } = gate.status(now, this.driver.group(spec.name));
      if (waiting + waitingBytes + leases > 0 || oldestSince !== undefined)
        throw new Error(`left behind in ${spec.name}: ${JSON.stringify({ waiting, waitingBytes, leases, oldestSince })}`);
    }
    const wrong = gate.audit(now);
    if (wrong.length > 0) throw new Error(`audit at the end: ${wrong.join('; ')}`);
    if (this.pairs.some(({ handle }) => handle.told !== 1)) throw new Error('somebody never ended');
  }

  #name(pick: number): string {
    return this.#groups[pick % this.#groups.length]?.name ?? '';
  }
}

function big(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
