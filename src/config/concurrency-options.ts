import { UNITS_MAX } from '../core/bounds.ts';
import type { Adapt } from '../core/group.ts';
import { MILLISECOND } from '../core/time.ts';
import { ValueError } from './errors.ts';
import { concurrencyMax, PER } from './limit-scalars.ts';
import { decimal, duration, integer, oneOf, percent } from './scalars.ts';
import { optional, type ReportAt, refine, required, struct, type Unverified, type ValueOf } from './schema.ts';

/** Units a limit that adapts starts with, where nothing is set. */
const INITIAL = 10;

const concurrency = struct(
  {
    max: required(concurrencyMax(), 'At most this many held at once, by leases.'),
    adapt: optional(
      oneOf('gradient', 'aimd'),
      'How a number below `max` is found: by how much longer permits are held than at a third of it, or one more each round until there is overload.',
      'none: always `max`',
    ),
    floor: optional(integer({ min: 1, max: UNITS_MAX }), 'With adapt: never fewer than this.', '1'),
    initial: optional(integer({ min: 1, max: UNITS_MAX }), 'With adapt: how many at first, after every start.', `${INITIAL}, within floor and max`),
    tolerance: optional(decimal({ min: 1, max: 10 }), 'Gradient only: permits may be held so many times as long as at a third of the limit.', '1.5'),
    backoff: optional(percent(), 'With adapt: what is left of the limit after a permit was dropped, lapsed or slow.', '90%'),
    slow: optional(duration({ min: MILLISECOND, max: PER.max }), 'With adapt: a permit held longer is overload too.', 'none is'),
  },
  { short: 'max' },
);

/** A number of units held at once, or how it is found. */
export type ConcurrencyOptions = ValueOf<typeof concurrency>;

/** `8`, or `{ max: 200, adapt: gradient }`. */
export const concurrencyOptions = refine(concurrency, checkConcurrency);

function checkConcurrency(said: Unverified<ConcurrencyOptions>, report: ReportAt, written: ReadonlySet<string>): void {
  if (!written.has('adapt')) {
    for (const name of ['floor', 'initial', 'tolerance', 'backoff', 'slow']) {
      if (written.has(name)) report([name], new ValueError(`${name} has no meaning for a fixed number`, 'Add adapt: gradient or adapt: aimd, or remove it.'));
    }
    return;
  }
  if (said.adapt === 'aimd' && written.has('tolerance'))
    report(['tolerance'], new ValueError('tolerance has no meaning for aimd', 'Remove it; aimd has slow.'));
  const { max, floor = 1, initial } = said;
  if (max === undefined) return;
  if (floor > max) report(['floor'], new ValueError(`floor ${floor} is more than max ${max}`, 'Lower the floor, or raise max.'));
  else if (initial !== undefined && (initial < floor || initial > max))
    report(['initial'], new ValueError(`initial ${initial} is not between floor ${floor} and max ${max}`, 'Take a number between them.'));
}

/** The quota that was set. */
export function concurrencyQuota({ max, adapt, floor = 1, initial = INITIAL, tolerance = 1.5, backoff = 0.9, slow }: ConcurrencyOptions): {
  readonly kind: 'concurrency';
  readonly max: number;
  readonly adapt?: Adapt;
} {
  if (adapt === undefined) return { kind: 'concurrency', max };
  return { kind: 'concurrency', max, adapt: { by: adapt, floor, initial: Math.min(max, Math.max(floor, initial)), tolerance, backoff, slow } };
}
