import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar } from 'yaml';
import { type Path, type Report, ValueError, type Where } from './errors.ts';
import type { RawEntry, SourceValue } from './source-value.ts';
import { readPlainYaml } from './yaml-plain.ts';

/** A longer file is refused before it is parsed. */
export const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** Values that aliases may expand to, in all: a file of a few lines can expand to billions. */
export const ALIASED_VALUES_MAX = 100_000;

/** Levels of nesting. Deeper is refused: no option lies deeper than a dozen. */
export const NESTING_MAX = 64;

const TOO_DEEP = new ValueError(`nested deeper than ${NESTING_MAX} levels`, 'Look for brackets that never end, or an alias inside its own anchor.');

/** Reads YAML 1.2 into located values. Answers undefined when it is no YAML at all; every mistake is reported. An empty text is an empty map. */
export function parseYaml(text: string, source: string, report: Report): SourceValue | undefined {
  const start: Where = { source, line: 1, column: 1 };
  if (text.length > FILE_BYTES_MAX) {
    report(
      start,
      [],
      new ValueError(
        `the file has more than ${FILE_BYTES_MAX} characters`,
        'Split the groups over several servers, or write shared parts once with an anchor.',
      ),
    );
    return undefined;
  }
  return readPlainYaml(text, source) ?? parseAnyYaml(text, source, report);
}

/** As {@link parseYaml}, by the library alone. */
export function parseAnyYaml(text: string, source: string, report: Report): SourceValue | undefined {
  const start: Where = { source, line: 1, column: 1 };
  try {
    return new Reader(text, source, report).read();
  } catch (cause) {
    // The parser recurses: a file of brackets overflows its stack.
    const sentence = cause instanceof Error ? cause.message : String(cause);
    report(start, [], cause instanceof RangeError ? TOO_DEEP : new ValueError(`not YAML: ${sentence}`, 'Mend it; a validator of YAML may say more.'));
    return undefined;
  }
}

class Reader {
  readonly #text: string;
  readonly #source: string;
  readonly #report: Report;
  readonly #lines = new LineCounter();
  readonly #anchors = new Map<string, Node>();
  #aliased = 0;
  #stopped = false;
  /** A name stands twice in a map. */
  #twice = false;

  constructor(text: string, source: string, report: Report) {
    this.#text = text;
    this.#source = source;
    this.#report = report;
  }

  read(): SourceValue | undefined {
    // Its own look for names that stand twice compares each with all before: a second of processor time with 10,000 groups.
    const unique = { uniqueKeys: false, stringKeys: true } as const;
    const options = { ...unique, lineCounter: this.#lines, prettyErrors: false, version: '1.2', resolveKnownTags: false } as const;
    const document = parseDocument(this.#text, options);
    const errors = [...document.errors, ...document.warnings];
    // The parser reports its own full stack once per level.
    const deep = errors.find((error) => error.message.includes('call stack'));
    if (deep !== undefined) this.#report(this.#where(deep.pos[0]), [], TOO_DEEP);
    else for (const error of errors) this.#report(this.#where(error.pos[0]), [], faultOf(error.code, error.message));
    if (errors.length > 0) return undefined;
    const contents = document.contents;
    const empty: SourceValue = { kind: 'map', entries: [], where: this.#where(0) };
    if (contents === null || (isScalar(contents) && contents.value === null)) return empty;
    const value = this.#value(contents, [], false);
    return this.#stopped || this.#twice ? undefined : value;
  }

  #where(offset: number): Where {
    const at = this.#lines.linePos(offset);
    return { source: this.#source, line: Math.max(1, at.line), column: Math.max(1, at.col) };
  }

  #value(node: unknown, path: Path, aliased: boolean): SourceValue {
    const where = this.#where((node as Node | null)?.range?.[0] ?? 0);
    const nothing: SourceValue = { kind: 'scalar', value: null, text: '', where };
    if (this.#stopped) return nothing;
    if (path.length > NESTING_MAX) {
      this.#stop(where, path, TOO_DEEP);
      return nothing;
    }
    if (aliased && ++this.#aliased > ALIASED_VALUES_MAX) {
      this.#stop(
        where,
        path,
        new ValueError(`aliases stand for more than ${ALIASED_VALUES_MAX} values`, 'Write the groups out, or use fewer aliases of aliases.'),
      );
      return nothing;
    }
    if (isAlias(node)) return this.#alias(node.source, where, path);
    if (isScalar(node) || isMap(node) || isSeq(node)) if (node.anchor) this.#anchors.set(node.anchor, node);
    if (isSeq(node)) return { kind: 'list', items: node.items.map((item, index) => this.#value(item, [...path, index], aliased)), where };
    if (isMap(node)) {
      const entries = node.items.map((pair) => this.#entry(pair, path, aliased));
      // For an alias it was reported at the anchor.
      if (!aliased) this.#checkNames(entries);
      return { kind: 'map', entries, where };
    }
    return isScalar(node) ? this.#scalar(node, where) : nothing;
  }

  #checkNames(entries: readonly RawEntry[]): void {
    const names = new Set<string>();
    for (const { name, where } of entries) {
      if (names.has(name)) {
        this.#twice = true;
        this.#report(where, [], faultOf('DUPLICATE_KEY', ''));
      }
      names.add(name);
    }
  }

  #alias(anchor: string, where: Where, path: Path): SourceValue {
    const node = this.#anchors.get(anchor);
    if (node !== undefined) return this.#value(node, path, true);
    this.#report(where, path, new ValueError(`the alias *${anchor} has no anchor before it`, `Write &${anchor} at the value it stands for.`));
    return { kind: 'scalar', value: null, text: `*${anchor}`, where };
  }

  #entry(pair: { key: unknown; value: unknown }, path: Path, aliased: boolean): RawEntry {
    const name = isScalar(pair.key) ? String(pair.key.value) : '';
    const where = this.#where((pair.key as Node | null)?.range?.[0] ?? 0);
    const value = this.#value(pair.value, [...path, name], aliased);
    // An absent value has no place of its own: its name's is the one to look at.
    return { name, where, value: pair.value === null ? { ...value, where } : value };
  }

  #scalar(node: Scalar, where: Where): SourceValue {
    const value = node.value;
    const known = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null;
    const text = node.source ?? String(value);
    return { kind: 'scalar', value: known ? value : text, text, where };
  }

  #stop(where: Where, path: Path, fault: ValueError): void {
    this.#stopped = true;
    this.#report(where, path.slice(0, 8), fault);
  }
}

function faultOf(code: string, message: string): ValueError {
  const remedies: Readonly<Record<string, string>> = {
    DUPLICATE_KEY: 'Keep one of the two.',
    MULTIPLE_DOCS: 'Keep one document: remove what follows "---".',
    TAB_AS_INDENT: 'Indent with spaces.',
    BAD_INDENT: 'Line it up with its neighbours.',
    TAG_RESOLVE_FAILED: 'Remove the tag: plain values are all that is needed.',
  };
  const problems: Readonly<Record<string, string>> = {
    DUPLICATE_KEY: 'this name stands twice in one map',
    MULTIPLE_DOCS: 'the file holds more than one document',
  };
  const problem = problems[code] ?? message.trimEnd().replace(/[.:]$/, '');
  return new ValueError(problem, remedies[code] ?? 'Mend the YAML here; values with {, [, #, : or * in them need quotes.');
}
