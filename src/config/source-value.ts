import type { Path, Where } from './errors.ts';

/** A value as written, before its type is known: from the file, a variable, a flag or a default. */
export type SourceValue = RawScalar | RawList | RawMap;

/** A single value. */
export interface RawScalar {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** As it stands in the source, for messages. */
  readonly text: string;
  readonly where: Where;
}

/** A list of values. */
export interface RawList {
  readonly kind: 'list';
  readonly items: readonly SourceValue[];
  readonly where: Where;
}

/** Names and values in the order of the source; an array, so that no name is special. */
export interface RawMap {
  readonly kind: 'map';
  readonly entries: readonly RawEntry[];
  readonly where: Where;
}

/** A name with its value. */
export interface RawEntry {
  readonly name: string;
  /** Where the name stands. */
  readonly where: Where;
  readonly value: SourceValue;
}

/** A value written in this program: the default of an option, as it would stand in the file. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [name: string]: Plain };

/** The value of a name; undefined where it is absent. */
export function entryOf(map: RawMap, name: string): SourceValue | undefined {
  return map.entries.find((entry) => entry.name === name)?.value;
}

/** A value of this program in the form of one that was read. */
export function rawOf(plain: Plain, where: Where): SourceValue {
  if (Array.isArray(plain)) return { kind: 'list', items: plain.map((item: Plain) => rawOf(item, where)), where };
  if (typeof plain === 'object' && plain !== null) {
    const entries = Object.entries(plain).map(([name, value]) => ({ name, where, value: rawOf(value, where) }));
    return { kind: 'map', entries, where };
  }
  const value = plain as string | number | boolean | null;
  return { kind: 'scalar', value, text: String(value), where };
}

/** Where a path ends in the source, or where its nearest written ancestor stands. */
export function locate(root: SourceValue, path: Path): Where {
  let where = root.where;
  let at: SourceValue | undefined = root;
  for (const step of path) {
    if (at?.kind === 'map') {
      const entry: RawEntry | undefined = at.entries.find((candidate) => candidate.name === step);
      if (entry === undefined) return where;
      where = entry.where;
      at = entry.value;
    } else if (at?.kind === 'list' && typeof step === 'number') {
      at = at.items[step];
      if (at === undefined) return where;
      where = at.where;
    } else return where;
  }
  return where;
}

/** What a value looks like, for messages; never longer than 60 characters. */
export function formatSourceValue(raw: SourceValue): string {
  if (raw.kind === 'list') return 'a list';
  if (raw.kind === 'map') return 'a map';
  if (raw.value === null) return 'nothing';
  const text = raw.text.length > 60 ? `${raw.text.slice(0, 57)}...` : raw.text;
  return typeof raw.value === 'string' ? JSON.stringify(text) : text;
}
