import { isKey, KEY_BYTES_MAX, KEY_NAME } from '../core/bounds.ts';
import type { Micros } from '../core/time.ts';
import { ValueError } from './errors.ts';
import { type DictionaryNames, type ScalarSchema, scalar } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';
import { suggest } from './suggest.ts';
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN, showDuration, showSize } from './units.ts';

/** Bounds of a number, both included. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** A length of time with its unit, in whole microseconds. `0` needs none. */
export function duration(range: Range): ScalarSchema<Micros> {
  const bounds = `${showDuration(range.min)} to ${showDuration(range.max)}`;
  const json = { anyOf: [{ type: 'string', pattern: DURATION_PATTERN, minLength: 1 }, { const: 0 }] };
  return scalar({ unit: 'duration', bounds, json, read: (raw) => readDuration(raw, range) });
}

/** Like {@link duration}, or `none`: undefined. */
export function durationOrNone(range: Range): ScalarSchema<Micros | undefined> {
  const bounds = `${showDuration(range.min)} to ${showDuration(range.max)}, or none`;
  const json = { anyOf: [{ type: 'string', pattern: DURATION_PATTERN, minLength: 1 }, { const: 'none' }] };
  return scalar({ unit: 'duration', bounds, json, read: (raw) => (isText(raw, 'none') ? undefined : readDuration(raw, range)) });
}

/** Reads a duration within bounds. */
export function readDuration(raw: SourceValue, range: Range): Micros | ValueError {
  const micros = raw.kind === 'scalar' && (typeof raw.value === 'string' || raw.value === 0) ? parseDuration(String(raw.value)) : undefined;
  if (micros === undefined) {
    const bare = raw.kind === 'scalar' && typeof raw.value === 'number';
    const remedy = bare ? `Give it a unit: ${raw.text}s or ${raw.text}ms.` : 'Write numbers with units, largest first: 250ms, 5s, 1m30s, 3d.';
    return new ValueError(`${formatSourceValue(raw)} is not a duration`, remedy);
  }
  const within = micros >= range.min && micros <= range.max;
  return within ? micros : new ValueError(`${formatSourceValue(raw)} is out of bounds`, `Take ${showDuration(range.min)} to ${showDuration(range.max)}.`);
}

/** A number of bytes with its unit. */
export function size(range: Range): ScalarSchema<number> {
  const json = { type: 'string', pattern: SIZE_PATTERN };
  const read = (raw: SourceValue): number | ValueError => {
    const bytes = raw.kind === 'scalar' && (typeof raw.value === 'string' || raw.value === 0) ? parseSize(String(raw.value)) : undefined;
    if (bytes === undefined) return new ValueError(`${formatSourceValue(raw)} is not a size`, 'Write a number with its unit: 64KiB, 256MiB, 10GiB.');
    const within = bytes >= range.min && bytes <= range.max;
    return within ? bytes : new ValueError(`${formatSourceValue(raw)} is out of bounds`, `Take ${showSize(range.min)} to ${showSize(range.max)}.`);
  };
  return scalar({ unit: 'size', bounds: `${showSize(range.min)} to ${showSize(range.max)}`, json, read });
}

/** A whole number. */
export function integer(range: Range, unit = 'number'): ScalarSchema<number> {
  const json = { type: 'integer', minimum: range.min, maximum: range.max };
  return scalar({ unit, bounds: `${range.min} to ${range.max}`, json, read: (raw) => readNumber(raw, range, true) });
}

/** A number that may have a fraction. */
export function decimal(range: Range): ScalarSchema<number> {
  const json = { type: 'number', minimum: range.min, maximum: range.max };
  return scalar({ unit: 'number', bounds: `${range.min} to ${range.max}`, json, read: (raw) => readNumber(raw, range, false) });
}

function readNumber(raw: SourceValue, range: Range, whole: boolean): number | ValueError {
  const value = raw.kind === 'scalar' ? raw.value : undefined;
  if (typeof value !== 'number' || (whole && !Number.isInteger(value))) {
    return new ValueError(`${formatSourceValue(raw)} is not a ${whole ? 'whole ' : ''}number`, `Take ${range.min} to ${range.max}, without quotes or a unit.`);
  }
  const within = value >= range.min && value <= range.max;
  return within ? value : new ValueError(`${formatSourceValue(raw)} is out of bounds`, `Take ${range.min} to ${range.max}.`);
}

