import type { Where } from './errors.ts';
import type { RawEntry, RawMap, SourceValue } from './source-value.ts';

/** Nested deeper is left to the library. */
const DEPTH_MAX = 32;

/** The library limits the length of a name that is followed by a colon to 1024. */
const NAME_LENGTH_MAX = 1_000;

/** Everything else, tabs and letters beyond ASCII among it, is left to the library. */
const OTHER_CHARACTER = /[^\n\x20-\x7e]/;

const NAME = /([A-Za-z_][A-Za-z0-9_./-]*):(?=[ \n]|$)/y;

/** Names and values that YAML reads as something else than text. */
const KEYWORD = /^(?:null|true|false)$/i;

/** Plain text of one line: no indicator of YAML at its begin, no `: ` and no ` #` in it. In a flow collection it ends at `,`, `]` and `}`. */
const BLOCK_TEXT = /(?:[A-Za-z0-9_/]|\.(?=\/))(?:[A-Za-z0-9_./+%@()=*<>$^~;!&|,-]|:(?=[A-Za-z0-9_./])| (?=[A-Za-z0-9_./+(]))*/y;
const FLOW_TEXT = /(?:[A-Za-z0-9_/]|\.(?=\/))(?:[A-Za-z0-9_./+%@()=*<>$^~;!&|-]|:(?=[A-Za-z0-9_./])| (?=[A-Za-z0-9_./+(]))*/y;

const INTEGER = /^(?:0|[1-9][0-9]{0,14})$/;

/** Everything that YAML may read as a number, and more. */
const NUMERIC = /^[0-9][0-9.]*(?:e[-+]?[0-9]*)?$|^0[ox]/i;

/** Text without escapes, of one line. */
const DOUBLE_QUOTED = /"([^"\\\n]*)"/y;
const SINGLE_QUOTED = /'([^'\n]*)'(?!')/y;

/** The text uses more of YAML than {@link readPlainYaml} knows, or is none. */
class NotPlain extends Error {}
const NOT_PLAIN = new NotPlain();

/**
 * Reads the part of YAML that most configurations are written in: maps and lists, in blocks or in brackets, of names, texts of one line, integers, true, false and
 * null. Returns exactly what the library makes of it, in a tenth of its time; undefined if the text uses anything else or has a mistake: the library has
 * the last word on all that is not plain.
 */
export function readPlainYaml(text: string, source: string): SourceValue | undefined {
  if (OTHER_CHARACTER.test(text)) return undefined;
  try {
    return new PlainReader(text, source).read();
  } catch (cause) {
    if (cause === NOT_PLAIN) return undefined;
    throw cause;
  }
}

