import { type Path, type Report, ValueError } from './errors.ts';
import { entryOf, formatSourceValue, locate, type Plain, type RawMap, rawOf, type SourceValue } from './source-value.ts';
import { suggest } from './suggest.ts';

/** A JSON Schema, or a part of one. */
export type JsonSchema = { readonly [name: string]: unknown };

/**
 * What a value may be. One tree of these is the source of everything about the configuration: its types
 * ({@link ValueOf}), its reading, its defaults, the JSON Schema, the table in the docs, and the names of variables and
 * flags (docs/decisions/0004-config-schema.md).
 *
 * `read` reports what is wrong and answers `undefined` in its place, so that the rest is read and checked all the same:
 * what it answers is of type T exactly when nothing was reported.
 */
export type Schema<T> = ScalarSchema<T> | Struct<T> | List<T> | Dictionary<T> | UnsupportedOption<T>;

interface Readable<T> {
  read(raw: SourceValue, at: Path, report: Report): T | undefined;
  /** Never there: gives T to the compiler, which cannot infer a T that may be undefined from `read`. */
  readonly holds?: readonly [T];
}

/** A single value. */
export interface ScalarSchema<T> extends Readable<T> {
  readonly kind: 'leaf';
  /** Of the table: `duration`, `size`, `number`, ... */
  readonly unit: string;
  /** Of the table: the values that are taken. */
  readonly bounds: string;
  readonly json: JsonSchema;
}

/** Named options. */
export interface Struct<T> extends Readable<T> {
  readonly kind: 'struct';
  readonly fields: ReadonlyMap<string, Field<unknown>>;
  /** A single value in its place stands for this field alone. */
  readonly short: string | undefined;
}

/** A list whose items are alike. */
export interface List<T> extends Readable<T> {
  readonly kind: 'list';
  readonly item: Schema<unknown>;
  readonly itemsMax: number;
}

/** Names chosen by the author of the file. */
export interface Dictionary<T> extends Readable<T> {
  readonly kind: 'dictionary';
  readonly value: Schema<unknown>;
  /** What a name is called in messages and in the table: `group`, `key`. */
  readonly noun: string;
  readonly names: RegExp;
  readonly namesMax: number;
}

/** An option of a later version: refused by name, rather than passed over in silence. */
export interface UnsupportedOption<T> extends Readable<T> {
  readonly kind: 'refused';
}

/** An option of a struct. */
export interface Field<T> {
  readonly schema: Schema<T>;
  /** As it would stand in the file; undefined: none. */
  readonly fallback: Plain | undefined;
  /** What holds where it is left out, for the table; the code that uses it decides, since it depends on others. */
  readonly implied: string | undefined;
  readonly required: boolean;
  /** One sentence for the table and the JSON Schema. */
  readonly about: string;
}

/** The type of what a schema or a field reads. */
export type ValueOf<S> = S extends { readonly schema: { readonly holds?: readonly [infer T] } }
  ? T
  : S extends { readonly holds?: readonly [infer T] }
    ? T
    : never;

/** A value whose parts may be missing, because they were reported. Checks across options are written for these. */
export type Unverified<T> =
  T extends ReadonlyMap<infer K, infer V>
    ? ReadonlyMap<K, Unverified<V>>
    : T extends readonly (infer V)[]
      ? readonly Unverified<V>[]
      : T extends object
        ? { readonly [K in keyof T]?: Unverified<T[K]> | undefined }
        : T | undefined;

/** An option with a default, written as in the file. */
export function option<T>(schema: Schema<T>, fallback: Plain, about: string): Field<T> {
  return { schema, fallback, implied: undefined, required: false, about };
}

/** An option that may be left out, which means something of its own: `implied`, for the table. */
export function optional<T>(schema: Schema<T>, about: string, implied?: string): Field<T | undefined> {
  return { schema: schema as Schema<T | undefined>, fallback: undefined, implied, required: false, about };
}

