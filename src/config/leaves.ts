import type { Micros } from '../core/time.ts';
import { Fault } from './mistake.ts';
import { nearest } from './nearest.ts';
import { type Leaf, leaf } from './option.ts';
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN, showDuration, showSize } from './quantity.ts';
import { type Raw, showRaw } from './raw.ts';

/** What a key may be: 1 to 256 characters that print. Escapes that every reader of a JSON Schema knows, hence no `\p`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
export const KEY_NAME = /^[^\u0000-\u001f\u007f-\u009f]{1,256}$/;

/** Bounds of a number, both included. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** A length of time with its unit, in whole microseconds. `0` needs none. */
export function duration(range: Range): Leaf<Micros> {
  const bounds = `${showDuration(range.min)} to ${showDuration(range.max)}`;
  const json = { anyOf: [{ type: 'string', pattern: DURATION_PATTERN, minLength: 1 }, { const: 0 }] };
  return leaf({ unit: 'duration', bounds, json, read: (raw) => readDuration(raw, range) });
}

/** Like {@link duration}, or `none`: undefined. */
export function durationOrNone(range: Range): Leaf<Micros | undefined> {
  const bounds = `${showDuration(range.min)} to ${showDuration(range.max)}, or none`;
  const json = { anyOf: [{ type: 'string', pattern: DURATION_PATTERN, minLength: 1 }, { const: 'none' }] };
  return leaf({ unit: 'duration', bounds, json, read: (raw) => (isText(raw, 'none') ? undefined : readDuration(raw, range)) });
}

/** Reads a duration within bounds. */
export function readDuration(raw: Raw, range: Range): Micros | Fault {
  const micros = raw.kind === 'scalar' && (typeof raw.value === 'string' || raw.value === 0) ? parseDuration(String(raw.value)) : undefined;
  if (micros === undefined) {
    const bare = raw.kind === 'scalar' && typeof raw.value === 'number';
    const remedy = bare ? `Give it a unit: ${raw.text}s or ${raw.text}ms.` : 'Write numbers with units, largest first: 250ms, 5s, 1m30s, 3d.';
    return new Fault(`${showRaw(raw)} is not a duration`, remedy);
  }
  const within = micros >= range.min && micros <= range.max;
  return within ? micros : new Fault(`${showRaw(raw)} is out of bounds`, `Take ${showDuration(range.min)} to ${showDuration(range.max)}.`);
}

/** A number of bytes with its unit. */
export function size(range: Range): Leaf<number> {
  const json = { type: 'string', pattern: SIZE_PATTERN };
  const read = (raw: Raw): number | Fault => {
    const bytes = raw.kind === 'scalar' && (typeof raw.value === 'string' || raw.value === 0) ? parseSize(String(raw.value)) : undefined;
    if (bytes === undefined) return new Fault(`${showRaw(raw)} is not a size`, 'Write a number with its unit: 64KiB, 256MiB, 10GiB.');
    const within = bytes >= range.min && bytes <= range.max;
    return within ? bytes : new Fault(`${showRaw(raw)} is out of bounds`, `Take ${showSize(range.min)} to ${showSize(range.max)}.`);
  };
  return leaf({ unit: 'size', bounds: `${showSize(range.min)} to ${showSize(range.max)}`, json, read });
}

/** A whole number. */
export function integer(range: Range, unit = 'number'): Leaf<number> {
  const json = { type: 'integer', minimum: range.min, maximum: range.max };
  return leaf({ unit, bounds: `${range.min} to ${range.max}`, json, read: (raw) => readNumber(raw, range, true) });
}

/** A number that may have a fraction. */
export function decimal(range: Range): Leaf<number> {
  const json = { type: 'number', minimum: range.min, maximum: range.max };
  return leaf({ unit: 'number', bounds: `${range.min} to ${range.max}`, json, read: (raw) => readNumber(raw, range, false) });
}

function readNumber(raw: Raw, range: Range, whole: boolean): number | Fault {
  const value = raw.kind === 'scalar' ? raw.value : undefined;
  if (typeof value !== 'number' || (whole && !Number.isInteger(value))) {
    return new Fault(`${showRaw(raw)} is not a ${whole ? 'whole ' : ''}number`, `Take ${range.min} to ${range.max}, without quotes or a unit.`);
  }
  const within = value >= range.min && value <= range.max;
  return within ? value : new Fault(`${showRaw(raw)} is out of bounds`, `Take ${range.min} to ${range.max}.`);
}

/** `60%` as 0.6: above 0, at most 100%. */
export function percent(): Leaf<number> {
  const read = (raw: Raw): number | Fault => {
    const [, digits] = raw.kind === 'scalar' ? (/^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(String(raw.value)) ?? []) : [];
    if (digits === undefined) return new Fault(`${showRaw(raw)} is not a percentage`, 'Write a number and a percent sign: 60%.');
    const share = Number(digits) / 100;
    return share > 0 && share <= 1 ? share : new Fault(`${digits}% is out of bounds`, 'Take more than 0% and at most 100%.');
  };
  return leaf({ unit: 'percentage', bounds: 'above 0% to 100%', json: { type: 'string', pattern: '^\\d{1,3}(\\.\\d{1,6})?%$' }, read });
}

/** One of the given words. */
export function oneOf<W extends string>(...words: readonly W[]): Leaf<W> {
  const read = (raw: Raw): W | Fault => {
    const found = words.find((word) => isText(raw, word));
    if (found !== undefined) return found;
    const guess = raw.kind === 'scalar' ? nearest(String(raw.value), words) : undefined;
    return new Fault(
      `${showRaw(raw)} is none of the words this option takes`,
      guess === undefined ? `Take one of ${words.join(', ')}.` : `Did you mean ${guess}?`,
    );
  };
  return leaf({ unit: 'word', bounds: words.join(', '), json: { enum: words }, read });
}

/** true or false. */
export function truth(): Leaf<boolean> {
  const read = (raw: Raw): boolean | Fault => {
    const value = raw.kind === 'scalar' ? raw.value : undefined;
    return typeof value === 'boolean' ? value : new Fault(`${showRaw(raw)} is not true or false`, 'Take true or false, without quotes.');
  };
  return leaf({ unit: 'truth', bounds: 'true, false', json: { type: 'boolean' }, read });
}

/** Text of bounded length that fits a pattern; `rule` tells people what fits. A number is taken as its own text. */
export function text(parts: { unit: string; pattern: RegExp; rule: string; lengthMax: number }): Leaf<string> {
  const json = { type: 'string', pattern: parts.pattern.source, maxLength: parts.lengthMax };
  const read = (raw: Raw): string | Fault => {
    const value =
      raw.kind === 'scalar' && (typeof raw.value === 'string' || typeof raw.value === 'number')
        ? typeof raw.value === 'number'
          ? raw.text
          : raw.value
        : undefined;
    if (value === undefined) return new Fault(`${showRaw(raw)} is not text`, parts.rule);
    if (value.length > parts.lengthMax) return new Fault(`the text is ${value.length} characters long`, `At most ${parts.lengthMax} are taken.`);
    return parts.pattern.test(value) ? value : new Fault(`${showRaw(raw)} is not a ${parts.unit}`, parts.rule);
  };
  return leaf({ unit: parts.unit, bounds: parts.rule.replace(/\.$/, ''), json, read });
}

/** Whether a value is exactly this word. */
export function isText(raw: Raw, word: string): boolean {
  return raw.kind === 'scalar' && raw.value === word;
}
