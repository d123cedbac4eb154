import { ANY, type Expression, parseExpression, type Ranges } from './expression-syntax.ts';

/*
 * Proves that a regular expression takes linear time, whatever text it is given.
 *
 * A backtracking matcher follows, one after the other, all paths that a text can take through the automaton of the expression. It takes
 * more than linear time only where the number of such paths grows with the text: where states p and q and a text v exist, so that v leads
 * from p to p, from p to q, and from q to q (Weber and Seidl 1991: infinite ambiguity; quadratic, or worse). A search that is not
 * anchored begins anew at each character, which is a state of its own that takes every character. The proof looks for such p, q and v in
 * the product of three copies of the automaton; where there are none, the time is linear.
 *
 * It errs on one side: long bounded repetitions count as unbounded, lookaheads as texts that always may follow, and that a match can
 * fail is taken for granted, but where the end of the expression can be reached at once: there a matcher never comes back.
 */

/** Repetitions up to this many are told apart; longer ones count as unbounded. */
const COPIES_MAX = 8;
/** Ways between two characters that are followed at most. */
const WAYS_MAX = 20_000;

/** What an expression comes to as an automaton; states are numbers. */
export interface Automaton {
  /** Where a match begins. */
  readonly begin: number;
  readonly accept: number;
  /** Where a state leads without a character, what is tried first first. */
  readonly free: readonly (readonly number[])[];
  /** The characters that it takes, if it takes one. */
  readonly takes: readonly (Ranges | undefined)[];
  /** Where it leads with one. */
  readonly next: readonly number[];
  /** What has to be so for its free ways. */
  readonly needs: readonly ('start' | 'end' | 'maybe' | undefined)[];
  /** Heads of unbounded repetitions, with where each leads when it ends; its other free way begins the body anew. */
  readonly exits: ReadonlyMap<number, number>;
}

/** Makes the automaton of an expression. Throws for what is not understood. */
export function automatonOf(source: string, flags: string): Automaton {
  const free: number[][] = [];
  const takes: (Ranges | undefined)[] = [];
  const next: number[] = [];
  const needs: ('start' | 'end' | 'maybe' | undefined)[] = [];
  const exits = new Map<number, number>();
  const state = (ways: number[], set?: Ranges, to = -1): number => {
    free.push(ways);
    takes.push(set);
    next.push(to);
    needs.push(undefined);
    return free.length - 1;
  };
  const accept = state([]);
  const nowhere = state([]);
  const build = (node: Expression, to: number): number => {
    switch (node.kind) {
      case 'set':
        return state([], node.set, to);
      case 'sequence':
        return node.parts.reduceRight((behind, part) => build(part, behind), to);
      case 'choice':
        return state(node.parts.map((part) => build(part, to)));
      case 'lookahead':
        return state([build(node.body, nowhere), to]);
      case 'assertion': {
        const made = state([to]);
        needs[made] = node.at;
        return made;
      }
      case 'repeat':
        return repeat(node, to);
    }
  };
  const repeat = ({ body, min, max, lazy }: Expression & { readonly kind: 'repeat' }, to: number): number => {
    const either = (first: number, second: number): number[] => (lazy ? [second, first] : [first, second]);
    let at = to;
    if (max > COPIES_MAX) {
      const loop = state([]);
      free[loop] = either(build(body, loop), to);
      exits.set(loop, to);
      at = loop;
    } else for (let copy = min; copy < max; copy += 1) at = state(either(build(body, at), to));
    for (let copy = 0; copy < Math.min(min, COPIES_MAX); copy += 1) at = build(body, at);
    return at;
  };
  return { begin: build(parseExpression(source, flags), accept), accept, free, takes, next, needs, exits };
}

/** Why an expression may take more than linear time, with the text that does it when repeated; undefined: it is proved that it does not. */
export function slowness(source: string, flags: string): string | undefined {
  try {
    return new Proof(automatonOf(source, flags), flags.includes('y')).findings();
  } catch (cause) {
    return `not understood: ${(cause as Error).message}`;
  }
}

/** A state that takes a character, with what may take the one behind it. */
interface Taker {
  readonly set: Ranges;
  /** By number; `twice`: by more than one way, which is a choice that no character decides. */
  readonly followers: readonly { readonly taker: number; readonly twice: boolean }[];
  /** Whether the end can be reached behind it, whatever follows. */
  readonly done: boolean;
}

class Proof {
  readonly #takers: Taker[] = [];
  readonly #first: readonly number[];
  /** One character for each class of characters that no state tells apart, and the states that take it. */
  readonly #classes: readonly { readonly char: number; readonly by: readonly boolean[] }[];
  readonly #reach: readonly (readonly boolean[])[];

