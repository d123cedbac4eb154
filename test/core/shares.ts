/** One who asks for permits over and over. */
export interface Demand {
  readonly name: string;
  readonly weight: number;
  /** Units it would take if nobody else asked. */
  readonly wants: number;
}

/**
 * What is fair, by hand: weighted max-min. Capacity is poured over everybody by weight; who has enough leaves, the rest
 * is poured again. Knows nothing of queues.
 */
export function fairShares(capacity: number, demands: readonly Demand[]): ReadonlyMap<string, number> {
  const shares = new Map(demands.map(({ name }) => [name, 0]));
  let left = capacity;
  let thirsty = demands.filter(({ wants }) => wants > 0);
  while (left > 1e-9 && thirsty.length > 0) {
    const weights = thirsty.reduce((sum, { weight }) => sum + weight, 0);
    const had = (demand: Demand): number => shares.get(demand.name) ?? 0;
    const level = Math.min(left / weights, ...thirsty.map((demand) => (demand.wants - had(demand)) / demand.weight));
    for (const demand of thirsty) shares.set(demand.name, had(demand) + level * demand.weight);
    left -= level * weights;
    thirsty = thirsty.filter((demand) => demand.wants - had(demand) > 1e-9);
  }
  return shares;
}

/** Jain's index of what each had, divided by what it should have: 1 is perfect. */
export function jain(ratios: readonly number[]): number {
  const sum = ratios.reduce((total, ratio) => total + ratio, 0);
  const squares = ratios.reduce((total, ratio) => total + ratio * ratio, 0);
  return (sum * sum) / (ratios.length * squares);
}

/** The largest relative distance between what was had and what is fair. */
export function worstError(had: ReadonlyMap<string, number>, fair: ReadonlyMap<string, number>): number {
  return Math.max(...[...fair].map(([name, share]) => Math.abs((had.get(name) ?? 0) - share) / share));
}
