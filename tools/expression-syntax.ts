/** Characters as ranges of code units (code points with the flag `u`), both ends included. */
export type Ranges = readonly (readonly [from: number, to: number])[];

/** A regular expression as a tree. */
export type Expression =
  | { readonly kind: 'set'; readonly set: Ranges }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly body: Expression; readonly min: number; readonly max: number; readonly lazy: boolean }
  /** `start` is `^` and `end` is `$` without the flag `m`; every other assertion of a position is `maybe`. */
  | { readonly kind: 'assertion'; readonly at: 'start' | 'end' | 'maybe' }
  | { readonly kind: 'lookahead'; readonly body: Expression };

const LAST = 0x10ffff;
const DIGITS: Ranges = [[48, 57]];
const WORD: Ranges = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const SPACE: Ranges = [
  [9, 13],
  [32, 32],
  [160, 160],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: Ranges = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const CONTROL: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, v: 11, f: 12 };
export const ANY: Ranges = [[0, LAST]];

/** Returns what is not in a set. */
function inverted(set: Ranges): Ranges {
  const out: [number, number][] = [];
  let next = 0;
  for (const [from, to] of [...set].sort(([a], [b]) => a - b)) {
    if (from > next) out.push([next, from - 1]);
    next = Math.max(next, to + 1);
  }
  if (next <= LAST) out.push([next, LAST]);
  return out;
}

/** Adds the other case of ASCII letters. */
function anyCase(set: Ranges): Ranges {
  const shifted = (low: number, by: number) =>
    set.flatMap(([from, to]) => (Math.max(from, low) <= Math.min(to, low + 25) ? [[Math.max(from, low) + by, Math.min(to, low + 25) + by] as const] : []));
  return [...set, ...shifted(65, 32), ...shifted(97, -32)];
}

/** Parses a regular expression of JavaScript. Throws for what it does not know: backreferences, unbounded lookbehind, the flag `v`. */
export function parseExpression(source: string, flags: string): Expression {
  const parser = new Parser(source, flags);
  return parser.whole();
}

class Parser {
  readonly #source: string;
  readonly #flags: string;
  #at = 0;

  constructor(source: string, flags: string) {
    if (flags.includes('v')) throw new Error('the flag v is not known here');
    this.#source = source;
    this.#flags = flags;
  }

  whole(): Expression {
    const all = this.#choice();
    if (this.#at < this.#source.length) throw new Error(`${this.#source[this.#at]} at ${this.#at} is not understood`);
    return all;
  }

  #takes(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #taken(pattern: RegExp): RegExpExecArray | undefined {
    const sticky = new RegExp(pattern, 'y');
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#source) ?? undefined;
    this.#at += found?.[0].length ?? 0;
    return found;
  }

