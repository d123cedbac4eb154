import { type Path, type Report, ValueError } from '../config/errors.ts';
import type { RawEntry, RawMap, SourceValue } from '../config/source-value.ts';

const MERGE_KEY = '<<';

/**
 * Puts the maps behind merge keys (`<<: *name`) in their place: a name written in the map itself stands, then that of the first map that has it. Each
 * value that was merged keeps the place where it is written. Reports a merge key with anything but a map or a list of maps.
 */
export function mergeKeys(value: SourceValue, report: Report, path: Path = []): SourceValue {
  if (value.kind === 'list') return { ...value, items: value.items.map((item, index) => mergeKeys(item, report, [...path, index])) };
  if (value.kind !== 'map') return value;
  const entries = value.entries.map((entry) => ({ ...entry, value: mergeKeys(entry.value, report, [...path, entry.name]) }));
  if (!entries.some(({ name }) => name === MERGE_KEY)) return { ...value, entries };
  const taken = new Set(entries.map(({ name }) => name));
  const merged: RawEntry[] = [];
  for (const entry of entries) {
    if (entry.name !== MERGE_KEY) merged.push(entry);
    else for (const { entries: others } of mapsOf(entry, path, report)) for (const other of others) if (!taken.has(other.name)) merged.push(take(other, taken));
  }
  return { ...value, entries: merged };
}

function take(entry: RawEntry, taken: Set<string>): RawEntry {
  taken.add(entry.name);
  return entry;
}

function mapsOf({ name, value, where }: RawEntry, path: Path, report: Report): readonly RawMap[] {
  const values = value.kind === 'list' ? value.items : [value];
  const maps = values.filter((each) => each.kind === 'map');
  if (maps.length < values.length)
    report(where, [...path, name], new ValueError('a merge key takes a map, or a list of maps', 'Name an anchor of a map: <<: *defaults.'));
  return maps;
}
