import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/*
 * Import arrows between the folders and between the files of `src`. The linter refuses single imports; this sees the whole:
 * a circle over several folders, and which files of core/tree form one (there the linter lets type imports pass).
 */

/** Folders inside a folder that are layers of their own. */
const OWN = ['deferred/stores', 'proxy/listener'];

/** The layer of a source file, from its path below `src`. */
function layerOf(path: string): string {
  const own = OWN.find((folder) => path.startsWith(`${folder}/`));
  const slash = path.indexOf('/');
  return own ?? (slash < 0 ? path : path.slice(0, slash));
}

/**
 * Files that import each other in a circle, type imports included: groups, keys, limits and queues are one linked structure (docs/decisions/0005).
 * A file may leave the list, none may come.
 */
export const DECLARED_CIRCLES: readonly (readonly string[])[] = [
  [
    'core/tree/arrival-order.ts',
    'core/tree/group-node.ts',
    'core/tree/key-state.ts',
    'core/tree/limit-rule.ts',
    'core/tree/overrides.ts',
    'core/tree/queues.ts',
    'core/tree/stored-requests.ts',
    'core/tree/waiter-table.ts',
  ],
];

/** The hand-written files below `src` and the files each imports, type imports included. */
function importsOf(src: string): ReadonlyMap<string, ReadonlySet<string>> {
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).map((file) => file.replaceAll('\\', '/'));
  const imports = new Map<string, Set<string>>();
  for (const file of files) {
    if (!file.endsWith('.ts') || file.startsWith('gen/')) continue;
    const found = readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
    imports.set(file, new Set([...found].map(([, to = '']) => posix.join(posix.dirname(file), to))));
  }
  return imports;
}

/** Circles of files below `src`: each the largest set of files that all reach each other, sorted. */
export function fileCirclesOf(src: string): readonly (readonly string[])[] {
  const imports = importsOf(src);
  const reached = new Map([...imports.keys()].map((file) => [file, reachedFrom(file, imports)]));
  const circles = new Map<string, readonly string[]>();
  for (const [file, targets] of reached) {
    if (!targets.has(file)) continue;
    const circle = [...targets].filter((other) => reached.get(other)?.has(file)).toSorted();
    circles.set(circle[0] ?? file, circle);
  }
  return [...circles.values()].toSorted();
}

function reachedFrom(file: string, imports: ReadonlyMap<string, ReadonlySet<string>>): ReadonlySet<string> {
  const seen = new Set<string>();
  const open = [file];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const to of imports.get(next) ?? []) {
      if (seen.has(to)) continue;
      seen.add(to);
      open.push(to);
    }
  }
  return seen;
}

/** What is wrong with these circles against those declared: a file in a circle that is not declared there, or declared and in none. */
export function undeclared(circles: readonly (readonly string[])[], declared: readonly (readonly string[])[]): readonly string[] {
  const left = new Set(declared.flat());
  const wrong: string[] = [];
  for (const circle of circles) {
    const known = declared.find((files) => circle.every((file) => files.includes(file)));
    for (const file of circle) left.delete(file);
    if (known !== undefined) continue;
    const closest = declared.find((files) => circle.some((file) => files.includes(file))) ?? [];
    const added = circle.filter((file) => !closest.includes(file));
    const beyond = added.length === 0 || added.length === circle.length ? '' : `; new in a declared one: ${added.join(', ')}`;
    wrong.push(`files of src import each other in a circle: ${circle.join(', ')}${beyond}`);
  }
  for (const file of left) wrong.push(`${file} is in no circle any more: take it from DECLARED_CIRCLES in tools/layers.ts`);
  return wrong;
}

/** Arrows of the tree below `src`: for each layer, the layers it imports and by how many imports. Generated code is left out. */
export function arrowsOf(src: string): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const arrows = new Map<string, Map<string, number>>();
  for (const [file, targets] of importsOf(src)) {
    for (const to of targets) {
      const [a, b] = [layerOf(file), layerOf(to)];
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
