import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/*
 * Import arrows between the folders of `src`. The linter refuses single imports; this draws the whole, so that a circle
 * over several folders is seen, too.
 */

/** Folders inside a folder that are layers of their own. */
const OWN = ['deferred/stores', 'proxy/listener'];

/** The layer of a source file, from its path below `src`. */
function layerOf(path: string): string {
  const own = OWN.find((folder) => path.startsWith(`${folder}/`));
  const slash = path.indexOf('/');
  return own ?? (slash < 0 ? path : path.slice(0, slash));
}

/** Arrows of the tree below `src`: for each layer, the layers it imports and by how many imports. Generated code is left out. */
export function arrowsOf(src: string): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const arrows = new Map<string, Map<string, number>>();
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).map((file) => file.replaceAll('\\', '/'));
  for (const file of files) {
    if (!file.endsWith('.ts') || file.startsWith('gen/')) continue;
    for (const [, to = ''] of readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
      const [a, b] = [layerOf(file), layerOf(posix.join(posix.dirname(file), to))];
      if (a === b) continue;
      const of = arrows.get(a) ?? new Map<string, number>();
      arrows.set(a, of.set(b, (of.get(b) ?? 0) + 1));
    }
  }
  return arrows;
}

/** A circle of layers, as the names along it; undefined if there is none. */
export function circleOf(arrows: ReadonlyMap<string, ReadonlyMap<string, number>>): readonly string[] | undefined {
  const done = new Set<string>();
  const walk = (layer: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(layer)) return [...path.slice(path.indexOf(layer)), layer];
    if (done.has(layer)) return undefined;
    for (const next of arrows.get(layer)?.keys() ?? []) {
      const circle = walk(next, [...path, layer]);
      if (circle !== undefined) return circle;
    }
    done.add(layer);
    return undefined;
  };
  for (const layer of arrows.keys()) {
    const circle = walk(layer, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

/** The layers from the top down, a line each: `layer > imported (count), ...`; after {@link circleOf} found none. */
export function drawn(arrows: ReadonlyMap<string, ReadonlyMap<string, number>>): readonly string[] {
  const height = (layer: string): number => Math.max(0, ...[...(arrows.get(layer)?.keys() ?? [])].map((next) => height(next) + 1));
  return [...arrows.keys()]
    .toSorted((a, b) => height(b) - height(a) || (a < b ? -1 : 1))
    .map((layer) => {
      const to = [...(arrows.get(layer) ?? [])].toSorted(([a], [b]) => height(b) - height(a) || (a < b ? -1 : 1));
      return `${layer} > ${to.map(([name, count]) => `${name} (${count})`).join(', ')}`;
    });
}
