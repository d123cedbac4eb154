import { type Costs, ONE_REQUEST, REQUESTS } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { CostRule, GroupSettings } from './admission.ts';

/** Units named in one refusal at most. */
const SHOWN_MAX = 16;

/** Tells a refusal from costs: a unit may be called `reason`, but is a number. */
export function isRefusal(costs: Costs | Refusal): costs is Refusal {
  return typeof (costs as Refusal).reason === 'string';
}

/** Units that limits of one group and of those above it count, and what an ask costs in those it does not name. */
export class Units {
  readonly #group: string;
  readonly #rules: ReadonlyMap<string, CostRule>;
  /** The usual ask with the defaults; undefined where it must name more. */
  readonly #usual: Costs | undefined;
  readonly names: ReadonlySet<string>;

  /** `line`: the group itself, then those above it. The nearest rule for a unit counts. */
  constructor(line: readonly GroupSettings[]) {
    this.#group = line[0]?.spec.name ?? '';
    this.names = new Set([REQUESTS, ...line.flatMap(({ spec }) => spec.limits.map(({ unit }) => unit))]);
    this.#rules = new Map(line.toReversed().flatMap(({ costs }) => [...costs].filter(([unit]) => this.names.has(unit))));
    const usual = this.#filled(ONE_REQUEST);
    this.#usual = isRefusal(usual) ? undefined : usual;
  }

  /** Costs with the defaults for units that are not named; `malformed` if one must be named, or is counted by no limit. */
  priced(costs: Costs): Costs | Refusal {
    if (costs === ONE_REQUEST && this.#usual !== undefined) return this.#usual;
    const wrong = this.unknownIn(costs);
    if (wrong !== undefined) return wrong;
    return this.#rules.size === 0 ? costs : this.#filled(costs);
  }

  /** `malformed` if `costs` name a unit that no limit counts, nor `before` counted; undefined if not. */
  unknownIn(costs: Costs, before?: ReadonlySet<string>): Refusal | undefined {
    for (const unit in costs) {
      if (this.names.has(unit) || before?.has(unit) === true) continue;
      const known = [...this.names].slice(0, SHOWN_MAX).join(', ');
      return { reason: 'malformed', detail: `No limit of group ${this.#group}, or above it, counts ${JSON.stringify(unit)}; name one of ${known}.` };
    }
    return undefined;
  }

  #filled(costs: Costs): Costs | Refusal {
    let filled: Record<string, number> | undefined;
    for (const [unit, rule] of this.#rules) {
      if (Object.hasOwn(costs, unit)) continue;
      if (rule.required) return { reason: 'malformed', detail: `Group ${this.#group} must be told what an ask costs in ${unit}: name it in \`costs\`.` };
      if (rule.default === undefined || rule.default === 0) continue;
      filled ??= Object.assign(Object.create(null) as Record<string, number>, costs);
      filled[unit] = rule.default;
    }
    return filled ?? costs;
  }
}