class PlainReader {
  readonly #text: string;
  readonly #source: string;
  #at = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string, source: string) {
    this.#text = text;
    this.#source = source;
  }

  read(): SourceValue {
    this.#toContent();
    if (this.#ended || this.#column > 0) throw NOT_PLAIN;
    const map = this.#blockMap(0);
    if (!this.#ended) throw NOT_PLAIN;
    return map;
  }

  get #ended(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Of the next character, from 0. */
  get #column(): number {
    return this.#at - this.#lineStart;
  }

  #where(): Where {
    return { source: this.#source, line: this.#line, column: this.#column + 1 };
  }

  #is(character: string): boolean {
    return this.#text[this.#at] === character;
  }

  #isItem(): boolean {
    return this.#is('-') && this.#text[this.#at + 1] === ' ';
  }

  /** Passes what matches here and returns its first group, or all of it. */
  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found[1] ?? found[0];
  }

  #spaces(): void {
    while (this.#is(' ')) this.#at++;
  }

  /** Passes blanks, comments and ends of lines. Returns whether there was an end of a line. */
  #toContent(): boolean {
    const line = this.#line;
    for (;;) {
      this.#spaces();
      // Without a blank before it, it is part of a text.
      if (this.#is('#') && (this.#at === 0 || ' \n'.includes(this.#text[this.#at - 1] ?? ''))) {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end < 0 ? this.#text.length : end;
      }
      if (!this.#is('\n')) return this.#line > line;
      this.#at++;
      this.#line++;
      this.#lineStart = this.#at;
    }
  }

  /** After a value: only a comment may follow in its line. */
  #endLine(): void {
    if (!this.#toContent() && !this.#ended) throw NOT_PLAIN;
  }

  #name(names: Set<string>): string {
    const name = this.#take(NAME);
    if (name === undefined || name.length > NAME_LENGTH_MAX || KEYWORD.test(name) || names.has(name)) throw NOT_PLAIN;
    names.add(name);
    return name;
  }

  /** A map whose first name is next. Stops at the first line that is no part of it. */
  #blockMap(depth: number): RawMap {
    if (depth > DEPTH_MAX) throw NOT_PLAIN;
    const indent = this.#column;
    const at = this.#where();
    const entries: RawEntry[] = [];
    const names = new Set<string>();
    do {
      const where = this.#where();
      const name = this.#name(names);
      entries.push({ name, where, value: this.#blockValue(indent, depth + 1) });
      if (this.#ended || this.#column < indent) break;
    } while (this.#column === indent || fail());
    return { kind: 'map', entries, where: at };
  }

  /** What follows the colon of a name in a map of this indent, with the end of its line. */
  #blockValue(indent: number, depth: number): SourceValue {
    this.#spaces();
    if (!this.#toContent()) return this.#inline(indent, depth);
    // An absent value is left to the library.
    if (this.#ended || this.#column < indent) throw NOT_PLAIN;
    if (this.#isItem()) return this.#blockList(depth);
    if (this.#column === indent) throw NOT_PLAIN;
    return this.#blockMap(depth);
  }

  #blockList(depth: number): SourceValue {
    if (depth > DEPTH_MAX) throw NOT_PLAIN;
    const indent = this.#column;
    const where = this.#where();
    const items: SourceValue[] = [];
    while (this.#isItem()) {
      this.#at++;
      this.#spaces();
      if (this.#is('\n') || this.#is('#') || this.#isItem()) throw NOT_PLAIN;
      NAME.lastIndex = this.#at;
      items.push(NAME.test(this.#text) ? this.#blockMap(depth + 1) : this.#inline(indent, depth + 1));
      if (this.#ended || this.#column < indent) break;
      if (this.#column > indent) throw NOT_PLAIN;
    }
    return { kind: 'list', items, where };
  }

  /** A value that begins in this line, with the end of its line. */
  #inline(indent: number, depth: number): SourceValue {
    if (this.#ended) throw NOT_PLAIN;
    const value = this.#flowValue(indent, depth, BLOCK_TEXT);
    this.#endLine();
    return value;
  }

  #flowValue(indent: number, depth: number, plain: RegExp): SourceValue {
    if (depth > DEPTH_MAX) throw NOT_PLAIN;
    const where = this.#where();
    if (this.#is('{')) return this.#flowMap(indent, depth, where);
    if (this.#is('[')) return this.#flowList(indent, depth, where);
    const quoted = this.#take(DOUBLE_QUOTED) ?? this.#take(SINGLE_QUOTED);
    if (quoted !== undefined) return { kind: 'scalar', value: quoted, text: quoted, where };
    const text = this.#take(plain);
    if (text === undefined) throw NOT_PLAIN;
    return { kind: 'scalar', value: scalarValue(text), text, where };
  }

  #flowMap(indent: number, depth: number, where: Where): SourceValue {
    const entries: RawEntry[] = [];
    const names = new Set<string>();
    this.#at++;
    for (this.#flowSpace(indent); !this.#is('}'); this.#next('}', indent)) {
      const at = this.#where();
      const name = this.#name(names);
      this.#flowSpace(indent);
      entries.push({ name, where: at, value: this.#flowValue(indent, depth + 1, FLOW_TEXT) });
    }
    this.#at++;
    return { kind: 'map', entries, where };
  }

  #flowList(indent: number, depth: number, where: Where): SourceValue {
    const items: SourceValue[] = [];
    this.#at++;
    for (this.#flowSpace(indent); !this.#is(']'); this.#next(']', indent)) items.push(this.#flowValue(indent, depth + 1, FLOW_TEXT));
    this.#at++;
    return { kind: 'list', items, where };
  }

  /** Passes the comma to the next value, or stops at the end of the brackets. */
  #next(end: string, indent: number): void {
    this.#flowSpace(indent);
    if (this.#is(end)) return;
    if (!this.#is(',')) throw NOT_PLAIN;
    this.#at++;
    this.#flowSpace(indent);
  }

  /** Brackets that go on in another line stand deeper than what they belong to. */
  #flowSpace(indent: number): void {
    if (this.#toContent() && this.#column <= indent) throw NOT_PLAIN;
    if (this.#ended) throw NOT_PLAIN;
  }
}

function fail(): never {
  throw NOT_PLAIN;
}

function scalarValue(text: string): string | number | boolean | null {
  if (INTEGER.test(text)) return Number(text);
  if (text === 'true') return true;
  if (text === 'false') return false;
  if (text === 'null') return null;
  if (KEYWORD.test(text) || NUMERIC.test(text)) throw NOT_PLAIN;
  return text;
}
