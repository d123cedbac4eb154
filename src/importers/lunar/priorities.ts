import { CLASS_NAME } from '../../core/bounds.ts';
import { PRIORITY_MAX } from '../../core/group.ts';
import type { SourceNode } from '../source-node.ts';

/** Largest priority of ours; that of callers without one is one more. */
const CLASS_PRIORITY_MAX = PRIORITY_MAX - 1;

/** Returns the classes of a map of names to priorities, lower first; `numberOf` finds the number of each. Judges every one. */
export function classesOf(groups: SourceNode, numberOf: (node: SourceNode) => SourceNode | undefined): Readonly<Record<string, number>> {
  if (!groups.isMap('the name of each group with its priority')) return {};
  const read: { readonly name: string; readonly number: number; readonly node: SourceNode }[] = [];
  for (const [name, node] of groups.entries()) {
    const value = numberOf(node);
    const number = value?.integer(0, Number.MAX_SAFE_INTEGER);
    if (value !== undefined && number !== undefined) read.push({ name, number, node: value });
  }
  // Their order is what counts: numbers that are too large become their ranks.
  const ranks = [...new Set(read.map(({ number }) => number))].sort((a, b) => a - b);
  const large = (ranks.at(-1) ?? 0) > CLASS_PRIORITY_MAX;
  const classes: [string, number][] = [];
  for (const { name, number, node } of read) {
    const priority = large ? Math.min(CLASS_PRIORITY_MAX, ranks.indexOf(number)) : number;
    if (name === 'least' || !CLASS_NAME.test(name))
      node.ignore('no class has such a name (a letter first, then letters, digits, ".", "_", "-"): its requests count as those without');
    else {
      if (priority === number) node.understood(`priority.classes.${name}`);
      else node.changed(`priority.classes.${name}: ${priority}; numbers end at ${CLASS_PRIORITY_MAX}, their order is kept`);
      classes.push([name, priority]);
    }
  }
  return Object.fromEntries(classes);
}
