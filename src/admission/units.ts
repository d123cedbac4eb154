import { type Costs, ONE_REQUEST, REQUESTS } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { CostRule, GroupSettings } from './admission.ts';
import { lineOf, type TreeSpec } from './tree-spec.ts';

/** Units named in one refusal at most. */
const SHOWN_MAX = 16;

/** Whether this is a refusal, not costs: a unit may be called `reason`, but is a number. */
export function isRefusal(costs: Costs | Refusal): costs is Refusal {
  return typeof (costs as Refusal).reason === 'string';
}

/** Units that limits of one group and of those above it count, and what a request costs in those it does not name. */
export class Units {
  readonly #group: string;
  readonly #rules: ReadonlyMap<string, CostRule>;
  /** The usual request with the defaults; undefined where it must name more. */
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

  /**
   * Returns the costs of a request that was priced under an earlier configuration, as they count now: without units that no limit
   * counts any more, with the defaults of units that came since. Refuses nothing, since the caller of a stored request has its answer.
   */
  repriced(costs: Costs): Costs {
    if (costs === ONE_REQUEST && this.#usual !== undefined) return this.#usual;
    let counted = costs;
    if (this.unknownIn(costs) !== undefined) {
      const known = Object.entries(costs).filter(([unit]) => this.names.has(unit));
      counted = Object.assign(Object.create(null) as Record<string, number>, Object.fromEntries(known));
    }
    return this.#rules.size === 0 ? counted : this.#withDefaults(counted);
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
    for (const [unit, { required }] of this.#rules) {
      if (required && !Object.hasOwn(costs, unit))
        return { reason: 'malformed', detail: `Group ${this.#group} has no default cost in ${unit}: name it in \`costs\`.` };
    }
    return this.#withDefaults(costs);
  }

  #withDefaults(costs: Costs): Costs {
    let filled: Record<string, number> | undefined;
    for (const [unit, rule] of this.#rules) {
      if (Object.hasOwn(costs, unit)) continue;
      if (rule.default === undefined || rule.default === 0) continue;
      filled ??= Object.assign(Object.create(null) as Record<string, number>, costs);
      filled[unit] = rule.default;
    }
    return filled ?? costs;
  }
}

/** Made once for each group of a tree that is asked about. */
const unitsOfTrees = new WeakMap<TreeSpec, Map<string, Units>>();

/** Returns the units of a group of this tree; undefined if the group is not of it. */
export function unitsIn(planted: TreeSpec, group: string): Units | undefined {
  let known = unitsOfTrees.get(planted);
  if (known === undefined) {
    known = new Map();
    unitsOfTrees.set(planted, known);
  }
  let units = known.get(group);
  const settings = units === undefined ? planted.settings.find(({ spec }) => spec.name === group) : undefined;
  if (settings === undefined) return units;
  units = new Units(lineOf(settings, new Map(planted.settings.map((each) => [each.spec.name, each]))));
  known.set(group, units);
  return units;
}