  #choice(): Expression {
    const parts = [this.#sequence()];
    while (this.#takes('|')) parts.push(this.#sequence());
    return parts.length === 1 ? (parts[0] as Expression) : { kind: 'choice', parts };
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    while (this.#at < this.#source.length && !'|)'.includes(this.#source[this.#at] as string)) parts.push(this.#repeated(this.#atom()));
    return { kind: 'sequence', parts };
  }

  #repeated(body: Expression): Expression {
    const found = this.#taken(/([*+?])|\{(\d+)(,?)(\d*)\}/);
    if (found === undefined) return body;
    const [, sign, least = '0', comma, most] = found;
    const [min, max] = sign === '*' ? [0, Infinity] : sign === '+' ? [1, Infinity] : sign === '?' ? [0, 1] : bounds(Number(least), comma === ',', most ?? '');
    return { kind: 'repeat', body, min, max, lazy: this.#takes('?') };
  }

  #atom(): Expression {
    const multiline = this.#flags.includes('m');
    if (this.#takes('^')) return { kind: 'assertion', at: multiline ? 'maybe' : 'start' };
    if (this.#takes('$')) return { kind: 'assertion', at: multiline ? 'maybe' : 'end' };
    if (this.#takes('\\b') || this.#takes('\\B')) return { kind: 'assertion', at: 'maybe' };
    if (this.#takes('(')) return this.#group();
    if (this.#takes('[')) return this.#charset(this.#class());
    if (this.#takes('.')) return this.#charset(this.#flags.includes('s') ? ANY : inverted(LINE_ENDS));
    if (this.#takes('\\')) return this.#charset(this.#escape());
    return this.#charset(this.#character());
  }

  #group(): Expression {
    const behind = this.#taken(/\?<[=!]/) !== undefined;
    const ahead = !behind && this.#taken(/\?[=!]/) !== undefined;
    if (!behind && !ahead) this.#taken(/\?:|\?<[A-Za-z_$][\w$]*>/);
    const body = this.#choice();
    if (!this.#takes(')')) throw new Error(`( before ${this.#at} is not closed`);
    if (behind && !isShort(body)) throw new Error('an unbounded lookbehind is not known here');
    return behind ? { kind: 'assertion', at: 'maybe' } : ahead ? { kind: 'lookahead', body } : body;
  }

  #charset(set: Ranges): Expression {
    return { kind: 'set', set: this.#flags.includes('i') ? anyCase(set) : set };
  }

  #class(): Ranges {
    const negated = this.#takes('^');
    const set: (readonly [number, number])[] = [];
    while (!this.#takes(']')) {
      const first = this.#member();
      const low = first[0]?.[0];
      if (first.length === 1 && low !== undefined && low === first[0]?.[1] && this.#taken(/-(?!\])/) !== undefined) {
        const high = this.#member()[0]?.[1];
        if (high === undefined || high < low) throw new Error(`a range before ${this.#at} is not understood`);
        set.push([low, high]);
      } else set.push(...first);
    }
    return negated ? inverted(this.#flags.includes('i') ? anyCase(set) : set) : set;
  }

  #member(): Ranges {
    if (this.#at >= this.#source.length) throw new Error('[ is not closed');
    if (this.#takes('\\b')) return [[8, 8]];
    return this.#takes('\\') ? this.#escape() : this.#character();
  }

  #character(): Ranges {
    const code = (this.#flags.includes('u') ? this.#source.codePointAt(this.#at) : this.#source.charCodeAt(this.#at)) ?? 0;
    this.#at += code > 0xffff ? 2 : 1;
    return [[code, code]];
  }

  /** What stands behind a backslash. */
  #escape(): Ranges {
    const digits = this.#taken(/x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]+)\}/);
    if (digits !== undefined) {
      const code = Number.parseInt(digits[1] ?? digits[2] ?? digits[3] ?? '', 16);
      return [[code, code]];
    }
    if (this.#taken(/[pP]\{[^}]*\}/) !== undefined) return ANY;
    const char = this.#source[this.#at] ?? '';
    const lower = char.toLowerCase();
    const named = lower === 'd' ? DIGITS : lower === 'w' ? WORD : lower === 's' ? SPACE : undefined;
    if (/[1-9kc]/.test(char)) throw new Error(`\\${char} is not known here`);
    const code = char === '0' ? 0 : CONTROL[char];
    if (named === undefined && code === undefined) return this.#character();
    this.#at += 1;
    return code !== undefined ? [[code, code]] : char === lower ? (named as Ranges) : inverted(named as Ranges);
  }
}

function bounds(least: number, open: boolean, most: string): [number, number] {
  return [least, open ? (most === '' ? Infinity : Number(most)) : least];
}

/** Whether what it matches has a bounded length. */
function isShort(node: Expression): boolean {
  if (node.kind === 'repeat') return node.max < 100 && isShort(node.body);
  return node.kind === 'sequence' || node.kind === 'choice' ? node.parts.every(isShort) : node.kind !== 'lookahead';
}
