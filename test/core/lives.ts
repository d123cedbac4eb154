import fc from 'fast-check';
import type { Gate } from '../../src/core/gate/gate.ts';
import type { GroupSpec } from '../../src/core/group.ts';
import { HOUR, later, MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import { Checker } from './checker.ts';
import type { Disk } from './disk.ts';
import { Driver } from './driver.ts';
import { type Handle, permitOf } from './handle.ts';
import { concurrency, fixed, group, rate, rolling, START, spacing } from './specs.ts';

/** What happens in a life. */
export type Deed =
  | {
      readonly do: 'ask';
      readonly group: number;
      readonly key: string;
      readonly cost: number;
      readonly tokens: number;
      readonly ttl: Micros;
      readonly lease: Micros;
      readonly reported?: boolean;
    }
  | { readonly do: 'run'; readonly by: Micros }
  | { readonly do: 'snapshot' }
  | { readonly do: 'release' | 'renew'; readonly pick: number };

/** A process from its start to its death. */
export interface Life {
  readonly deeds: readonly Deed[];
  readonly ackDelay: Micros;
  /** Of the writes under way at the end so many are on disk. */
  readonly survivors: number;
  /** How long nobody decides. */
  readonly down: Micros;
  /** How long before it may decide the next process already takes asks. */
  readonly early: Micros;
}

const millis = (min: number, max: number): fc.Arbitrary<Micros> => fc.integer({ min, max }).map((value) => value * MILLISECOND);

export const deedOf: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      group: fc.nat(3),
      key: fc.constantFrom('a', 'b'),
      cost: fc.constantFrom(1, 1, 2),
      tokens: fc.integer({ min: 0, max: 10 }),
      ttl: fc.oneof(fc.constant(0), millis(0, 20_000)),
      lease: millis(100, 5_000),
      reported: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('run' as const), by: fc.oneof(millis(1, 50), millis(50, 4_000)) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('release' as const, 'renew' as const), pick: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'snapshot' as const }) },
);

function livesWith(deeds: fc.Arbitrary<readonly Deed[]>): fc.Arbitrary<readonly Life[]> {
  return fc.array(
    fc.record({
      deeds,
      ackDelay: fc.oneof(fc.constant(0), millis(0, 30), millis(100, 2_000)),
      survivors: fc.nat(5),
      down: fc.oneof(fc.constant(0), millis(0, 3_000)),
      early: fc.oneof(fc.constant(0), millis(0, 1_000)),
    }),
    { minLength: 2, maxLength: 5 },
  );
}

/** Several of them, one after the other. */
export const livesOf: fc.Arbitrary<readonly Life[]> = livesWith(fc.array(deedOf, { maxLength: 25, size: 'max' }));

/** Lives in which mostly requests are forwarded, often many at once, and seldom for more than one key. */
export const forwardLivesOf: fc.Arbitrary<readonly Life[]> = livesWith(
  fc
    .array(
      fc.oneof(
        {
          weight: 4,
          arbitrary: fc
            .tuple(
              fc.record({
                do: fc.constant('ask' as const),
                group: fc.nat(1),
                key: fc.constantFrom('a', 'a', 'a', 'b'),
                cost: fc.constantFrom(1, 1, 1, 2),
                tokens: fc.integer({ min: 0, max: 10 }),
                ttl: fc.constant(0),
                lease: fc.constantFrom(SECOND, SECOND, 1_900 * MILLISECOND, 3 * SECOND),
                reported: fc.constantFrom(true, true, true, false),
              }),
              fc.constantFrom(1, 1, 2, 4, 13),
            )
            .map(([ask, times]): readonly Deed[] => Array.from({ length: times }, () => ask)),
        },
        { weight: 5, arbitrary: deedOf.filter((deed) => deed.do !== 'ask').map((deed): readonly Deed[] => [deed]) },
      ),
      { maxLength: 15, size: 'max' },
    )
    .map((deeds) => deeds.flat()),
);

/** Concurrency of few and of many, in one unit or two, of a group, of its keys, and of a parent. */
export const forwardTrees: readonly (readonly GroupSpec[])[] = [
  [group('g', [concurrency(2)])],
  [group('g', [concurrency(14)])],
  [group('g', [concurrency(12), concurrency(60, { unit: 'tokens', name: 'tokens' })])],
  [group('g', [concurrency(13, { scope: 'key' }), concurrency(16, { name: 'all' })])],
  [group('root', [concurrency(13)]), group('leaf', [concurrency(10)], { parent: { group: 'root', share: undefined } })],
  [group('root', [concurrency(12)]), group('half', [], { parent: { group: 'root', share: 0.5 } })],
];

/** Long recovery: bounds are written ahead. The root lets one go every 0.3 s, so that children's waiters outlive their first bounds. */
export const longTree: readonly GroupSpec[] = [
  group('g0', [spacing(300 * MILLISECOND), rolling(20, HOUR, { name: 'long window' }), fixed(15, 60 * SECOND, {}, { name: 'long fixed' })]),
  group('g1', [rate(6, 10 * SECOND, 3, { name: 'long rate' }), rolling(3, 4 * SECOND, { name: 'window' }), concurrency(2, { scope: 'key' })], {
    parent: { group: 'g0', share: undefined },
  }),
  group('g2', [spacing(7 * SECOND, 0, { scope: 'key' }), rolling(90, 30 * SECOND, { unit: 'tokens', name: 'tokens' })], {
    parent: { group: 'g0', share: undefined },
  }),
  group('g3', [fixed(4, 20 * SECOND, { align: 'first' }), concurrency(3)], { parent: { group: 'g0', share: undefined } }),
];