/** An option that must be there. */
export function required<T>(schema: Schema<T>, about: string): Field<T> {
  return { schema, fallback: undefined, implied: undefined, required: true, about };
}

/** A single value; `read` answers a {@link ValueError} for one it does not take. */
export function scalar<T>(deps: { unit: string; bounds: string; json: JsonSchema; read: (raw: SourceValue) => T | ValueError }): ScalarSchema<T> {
  const read = (raw: SourceValue, at: Path, report: Report): T | undefined => {
    const value = deps.read(raw);
    if (!(value instanceof ValueError)) return value;
    report(raw.where, at, value);
    return undefined;
  };
  return { kind: 'leaf', unit: deps.unit, bounds: deps.bounds, json: deps.json, read };
}

// biome-ignore lint/suspicious/noExplicitAny: a constraint that every field fulfils; the fields' own types are kept.
type Fields = { readonly [name: string]: Field<any> };
type StructOf<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

/** Reports what is wrong at a path below the struct that is checked; a path that was not written falls back to what stands around it. */
export type ReportAt = (below: Path, fault: ValueError) => void;

/** Reports what does not fit together in one struct; `written` has the names that stand in the source, rightly or wrongly. */
export type Check<T> = (value: Unverified<T>, report: ReportAt, written: ReadonlySet<string>) => void;

/** Named options; others are refused with the nearest name. `short`: a single value stands for this option alone. */
export function struct<F extends Fields>(fields: F, more: { readonly short?: keyof F & string } = {}): Struct<StructOf<F>> {
  const known: ReadonlyMap<string, Field<unknown>> = new Map(Object.entries(fields));
  const read = (raw: SourceValue, at: Path, report: Report): StructOf<F> | undefined => {
    const map = mapOf(raw, more.short);
    if (map === undefined) {
      report(
        raw.where,
        at,
        new ValueError(
          `${formatSourceValue(raw)} is not a map of options`,
          `Write ${[...known.keys()].slice(0, 4).join(', ')} with their values, each on a line of its own.`,
        ),
      );
      return undefined;
    }
    reportUnknown(map, known, at, report);
    const value: Record<string, unknown> = {};
    for (const [name, field] of known) value[name] = readField(map, name, field, at, report);
    return value as StructOf<F>;
  };
  return { kind: 'struct', fields: known, short: more.short, read };
}

/** The same options with a check of how they fit together, run on what could be read. */
export function refine<T>(schema: Struct<T>, check: Check<T>): Struct<T> {
  const read = (raw: SourceValue, at: Path, report: Report): T | undefined => {
    const value = schema.read(raw, at, report);
    const map = mapOf(raw, schema.short);
    if (value === undefined || map === undefined) return value;
    const reportBelow: ReportAt = (below, fault) => report(locate(map, below), [...at, ...below], fault);
    check(value as Unverified<T>, reportBelow, new Set(map.entries.map((entry) => entry.name)));
    return value;
  };
  return { ...schema, read };
}

/** What stands there as a map of options: a single value becomes the option it is short for; undefined: it is none. */
export function mapOf(raw: SourceValue, short: string | undefined): RawMap | undefined {
  if (raw.kind === 'map') return raw;
  if (raw.kind !== 'scalar' || raw.value === null || short === undefined) return undefined;
  return { kind: 'map', where: raw.where, entries: [{ name: short, where: raw.where, value: raw }] };
}

function readField(map: RawMap, name: string, field: Field<unknown>, at: Path, report: Report): unknown {
  const raw = entryOf(map, name);
  if (raw !== undefined && (raw.kind !== 'scalar' || raw.value !== null)) return field.schema.read(raw, [...at, name], report);
  // `name:` with nothing behind it means the default, except that a value was meant where one is required.
  if (field.fallback !== undefined) return field.schema.read(rawOf(field.fallback, map.where), [...at, name], report);
  if (field.required) report(raw?.where ?? map.where, at, new ValueError(`${name} is missing`, field.about));
  return undefined;
}

