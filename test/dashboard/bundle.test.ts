import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';

/* What a browser has to load. Freshness of the bundle is a step of `npm run check`. */

const FOLDER = new URL('../../src/gen/dashboard/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');
const zipped = (name: string): number => gzipSync(read(name), { level: 9 }).length;

/** A script and what it imports at once. */
function loaded(name: string, seen = new Set<string>()): ReadonlySet<string> {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const [, other = ''] of read(name).matchAll(/(?:from|import)\s*["'`]\.\/([\w-]+\.js)["'`]/g)) loaded(other, seen);
  return seen;
}

describe('the bundle of the dashboard', () => {
  test('its first page is below 20 kB', () => {
    const files = ['index.html', 'style.css', ...loaded('app.js')];
    expect(files).not.toContain('chart.js');
    expect(files.reduce((sum, name) => sum + zipped(name), 0)).toBeLessThan(20_000);
  });

  test('names no address outside itself, and runs no text as code', () => {
    for (const name of readdirSync(FOLDER).filter((each) => !each.endsWith('.txt'))) {
      expect(read(name).match(/https?:\/\/(?!www\.w3\.org\/)[\w.]+/g) ?? [], name).toEqual([]);
      expect(read(name), name).not.toMatch(/\beval\(|new Function\b|\bstyle="/);
    }
  });
});
