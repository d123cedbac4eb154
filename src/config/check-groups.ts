import { DEPTH_MAX } from '../core/bounds.ts';
import { ValueError } from './errors.ts';
import type { GroupOptions } from './group-options.ts';
import type { ReportAt, Unverified } from './schema.ts';
import { suggest } from './suggest.ts';

type Groups = ReadonlyMap<string, Unverified<GroupOptions>>;

/** Reports parents that do not exist, circles, trees that are too deep, and shares of nothing. */
export function checkGroups(groups: Groups, report: ReportAt): void {
  const circled = new Set<string>();
  for (const [name, group] of groups) {
    const parent = group?.parent?.group;
    if (parent === undefined) continue;
    if (!groups.has(parent)) {
      const guess = suggest(parent, [...groups.keys()]);
      report(
        [name, 'parent', 'group'],
        new ValueError(`there is no group ${JSON.stringify(parent)}`, guess === undefined ? 'Define it, or remove the parent.' : `Did you mean ${guess}?`),
      );
      continue;
    }
    checkLine(groups, name, circled, report);
    checkShare(name, group, groups.get(parent), report);
  }
}

function checkLine(groups: Groups, name: string, circled: Set<string>, report: ReportAt): void {
  const line = [name];
  const seen = new Set(line);
  for (let at = groups.get(name)?.parent?.group; at !== undefined; at = groups.get(at)?.parent?.group) {
    if (at === name) {
      // Reported once, at the first of the circle.
      if (!circled.has(name))
        report(
          [name, 'parent', 'group'],
          new ValueError(`the parents go in a circle: ${[...line, name].slice(0, 10).join(' > ')}`, 'Remove the parent of one of them.'),
        );
      for (const member of line) circled.add(member);
      return;
    }
    if (seen.has(at)) return; // A circle further up, reported there.
    seen.add(at);
    line.push(at);
  }
  // Only where it first becomes too deep: what lies below is the same mistake.
  if (line.length === DEPTH_MAX + 1)
    report(
      [name, 'parent', 'group'],
      new ValueError(`${line.length} groups above each other are too many`, `At most ${DEPTH_MAX} are taken, this one included.`),
    );
}

function checkShare(name: string, group: Unverified<GroupOptions> | undefined, parent: Unverified<GroupOptions> | undefined, report: ReportAt): void {
  const share = group?.parent?.share;
  const limits = parent?.limits;
  if (share === undefined || limits === undefined) return;
  const above = group?.parent?.group;
  if (limits.length === 0)
    report([name, 'parent', 'share'], new ValueError(`a share of ${above}, which has no limits`, `Give ${above} a limit, or remove the share.`));
  for (const limit of limits) {
    const permits = limit?.concurrency?.max ?? limit?.rate?.permits ?? limit?.window?.permits;
    if (permits === undefined || Math.floor(permits * share) >= 1) continue;
    const problem = `this share of limit ${limit?.name} (${permits}) is less than one permit`;
    report([name, 'parent', 'share'], new ValueError(problem, 'No request could ever pass: raise the share or the limit.'));
  }
}
