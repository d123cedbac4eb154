import { parse, TomlError } from 'smol-toml';
import { type Report, ValueError, type Where } from '../config/errors.ts';
import type { RawEntry, SourceValue } from '../config/source-value.ts';

/** A longer file is refused before it is parsed. */
export const TOML_BYTES_MAX = 1024 * 1024;
/** Tables in tables; deeper ones are refused. */
const NESTING_MAX = 16;

/** Reads TOML into located values. Returns undefined when it is no TOML; every mistake is reported. Keys of the first level have their line; those of a table that of the table. */
export function parseToml(text: string, source: string, report: Report): SourceValue | undefined {
  const start: Where = { source, line: 1, column: 1 };
  if (text.length > TOML_BYTES_MAX) {
    report(start, [], new ValueError(`the file has more than ${TOML_BYTES_MAX} characters`, 'Settings.toml has a dozen lines: name that file.'));
    return undefined;
  }
  try {
    return rawOf(parse(text), start, placesOf(text, source), 0);
  } catch (cause) {
    if (cause instanceof TomlError) {
      const [sentence = ''] = cause.message.split('\n');
      report(
        { source, line: cause.line, column: cause.column },
        [],
        new ValueError(`not TOML: ${sentence.replace(/^Invalid TOML document: /, '')}`, 'Correct it.'),
      );
    } else if (cause instanceof RangeError) report(start, [], new ValueError(`nested deeper than ${NESTING_MAX} levels`, 'Look for brackets that never end.'));
    else throw cause;
    return undefined;
  }
}

type Places = ReadonlyMap<string, Where>;

/** Finds the lines of keys and tables: a key is written once, at the beginning of a line. A line of a text over several lines may look like one; only the place in messages depends on it. */
function placesOf(text: string, source: string): Places {
  const places = new Map<string, Where>();
  for (const [index, line] of text.split('\n').entries()) {
    const begun = line.trimStart();
    const [, bare, quoted] = /^(?:([A-Za-z0-9_-]+)|"([^"\\]*)")/.exec(begun.replace(/^\[{1,2}/, '').trimStart()) ?? [];
    const name = bare ?? quoted;
    if (name !== undefined && !places.has(name)) places.set(name, { source, line: index + 1, column: line.length - begun.length + 1 });
  }
  return places;
}

function rawOf(value: unknown, where: Where, places: Places, depth: number): SourceValue {
  if (depth > NESTING_MAX) throw new RangeError('nested too deep');
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item: unknown) => rawOf(item, where, places, depth + 1)), where };
  if (typeof value === 'object' && value !== null && !(value instanceof Date)) {
    const entries = Object.entries(value).map(([name, each]): RawEntry => {
      const at = (depth === 0 ? places.get(name) : undefined) ?? where;
      return { name, where: at, value: rawOf(each, at, places, depth + 1) };
    });
    return { kind: 'map', entries, where };
  }
  const known = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return { kind: 'scalar', value: known ? value : String(value), text: String(value), where };
}