  constructor(automaton: Automaton, sticky: boolean) {
    const states = automaton.takes.flatMap((set, state) => (set === undefined ? [] : [state]));
    const numbers = new Map(states.map((state, number) => [state, number]));
    const followers = (from: number, atStart: boolean) => {
      const ways = waysFrom(automaton, from, atStart);
      return [...ways.counts].flatMap(([state, count]) => {
        const taker = numbers.get(state);
        return taker === undefined ? [] : [{ taker, twice: count > 1 }];
      });
    };
    for (const state of states) {
      const to = automaton.next[state] as number;
      this.#takers.push({ set: automaton.takes[state] as Ranges, followers: followers(to, false), done: waysFrom(automaton, to, false).done });
    }
    const begin = followers(automaton.begin, true).map(({ taker }) => taker);
    const search = this.#takers.length;
    if (!sticky) this.#takers.push({ set: ANY, followers: [{ taker: search, twice: false }, ...followers(automaton.begin, false)], done: false });
    this.#first = sticky ? begin : [...begin, search];
    this.#classes = classesOf(this.#takers);
    this.#reach = this.#takers.map((_, taker) => this.#reachable(this.#takers[taker]?.followers.map((each) => each.taker) ?? []));
  }

  findings(): string | undefined {
    const met = this.#reachable(this.#first);
    const loops = this.#takers.map((_, taker) => met[taker] === true && this.#reach[taker]?.[taker] === true);
    for (const [from, { followers }] of this.#takers.entries())
      for (const { taker, twice } of followers)
        if (twice && loops[from] && this.#reach[taker]?.[from]) return 'a repetition can be entered in two ways without a character between';
    for (const [p, looped] of loops.entries()) {
      if (!looped) continue;
      for (const [q, other] of loops.entries()) {
        if (!other || p === q || !this.#reach[p]?.[q]) continue;
        const text = this.#pump(p, q);
        if (text !== undefined) return `${JSON.stringify(text)} again and again can be matched in a growing number of ways`;
      }
    }
    return undefined;
  }

  #reachable(from: readonly number[]): readonly boolean[] {
    const met = this.#takers.map(() => false);
    const open = [...from];
    for (let taker = open.pop(); taker !== undefined; taker = open.pop()) {
      if (met[taker]) continue;
      met[taker] = true;
      open.push(...(this.#takers[taker]?.followers ?? []).map((each) => each.taker));
    }
    return met;
  }

  /** The shortest text that leads from p to p, from p to q, and from q to q; undefined: none does. */
  #pump(p: number, q: number): string | undefined {
    const size = this.#takers.length;
    const key = (x: number, y: number, z: number) => (x * size + y) * size + z;
    const goal = key(p, q, q);
    const seen = new Set<number>();
    let front: { readonly at: readonly [number, number, number]; readonly text: string }[] = [{ at: [p, p, q], text: '' }];
    while (front.length > 0) {
      const behind: typeof front = [];
      for (const { at, text } of front) {
        for (const [next, char] of this.#steps(at)) {
          const [x, y, z] = next;
          if (!this.#reach[x]?.[p] || !this.#reach[y]?.[q] || !this.#reach[z]?.[q]) continue;
          const more = text + String.fromCodePoint(char);
          if (key(x, y, z) === goal) return more;
          if (seen.has(key(x, y, z))) continue;
          seen.add(key(x, y, z));
          behind.push({ at: next, text: more });
        }
      }
      front = behind;
    }
    return undefined;
  }

  *#steps([x, y, z]: readonly [number, number, number]): Iterable<[[number, number, number], number]> {
    if (this.#takers[z]?.done) return;
    const shared = this.#classes.find(({ by }) => by[x] && by[y] && by[z]);
    if (shared === undefined) return;
    // Followers do not depend on the character, so that one shared character stands for all of them.
    const next = (taker: number) => this.#takers[taker]?.followers ?? [];
    for (const a of next(x)) for (const b of next(y)) for (const c of next(z)) yield [[a.taker, b.taker, c.taker], shared.char];
  }
}

/** How many ways lead from a state, without a character, to each state that takes one; and whether one leads to the end that nothing bars. */
function waysFrom({ free, takes, needs, exits, accept }: Automaton, from: number, atStart: boolean): { counts: Map<number, number>; done: boolean } {
  const counts = new Map<number, number>();
  /** Repetitions that were begun without a character since: the matcher refuses an empty one. */
  const begun = new Set<number>();
  let [ways, done] = [0, false];
  const walk = (state: number, barred: boolean): void => {
    ways += 1;
    if (ways > WAYS_MAX) throw new Error(`more than ${WAYS_MAX} ways between two characters`);
    if (state === accept) done ||= !barred;
    if (takes[state] !== undefined) counts.set(state, (counts.get(state) ?? 0) + 1);
    if (begun.has(state) || (needs[state] === 'start' && !atStart)) return;
    const exit = exits.get(state);
    for (const each of free[state] ?? []) {
      if (exit !== undefined && each !== exit) begun.add(state);
      walk(each, barred || needs[state] !== undefined);
      begun.delete(state);
    }
  };
  walk(from, false);
  return { counts, done };
}

function classesOf(takers: readonly Taker[]) {
  const edges = new Set([0, ...takers.flatMap(({ set }) => set.flatMap(([from, to]) => [from, to + 1]))]);
  // Characters that can be shown first.
  const chars = [...edges].filter((char) => char <= 0x10ffff).sort((a, b) => Number(a < 32) - Number(b < 32) || a - b);
  const found = new Map<string, { char: number; by: readonly boolean[] }>();
  for (const char of chars) {
    const by = takers.map(({ set }) => set.some(([from, to]) => from <= char && char <= to));
    const name = by.map(Number).join('');
    if (!found.has(name)) found.set(name, { char, by });
  }
  return [...found.values()];
}