function reportUnknown(map: RawMap, known: ReadonlyMap<string, unknown>, at: Path, report: Report): void {
  for (const entry of map.entries) {
    if (known.has(entry.name)) continue;
    report(entry.where, at, unknownName(entry.name, [...known.keys()]));
  }
}

/** The fault of a name that is none of `known`. */
export function unknownName(name: string, known: readonly string[]): ValueError {
  const shown = JSON.stringify(name.slice(0, 60));
  if (name === '<<') return new ValueError('merge keys (<<) are not read', 'Write the options out, or put an alias at a whole value.');
  const guess = suggest(name, known);
  const names = known.length <= 16 ? `one of ${known.join(', ')}` : 'a name from docs/configuration.md';
  return new ValueError(`there is no option ${shown} here`, guess === undefined ? `Use ${names}, or remove it.` : `Did you mean ${guess}?`);
}

/** A list of at most `itemsMax` items that are alike. */
export function list<T>(item: Schema<T>, itemsMax: number): List<readonly T[]> {
  const read = (raw: SourceValue, at: Path, report: Report): readonly T[] | undefined => {
    if (raw.kind !== 'list') {
      report(raw.where, at, new ValueError(`${formatSourceValue(raw)} is not a list`, 'Write [ a, b ], or one item per line, each after "- ".'));
      return undefined;
    }
    if (raw.items.length > itemsMax) report(raw.where, at, new ValueError(`${raw.items.length} items are too many`, `At most ${itemsMax} are taken.`));
    return raw.items.slice(0, itemsMax).map((each, index) => item.read(each, [...at, index], report) as T);
  };
  return { kind: 'list', item, itemsMax, read };
}

/** Which names a dictionary takes. */
export interface DictionaryNames {
  /** What a name is called in messages and in the table. */
  readonly noun: string;
  /** For the JSON Schema, and the whole rule where there is no `accepts`. */
  readonly names: RegExp;
  readonly accepts?: (name: string) => boolean;
  readonly namesMax: number;
  readonly rule: string;
}

/** Values under free names, in the order of the file. A Map: no name is special to it. */
export function dictionary<T>(value: Schema<T>, deps: DictionaryNames): Dictionary<ReadonlyMap<string, T>> {
  const accepts = deps.accepts ?? ((name: string) => deps.names.test(name));
  const read = (raw: SourceValue, at: Path, report: Report): ReadonlyMap<string, T> | undefined => {
    if (raw.kind !== 'map') {
      report(raw.where, at, new ValueError(`${formatSourceValue(raw)} is not a map`, `Write the name of each ${deps.noun} with its value behind a colon.`));
      return undefined;
    }
    if (raw.entries.length > deps.namesMax)
      report(raw.where, at, new ValueError(`${raw.entries.length} names are too many`, `At most ${deps.namesMax} are taken.`));
    const values = new Map<string, T>();
    for (const entry of raw.entries.slice(0, deps.namesMax)) {
      if (!accepts(entry.name)) report(entry.where, at, new ValueError(`${JSON.stringify(entry.name.slice(0, 60))} cannot name a ${deps.noun}`, deps.rule));
      else values.set(entry.name, value.read(entry.value, [...at, entry.name], report) as T);
    }
    return values;
  };
  return { kind: 'dictionary', value, noun: deps.noun, names: deps.names, namesMax: deps.namesMax, read };
}

/** An option that exists in the design and not in this version; `instead` is what to do meanwhile. */
export function unsupported(instead: string): UnsupportedOption<undefined> {
  const read = (raw: SourceValue, at: Path, report: Report): undefined => {
    report(raw.where, at, new ValueError(`${at.at(-1)} is not built in this version`, instead));
    return undefined;
  };
  return { kind: 'refused', read };
}
