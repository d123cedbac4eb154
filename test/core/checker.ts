import type { Costs, GroupSpec, LimitSpec, Quota } from '../../src/core/group.ts';
import { costOf } from '../../src/core/group.ts';
import { START } from './specs.ts';

/** One thing a checker knows of: an admission, or a debit settled later. */
interface Charge {
  readonly at: number;
  readonly path: readonly string[];
  readonly key: string;
  readonly asked: Costs;
  /** What still counts of it. */
  costs: Costs;
  /** Only admissions open fixed windows and are spaced. */
  readonly admission: boolean;
  /** Leases: when it is over. */
  end: number;
}

/**
 * Reads a log of admissions and says where more passed than the limits allow. Shares no code with the core: every
 * interval that ends at an admission is counted anew from the log.
 */
export class Checker {
  readonly complaints: string[] = [];
  readonly #charges: Charge[] = [];
  /** Several terms: a window that opened with an admission nobody was told of is not in the log. */
  readonly #terms: boolean;
  #groups = new Map<string, GroupSpec>();

  constructor(groups: readonly GroupSpec[], terms = false) {
    this.#terms = terms;
    this.reconfigure(groups);
  }

  /** From now on these limits are meant. */
  reconfigure(groups: readonly GroupSpec[]): void {
    this.#groups = new Map(groups.map((group) => [group.name, group]));
  }

  /** An admission; answers what to call when it is settled or ends. */
  admitted(at: number, group: string, key: string, costs: Costs, end: number): Charge {
    const charge: Charge = {
      at,
      path: this.#path(group),
      key,
      asked: costs,
      costs,
      admission: true,
      end,
    };
    this.#charges.push(charge);
    for (const name of charge.path) for (const limit of this.#limits(name)) this.#check(name, limit, charge);
    return charge;
  }

  /** It never left the server: the process died before it could be told. */
  forget(charge: Charge): void {
    this.#charges.splice(this.#charges.indexOf(charge), 1);
  }

  /** Its real costs became known: less is given back, more is a debit now. */
  settled(charge: Charge, now: number, real: Costs): void {
    const units = new Set(['requests', ...Object.keys(charge.costs), ...Object.keys(real)]);
    const less: Record<string, number> = {};
    const more: Record<string, number> = { requests: 0 };
    for (const unit of units) {
      less[unit] = Math.min(costOf(charge.costs, unit), costOf(real, unit));
      more[unit] = Math.max(0, costOf(real, unit) - costOf(charge.costs, unit));
    }
    charge.costs = less;
    if (Object.values(more).some((units) => units > 0)) {
      this.#charges.push({
        at: now,
        path: charge.path,
        key: charge.key,
        asked: more,
        costs: more,
        admission: false,
        end: 0,
      });
    }
  }

  #check(name: string, limit: LimitSpec, charge: Charge): void {
    if (costOf(charge.costs, limit.unit) === 0) return;
    const key = limit.scope === 'key' ? charge.key : undefined;
    const quota = (key === undefined ? undefined : limit.keys.get(key)) ?? limit.quota;
    const same = this.#charges.filter((other) => other.path.includes(name) && (key === undefined || other.key === key));
    const loose = this.#terms && quota.kind === 'fixed' && quota.align === 'first';
    // Where the beginnings of windows are not known: no interval of one window's length holds more than two windows' permits.
    const meant: Quota = loose ? { kind: 'window', permits: 2 * quota.permits, per: quota.per as number } : quota;
    const excess = over(
      meant,
      same.filter((other) => costOf(other.asked, limit.unit) > 0),
      charge.at,
      (other) => costOf(other.costs, limit.unit),
    );
    if (excess) this.complaints.push(`${name}/${limit.name}${key === undefined ? '' : ` key ${key}`} at ${charge.at}: ${excess}`);
  }

  #path(group: string): readonly string[] {
    const parent = this.#groups.get(group)?.parent?.group;
    return parent === undefined ? [group] : [group, ...this.#path(parent)];
  }

  #limits(name: string): readonly LimitSpec[] {
    const spec = this.#groups.get(name);
    const { parent } = spec ?? {};
    // A shadow holds nobody.
    if (!spec?.enforce) return [];
    if (parent?.share === undefined) return spec.limits;
    const share = parent.share;
    const parts = (this.#groups.get(parent.group)?.limits ?? []).filter(
      (limit) => limit.quota.kind === 'window' || limit.quota.kind === 'fixed' || limit.quota.kind === 'concurrency',
    );
    return [...spec.limits, ...parts.map((limit) => ({ ...limit, name: `share of ${limit.name}`, quota: scaled(limit.quota, share) }))];
  }
}

function scaled(quota: Quota, share: number): Quota {
  if (quota.kind === 'concurrency') return { ...quota, max: Math.floor(quota.max * share) };
  if (quota.kind === 'window' || quota.kind === 'fixed') return { ...quota, permits: Math.floor(quota.permits * share) };
  return quota;
}

/** What is wrong with the admission at `at`, the last of `charges`. */
function over(quota: Quota, charges: readonly Charge[], at: number, cost: (charge: Charge) => number): string | undefined {
  const sum = (some: readonly Charge[]): number => some.reduce((total, charge) => total + cost(charge), 0);
  const complain = (used: number, allowed: number, what: string): string | undefined => (used > allowed ? `${used} of ${allowed} ${what}` : undefined);
  switch (quota.kind) {
    case 'window':
      return complain(sum(charges.filter((charge) => charge.at > at - quota.per)), quota.permits, `in the ${quota.per} us before`);
    case 'concurrency':
      return complain(sum(charges.filter((charge) => charge.admission && charge.end > at)), quota.max, 'held');
    case 'spacing': {
      const before = charges
        .slice(0, -1)
        .filter((charge) => charge.admission && cost(charge) > 0)
        .at(-1);
      return before && at - before.at < quota.spacing + quota.slack ? `only ${at - before.at} us after the one before` : undefined;
    }
    case 'rate': {
      let used = 0;
      for (const charge of [...charges].reverse()) {
        used += cost(charge);
        const complaint =
          cost(charge) > 0 ? complain(used, quota.burst + Math.floor(((at - charge.at) * quota.permits) / quota.per), `since ${charge.at}`) : undefined;
        if (complaint) return complaint;
      }
      return undefined;
    }
    case 'fixed':
      return complain(sum(windowOf(quota, charges, at)), quota.permits + quota.spill, 'in its window');
  }
}

function windowOf(quota: Extract<Quota, { kind: 'fixed' }>, charges: readonly Charge[], at: number): readonly Charge[] {
  const per = quota.per as number;
  if (quota.align !== 'first') return charges.filter((charge) => Math.floor((START + charge.at) / per) === Math.floor((START + at) / per));
  let start = Number.NEGATIVE_INFINITY;
  for (const charge of charges) if (charge.admission && charge.at >= start + per) start = charge.at;
  return charges.filter((charge) => charge.at >= start);
}
