import type { GateEvent } from '../core/events.ts';
import type { Costs } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Instant } from '../core/time.ts';
import type { AdmissionRequest, GroupCounters, GroupSettings } from './admission.ts';
import { GroupActivity } from './group-activity.ts';
import { OperatorNotes } from './operator-notes.ts';
import type { Units } from './units.ts';

/** One group as arrivals meet it: its settings, its index in its gate, its figures. */
export class GroupEntry {
  readonly name: string;
  readonly counters = new GroupCounterSet();
  readonly activity = new GroupActivity();
  readonly notes = new OperatorNotes();
  settings: GroupSettings;
  /** Index in the gate; changes with the configuration. */
  index: number;
  /** An admission may need the disk: a lease, or a limit whose bounds are written ahead, here or above. */
  writes: boolean;
  #units: Units;
  /** Counted under an earlier configuration of this process: permits of that time may still be settled. */
  readonly #unitsBefore = new Set<string>();

  constructor(deps: { settings: GroupSettings; index: number; writes: boolean; units: Units }) {
    this.#units = deps.units;
    this.settings = deps.settings;
    this.name = deps.settings.spec.name;
    this.index = deps.index;
    this.writes = deps.writes;
  }

  /** The key that a pushback of a permit for `key` needs: '' where it is by group. */
  pushbackKey(key: string): string {
    return this.settings.pushback.scope === 'key' ? key : '';
  }

  /** Counts what happened to a caller of this group. `waiting`: how many still wait. */
  count(event: GateEvent, now: Instant, waiting: number): void {
    this.counters.count(event);
    if (event.kind === 'queued') this.activity.queued(now);
    else if (event.kind === 'admitted') this.activity.admits(now, event.permit.waited, waiting);
    else if (event.kind === 'refused') this.activity.refuses(now, nameOf(event.refusal), waiting);
  }

  get units(): Units {
    return this.#units;
  }

  set units(units: Units) {
    for (const unit of this.#units.names) this.#unitsBefore.add(unit);
    this.#units = units;
  }

  /** `malformed` if costs to settle name a unit that is not counted, and was not before. */
  unsettleable(costs: Costs): Refusal | undefined {
    return this.#units.unknownIn(costs, this.#unitsBefore);
  }
}

/** A refusal as it is counted: by its reason, and where it was shed by the bound too. */
function nameOf({ reason, limit }: Refusal): string {
  return reason === 'shed' && limit !== undefined ? `shed: ${limit.replace('backlog.', '')}` : reason;
}

/** The number behind a request's priority or class; `malformed` where both are given or the class is unknown. */
export function priorityOf(request: AdmissionRequest, settings: GroupSettings): number | Refusal {
  if (request.priorityClass === undefined) return request.priority ?? settings.priority.default;
  if (request.priority !== undefined) return { reason: 'malformed', detail: 'Give a priority or a priority class, not both.' };
  const priority = settings.priority.classes.get(request.priorityClass);
  if (priority !== undefined) return priority;
  const known = [...settings.priority.classes.keys()].join(', ');
  const detail = known === '' ? `Group ${settings.spec.name} has no priority classes.` : `Group ${settings.spec.name} has the priority classes ${known}.`;
  return { reason: 'malformed', detail };
}

/** What happened in one group since the start of the process. */
export class GroupCounterSet {
  #admitted = 0;
  #lapsed = 0;
  #released = 0;
  #shadowHeld = 0;
  readonly #refused: Record<string, number> = {};

  /** Counts an event of this group. */
  count(event: GateEvent): void {
    if (event.kind === 'admitted') {
      this.#admitted++;
      if (event.permit.shadow !== undefined) this.#shadowHeld++;
    } else if (event.kind === 'refused') {
      const { reason } = event.refusal;
      this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
    } else if (event.kind === 'ended') {
      if (event.how === 'lapsed') this.#lapsed++;
      else this.#released++;
    }
  }

  /** The figures now. */
  view(): GroupCounters {
    return { admitted: this.#admitted, refused: { ...this.#refused }, lapsed: this.#lapsed, released: this.#released, shadowHeld: this.#shadowHeld };
  }
}
