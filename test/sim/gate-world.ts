import type { GroupSpec } from '../../src/core/group.ts';
import type { Permit } from '../../src/core/permit.ts';
import { type Instant, MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import { Checker } from '../core/checker.ts';
import { concurrency, fixed, group, rate, rolling, START, spacing } from '../core/specs.ts';
import type { Judge } from './judge.ts';
import type { SimChains } from './sim-chains.ts';

/** A permit that somebody was told of. */
export interface Told {
  readonly shard: number;
  readonly permit: Permit;
  /** Real time of the decision. */
  readonly now: Micros;
  /** Shard time at which it is over, as its holder knows it. */
  end: number;
  released: boolean;
}

/** A tree for each shard: short recovery (horizon), long recovery (bounds written ahead), leases. */
const TREES: readonly (readonly GroupSpec[])[] = [
  [group('short', [rolling(5, 2 * SECOND), spacing(120 * MILLISECOND, 0, { scope: 'key' }), rate(12, 2 * SECOND, 3)])],
  [group('long', [rolling(40, 20 * SECOND), rate(3, SECOND, 6), fixed(30, 15 * SECOND), spacing(4 * SECOND, 0, { name: 'pace', scope: 'key' })])],
  [group('leases', [concurrency(3), concurrency(1, { name: 'one', scope: 'key' }), rolling(30, 10 * SECOND)])],
  [
    group('root', [rolling(12, 5 * SECOND), concurrency(5)]),
    group('leaf', [fixed(4, SECOND), concurrency(2, { scope: 'key' })], { parent: { group: 'root', share: undefined } }),
  ],
];

/** What the gates of all replicas share: their ledger, and what their callers were told. */
export class GateWorld {
  readonly chains: SimChains;
  readonly told: Told[] = [];

  constructor(chains: SimChains) {
    this.chains = chains;
  }

  tree(shard: number): readonly GroupSpec[] {
    return TREES[shard % TREES.length] as readonly GroupSpec[];
  }

  /** Counts everything anew from what callers were told, by the limits' own words; in shard time, and in real time where windows have no fixed places. */
  check(judge: Judge, shards: number): void {
    for (let shard = 0; shard < shards; shard++) {
      const mine = this.told.filter((told) => told.shard === shard).sort((a, b) => a.permit.grantedAt - b.permit.grantedAt || Number(fenceOf(a) - fenceOf(b)));
      let fence = 0n;
      for (const told of mine) {
        const next = told.permit.lease?.fence;
        if (next === undefined) continue;
        if (next <= fence) judge.complain(`shard ${shard}: fence ${next} at ${told.permit.grantedAt} after ${fence}`);
        fence = next;
      }
      this.#count(judge, shard, mine, this.tree(shard), (told) => told.permit.grantedAt);
      // Real time, stretched by what clocks may differ: what shard time calls a window is one in real time too.
      const rolled = this.tree(shard).map((spec) => ({
        ...spec,
        limits: spec.limits.filter(({ quota }) => quota.kind !== 'fixed' && quota.kind !== 'concurrency'),
      }));
      const real = [...mine].sort((a, b) => a.now - b.now);
      this.#count(judge, shard, real, rolled, (told) => Math.ceil(START + told.now * 1.002 + 10) as Instant);
    }
  }

  #count(judge: Judge, shard: number, all: readonly Told[], groups: readonly GroupSpec[], at: (told: Told) => Instant): void {
    const checker = new Checker(groups, true);
    for (const told of all) {
      const { permit } = told;
      checker.admitted(at(told) - START, permit.group, permit.key, permit.costs, told.end - START);
      const complaint = checker.complaints[0];
      if (complaint !== undefined) return judge.complain(`shard ${shard}: over: ${complaint}`);
    }
  }
}

function fenceOf({ permit }: Told): bigint {
  return permit.lease?.fence ?? 0n;
}
