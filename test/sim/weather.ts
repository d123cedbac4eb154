import { MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import type { Dice } from './dice.ts';

/** From when until when something does not work. */
type Span = readonly [from: Micros, until: Micros];

/** One thing that happens to a replica. */
export type Mishap =
  | { readonly kind: 'pause'; readonly at: Micros; readonly replica: number; readonly until: Micros }
  | { readonly kind: 'crash'; readonly at: Micros; readonly replica: number; readonly until: Micros }
  /** Every replica at once. */
  | { readonly kind: 'blackout'; readonly at: Micros; readonly replica: number; readonly until: Micros }
  | { readonly kind: 'leave'; readonly at: Micros; readonly replica: number; readonly until: Micros }
  | { readonly kind: 'wall'; readonly at: Micros; readonly replica: number; readonly by: Micros }
  | { readonly kind: 'revise'; readonly at: Micros; readonly replica: number; readonly by: number }
  | { readonly kind: 'wipe'; readonly at: Micros; readonly replica: number };

/** How bad it is: nothing but slow and lost messages now and then, or everything at random. */
export interface Climate {
  readonly replicas: number;
  /** Faults begin after `calm` and are all over at `healed`. */
  readonly calm: Micros;
  readonly healed: Micros;
  /** Session registers are lost (their stream is wiped). */
  readonly wipes: boolean;
}

/** All faults of one seed, drawn before it begins: a quarter of the seeds has none. */
export class Weather {
  readonly mishaps: readonly Mishap[];
  /** Nothing happens at all, but a message in a thousand is lost. */
  readonly calm: boolean;
  /** Part of messages lost, doubled, and late. */
  readonly loss: number;
  readonly doubling: number;
  readonly delay: number;
  /** Reads lag until then. */
  readonly #staleUntil: Micros;
  readonly #registersDown: readonly Span[];
  /** By replica: asks to, and answers from, the registers and the ledger. */
  readonly #asksCut: readonly (readonly Span[])[];
  readonly #answersCut: readonly (readonly Span[])[];
  /** By sender, then receiver. */
  readonly #cut: readonly (readonly (readonly Span[])[])[];

  constructor(dice: Dice, climate: Climate) {
    const { replicas } = climate;
    const force = dice.chance(0.25) ? 0 : dice.unit();
    this.calm = force === 0;
    const all = [...Array(replicas).keys()];
    this.loss = force === 0 ? 0.001 : 0.02 * dice.unit();
    this.doubling = force === 0 ? 0 : 0.02;
    this.delay = force === 0 ? 0 : 0.02;
    this.#staleUntil = force > 0 && dice.chance(0.5) ? climate.healed : 0;
    const spans = (most: number, long: Micros) => drawSpans(dice, climate, force === 0 ? 0 : Math.round(most * force), long);
    this.#registersDown = spans(2, 10 * SECOND);
    this.#asksCut = all.map(() => spans(2, 5 * SECOND));
    this.#answersCut = all.map(() => spans(2, 3 * SECOND));
    const deaf = all.map(() => spans(2, 5 * SECOND));
    this.#cut = all.map((from) => all.map((to) => (from === to ? (deaf[from] ?? []) : [...(deaf[from] ?? []), ...(deaf[to] ?? []), ...spans(1, 4 * SECOND)])));
    this.mishaps = force === 0 ? [] : drawMishaps(dice, climate, Math.round(10 * force));
  }

  registersDown(at: Micros): boolean {
    return within(this.#registersDown, at);
  }

  stale(at: Micros): boolean {
    return at < this.#staleUntil;
  }

  asksCut(replica: number, at: Micros): boolean {
    return within(this.#asksCut[replica] ?? [], at);
  }

  answersCut(replica: number, at: Micros): boolean {
    return within(this.#answersCut[replica] ?? [], at);
  }

  cut(from: number, to: number, at: Micros): boolean {
    return within(this.#cut[from]?.[to] ?? [], at);
  }

  /** How long a message is on its way. */
  latency(dice: Dice): Micros {
    return 100 + dice.exponential(MILLISECOND) + (dice.chance(this.delay) ? dice.below(1_500 * MILLISECOND) : 0);
  }
}

function drawSpans(dice: Dice, { calm, healed }: Climate, most: number, long: Micros): readonly Span[] {
  return Array.from({ length: dice.below(most + 1) }, () => {
    const from = calm + dice.below(healed - calm);
    return [from, Math.min(healed, from + dice.below(long))];
  });
}

function drawMishaps(dice: Dice, { calm, healed, replicas, wipes }: Climate, most: number): readonly Mishap[] {
  return Array.from({ length: 1 + dice.below(most) }, (): Mishap => {
    const at = calm + dice.below(healed - calm);
    const replica = dice.below(replicas);
    const until = (long: Micros) => Math.min(healed, at + dice.below(long));
    const kind = dice.unit();
    if (kind < 0.35) return { kind: 'pause', at, replica, until: until(5 * SECOND) };
    if (kind < 0.65) return { kind: 'crash', at, replica, until: until(3 * SECOND) };
    // Half of those that leave are killed on the way.
    if (kind < 0.8) return { kind: 'leave', at, replica, until: until(dice.chance(0.5) ? 300 * MILLISECOND : 5 * SECOND) };
    if (kind < 0.82) return { kind: 'blackout', at, replica, until: until(3 * SECOND) };
    if (kind < 0.86) return { kind: 'revise', at, replica, by: dice.chance(0.8) ? 1 : -1 };
    if (kind < 0.9 || !wipes) return { kind: 'wall', at, replica, by: (dice.unit() - 0.5) * 7_200 * SECOND };
    return { kind: 'wipe', at, replica };
  });
}

function within(spans: readonly Span[], at: Micros): boolean {
  return spans.some(([from, until]) => at >= from && at < until);
}
