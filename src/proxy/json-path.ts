import type { JsonPath } from './route.ts';

/** `usage.total_tokens`, `choices[0].n`, `$.a["b.c"]`, `list[-1]` as steps; undefined: not such a path. */
export function parseJsonPath(text: string): JsonPath | undefined {
  const steps: (string | number)[] = [];
  const step = /\.?([A-Za-z_$][\w$-]*)|\[(-?\d{1,9})\]|\[("(?:[^"\\]|\\.)*")\]/y;
  let at = text.startsWith('$.') || text.startsWith('$[') ? 1 : 0;
  if (text.length > 512 || text.endsWith('.')) return undefined;
  while (at < text.length) {
    step.lastIndex = at;
    const found = step.exec(text);
    if (found === null || (at === 0 && found[0].startsWith('.')) || (at > 0 && found[1] !== undefined && !found[0].startsWith('.'))) return undefined;
    const [, name, index, key] = found;
    const read = index !== undefined ? Number(index) : key !== undefined ? (parseJson(key) as string | undefined) : name;
    if (read === undefined) return undefined;
    steps.push(read);
    at = step.lastIndex;
  }
  return steps.length === 0 ? undefined : steps;
}

/** The value at the end of a path; undefined: there is none. Only own members: `__proto__` is a name like others. */
export function valueAt(root: unknown, path: JsonPath): unknown {
  let at = root;
  for (const step of path) {
    if (typeof step === 'number') at = Array.isArray(at) ? at.at(step) : undefined;
    else at = typeof at === 'object' && at !== null && !Array.isArray(at) && Object.hasOwn(at, step) ? (at as Record<string, unknown>)[step] : undefined;
  }
  return at;
}

/** A JSON text as a value; undefined: it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