/** `60%` as 0.6: above 0, at most 100%. */
export function percent(): ScalarSchema<number> {
  const read = (raw: SourceValue): number | ValueError => {
    const [, digits] = raw.kind === 'scalar' ? (/^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(String(raw.value)) ?? []) : [];
    if (digits === undefined) return new ValueError(`${formatSourceValue(raw)} is not a percentage`, 'Write a number and a percent sign: 60%.');
    const share = Number(digits) / 100;
    return share > 0 && share <= 1 ? share : new ValueError(`${digits}% is out of bounds`, 'Take more than 0% and at most 100%.');
  };
  return scalar({ unit: 'percentage', bounds: 'above 0% to 100%', json: { type: 'string', pattern: '^\\d{1,3}(\\.\\d{1,6})?%$' }, read });
}

/** One of the given words. */
export function oneOf<W extends string>(...words: readonly W[]): ScalarSchema<W> {
  const read = (raw: SourceValue): W | ValueError => {
    const found = words.find((word) => isText(raw, word));
    if (found !== undefined) return found;
    const guess = raw.kind === 'scalar' ? suggest(String(raw.value), words) : undefined;
    return new ValueError(
      `${formatSourceValue(raw)} is none of the words this option takes`,
      guess === undefined ? `Take one of ${words.join(', ')}.` : `Did you mean ${guess}?`,
    );
  };
  return scalar({ unit: 'word', bounds: words.join(', '), json: { enum: words }, read });
}

/** true or false. */
export function boolean(): ScalarSchema<boolean> {
  const read = (raw: SourceValue): boolean | ValueError => {
    const value = raw.kind === 'scalar' ? raw.value : undefined;
    return typeof value === 'boolean' ? value : new ValueError(`${formatSourceValue(raw)} is not true or false`, 'Take true or false, without quotes.');
  };
  return scalar({ unit: 'truth', bounds: 'true, false', json: { type: 'boolean' }, read });
}

/**
 * Text of bounded length that fits a pattern; `rule` describes what fits. A number is taken as its own text. The pattern is what the JSON
 * Schema can say; `accepts` is the whole rule where there is more to it.
 */
export function string(deps: { unit: string; pattern: RegExp; accepts?: (text: string) => boolean; rule: string; lengthMax: number }): ScalarSchema<string> {
  const accepts = deps.accepts ?? ((text: string) => deps.pattern.test(text));
  const json = { type: 'string', pattern: deps.pattern.source, maxLength: deps.lengthMax };
  const read = (raw: SourceValue): string | ValueError => {
    const value =
      raw.kind === 'scalar' && (typeof raw.value === 'string' || typeof raw.value === 'number')
        ? typeof raw.value === 'number'
          ? raw.text
          : raw.value
        : undefined;
    if (value === undefined) return new ValueError(`${formatSourceValue(raw)} is not text`, deps.rule);
    if (value.length > deps.lengthMax) return new ValueError(`the text is ${value.length} characters long`, `At most ${deps.lengthMax} are taken.`);
    return accepts(value) ? value : new ValueError(`${formatSourceValue(raw)} is not a ${deps.unit}`, deps.rule);
  };
  return scalar({ unit: deps.unit, bounds: deps.rule.replace(/\.$/, ''), json, read });
}

/** The rule of keys, in words. */
export const KEY_RULE = `1 to ${KEY_BYTES_MAX} bytes in UTF-8, no control characters.`;

/** A key, by the rule of calls. */
export const keyName = string({ unit: 'key', pattern: KEY_NAME, accepts: isKey, rule: KEY_RULE, lengthMax: KEY_BYTES_MAX });

/** Keys, as names of a dictionary. */
export const keyNames: DictionaryNames = { noun: 'key', names: KEY_NAME, accepts: isKey, namesMax: 10_000, rule: KEY_RULE };

/** Whether a value is exactly this word. */
export function isText(raw: SourceValue, word: string): boolean {
  return raw.kind === 'scalar' && raw.value === word;
}
