import type { AcquireHandle, AdmissionRequest, GroupSettings, Outcome } from '../../src/admission/admission.ts';
import type { AdmissionDeps, AdmissionEvent, AdmissionLimits } from '../../src/admission/deps.ts';
import { LocalAdmission } from '../../src/admission/local-admission.ts';
import type { Coordinator } from '../../src/coordination/coordinator.ts';
import type { GateEvent } from '../../src/core/events.ts';
import { Gate } from '../../src/core/gate/gate.ts';
import type { GateOptions } from '../../src/core/gate/snapshot.ts';
import { type GroupSpec, ONE_REQUEST, PRIORITY_MAX } from '../../src/core/group.ts';
import type { Permit } from '../../src/core/permit.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import { HOUR, type Instant, MINUTE, SECOND } from '../../src/core/time.ts';
import type { Ledger } from '../../src/ledger/ledger.ts';
import { START } from '../core/specs.ts';
import { DEFAULT_ADMISSION_LIMITS } from '../support/default-bounds.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { FakeCoordinator } from '../support/fakes/coordinator.ts';
import { FakeLedger } from '../support/fakes/ledger.ts';

/** A group's settings, wide where not said. */
export function settingsOf(spec: GroupSpec, more: Partial<Omit<GroupSettings, 'spec'>> = {}): GroupSettings {
  return {
    spec,
    wait: { default: HOUR, max: 2 * HOUR },
    lease: { default: 30 * SECOND, max: 10 * MINUTE },
    priority: { classes: new Map(), default: PRIORITY_MAX },
    pushback: { scope: 'key', max: MINUTE },
    costs: new Map(),
    refusal: undefined,
    unreachable: 'closed',
    ...more,
  };
}

/** One caller of a rig. */
export class Caller {
  outcome: Outcome | undefined;
  /** Shard time of the answer. */
  at: Instant | undefined;
  /** Answers so far; more than one is a defect. */
  told = 0;
  held!: AcquireHandle;

  get permit(): Permit {
    if (this.outcome?.kind !== 'admitted') throw new Error(`not admitted: ${JSON.stringify(this.outcome)}`);
    return this.outcome.permit;
  }

  get id(): string {
    if (this.outcome?.kind !== 'admitted') throw new Error('not admitted');
    return this.outcome.id;
  }

  get refusal(): Refusal | undefined {
    return this.outcome?.kind === 'refused' ? this.outcome.refusal : undefined;
  }

  /** Seconds after the start at which it was admitted; undefined: it was not. */
  get seconds(): number | undefined {
    return this.outcome?.kind === 'admitted' && this.at !== undefined ? (this.at - START) / SECOND : undefined;
  }
}

/** What a test chooses. */
export interface RigOptions {
  readonly clock?: FakeClock;
  readonly ledger?: Ledger;
  readonly coordinator?: Coordinator;
  readonly bounds?: Partial<AdmissionLimits>;
  readonly recording?: boolean;
  readonly reports?: boolean;
  readonly gate?: (options: GateOptions) => Gate;
}

/** A whole admission over real gates, with a clock that moves when told. */
export class Rig {
  readonly clock: FakeClock;
  readonly ledger: FakeLedger;
  readonly coordinator: FakeCoordinator;
  readonly admission: LocalAdmission;
  readonly events: GateEvent[] = [];
  readonly notices: AdmissionEvent[] = [];
  #bytes = 0;

  constructor(settings: readonly GroupSettings[], options: RigOptions = {}) {
    this.clock = options.clock ?? new FakeClock(START);
    this.ledger = new FakeLedger();
    this.coordinator = new FakeCoordinator();
    const deps: AdmissionDeps = {
      clock: this.clock,
      coordinator: options.coordinator ?? this.coordinator,
      ledger: options.ledger ?? this.ledger,
      settings,
      onGateEvent: (event) => this.events.push(event),
      onEvent: (notice) => this.notices.push(notice),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => (this.#bytes = (this.#bytes * 5 + 17) % 251)),
      bounds: { ...DEFAULT_ADMISSION_LIMITS, ...options.bounds },
      gate: options.gate ?? ((gateParts) => new Gate(gateParts)),
      recording: options.recording ?? true,
      reports: options.reports ?? false,
      defer: (run) => void setImmediate(run),
    };
    this.admission = new LocalAdmission(deps);
  }

  /** Asks; the answer may be there already. */
  ask(more: Partial<AdmissionRequest> = {}): Caller {
    const caller = new Caller();
    caller.held = this.admission.acquire(askOf(more), (outcome) => {
      caller.told++;
      caller.outcome = outcome;
      caller.at = this.clock.now();
    });
    return caller;
  }

  /** Asks, and lets promises settle. */
  async asked(more: Partial<AdmissionRequest> = {}): Promise<Caller> {
    const caller = this.ask(more);
    await settled();
    if (caller.outcome?.kind === 'admitted') caller.held.delivered();
    return caller;
  }

  /** Time passes. */
  pass(seconds: number): Promise<void> {
    return this.clock.advanceAsync(Math.round(seconds * SECOND));
  }

  /** Callers of a group who wait. */
  waiting(name = 'g'): number {
    const group = this.admission.group(name);
    return 'reason' in group ? 0 : group.waiting;
  }

  /** Units used of a group's first limit. */
  used(name = 'g'): number {
    const group = this.admission.group(name);
    return 'reason' in group ? 0 : (group.limits[0]?.used ?? 0);
  }
}

/** An ask of group `g`, patient for an hour. */
export function askOf(more: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return {
    group: 'g',
    key: '',
    priority: undefined,
    priorityClass: undefined,
    costs: ONE_REQUEST,
    wait: undefined,
    lease: undefined,
    holder: '',
    requestId: undefined,
    caller: '',
    session: undefined,
    bytes: 0,
    ...more,
  };
}

/** A rig that is open. */
export async function rigged(settings: readonly GroupSettings[], options: RigOptions = {}): Promise<Rig> {
  const rig = new Rig(settings, options);
  await rig.admission.start();
  return rig;
}