/** An admission that somebody was told of, or will be once it is on disk. */
interface Told {
  readonly handle: Handle;
  readonly charge: ReturnType<Checker['admitted']>;
  released: boolean;
}

/** Several lives of one tree on one disk, with everything that was told to anybody in one log. */
class Lives {
  readonly checker: Checker;
  readonly #groups: readonly GroupSpec[];
  readonly #gateClass: typeof Gate | undefined;
  #told: Told[] = [];
  #fence = 0n;
  #now = START;
  #disk: Disk | undefined;

  constructor(groups: readonly GroupSpec[], gateClass?: typeof Gate) {
    this.#groups = groups;
    this.#gateClass = gateClass;
    this.checker = new Checker(groups, true);
  }

  live(life: Life, term: bigint): void {
    // Slots before `from` belong to the term before; its last decision was earlier.
    const from = (this.#now + 1 + life.down) as typeof START;
    const disk = this.#disk;
    const early = disk ? Math.min(life.early, life.down) : 0;
    const driver = new Driver({
      groups: this.#groups,
      recording: true,
      reports: true,
      term,
      now: (from - early) as typeof START,
      ackDelay: life.ackDelay,
      ...(this.#gateClass ? { gateClass: this.#gateClass } : {}),
      ...(disk ? { disk, restored: disk.restored(), from } : {}),
    });
    const mine: Told[] = [];
    driver.onAdmitted = (handle) => {
      if (disk && driver.now < from) throw new Error(`admitted at ${driver.now}, before ${from}`);
      mine.push({ handle, charge: this.#admitted(handle), released: false });
    };
    for (const deed of life.deeds) this.#do(driver, deed, mine);
    const wrong = driver.gate.audit(driver.now);
    if (wrong.length > 0) throw new Error(`audit: ${wrong.join('; ')}`);
    this.#disk = driver.kill(life.survivors);
    this.#now = later(driver.now, from);
    for (const { handle, charge } of mine) if (!handle.answered) this.checker.forget(charge);
    this.#told.push(...mine.filter(({ handle }) => handle.answered));
  }

  #admitted(handle: Handle): ReturnType<Checker['admitted']> {
    const lease = handle.permit?.lease;
    const at = (handle.at ?? START) - START;
    const charge = this.checker.admitted(at, handle.group, handle.ask.key, handle.ask.costs, lease ? lease.expiresAt - START : Number.POSITIVE_INFINITY);
    if (this.checker.complaints.length > 0) throw new Error(`over: ${this.checker.complaints.join('; ')}`);
    if (lease && lease.fence <= this.#fence) throw new Error(`fence ${lease.fence} after ${this.#fence}`);
    this.#fence = lease?.fence ?? this.#fence;
    if (lease) this.#checkFloor(handle, lease.fenceFloor);
    return charge;
  }

  /** A backend that refuses what is below the floor refuses nobody who may still be at work. */
  #checkFloor({ group: name, ask: { key }, at = START }: Handle, floor: bigint): void {
    for (const { handle, charge } of this.#told) {
      const { lease } = permitOf(handle);
      if (lease === undefined || handle.group !== name || handle.ask.key !== key || charge.end <= at - START) continue;
      if (lease.fence < floor) throw new Error(`a floor of ${floor}, and ${lease.fence} of an earlier life is alive`);
    }
  }

  #do(driver: Driver, deed: Deed, mine: Told[]): void {
    if (deed.do === 'run') return driver.advance(deed.by);
    if (deed.do === 'snapshot') return driver.snapshot();
    if (deed.do === 'ask') {
      const name = this.#groups[deed.group % this.#groups.length]?.name ?? '';
      const { key, cost, tokens, ttl, lease, reported = false } = deed;
      driver.ask({ group: name, key, costs: { requests: cost, tokens }, ttl, lease, reported });
      return;
    }
    // Leases of every life so far, as their holders know them; those of reported ones end with their life.
    const leases = [...this.#told.filter(({ handle }) => handle.ask.reported !== true), ...mine].filter(
      ({ handle, charge }) => handle.answered && handle.permit?.lease && charge.end > driver.now - START,
    );
    const chosen = leases[deed.pick % (leases.length || 1)];
    if (!chosen) return;
    const { handle, charge } = chosen;
    if (deed.do === 'release') {
      // No slot is free before the release: the checker must know it first.
      const end = charge.end;
      charge.end = driver.now - START;
      chosen.released = true;
      const answer = driver.release(handle);
      if (answer !== true) throw new Error(`a live lease until ${end} of an earlier life was not known: ${JSON.stringify(answer)}`);
      return;
    }
    const answer = driver.renew(handle, handle.ask.lease, (lease) => {
      if (!chosen.released) charge.end = Math.max(charge.end, lease.expiresAt - START);
    });
    if (!('expiresAt' in answer)) throw new Error(`a live lease of an earlier life could not be renewed: ${JSON.stringify(answer)}`);
  }
}

/** Lives them all; throws at the first thing that is wrong. */
export function liveThrough(groups: readonly GroupSpec[], lives: readonly Life[], gateClass?: typeof Gate): void {
  const all = new Lives(groups, gateClass);
  for (const [index, life] of lives.entries()) all.live(life, BigInt(index + 1));
}
