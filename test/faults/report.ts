import type { Verdict } from './checker.ts';

const VIOLATIONS_SHOWN = 30;

/** A verdict as text, a line each. */
export function reportOf(verdict: Verdict): readonly string[] {
  const { faults, admitted, refused, unknown, inversions, violations, refusals, tries, stall } = verdict;
  return [
    `faults: ${counted(faults)}`,
    `${admitted} asks admitted, ${refused} refused${refusals.size > 0 ? ` (${counted(refusals)})` : ''}, ${unknown} unknown`,
    `tries that came to nothing: ${counted(tries)}`,
    ...gapsOf(verdict),
    `inversions outside faults: ${inversions}; the machine itself stood still for ${seconds(stall)} s at most`,
    ...violations.slice(0, VIOLATIONS_SHOWN).map((violation) => `VIOLATED ${violation}`),
    violations.length === 0 ? '0 violations' : `${violations.length} violations`,
  ];
}

/** The longest gap of each group after each class of faults: as seen, and what of it counts. */
function gapsOf({ gaps }: Verdict): readonly string[] {
  return (['replica', 'nats', 'calm'] as const).map((after) => {
    const longest = new Map(
      gaps
        .filter((gap) => gap.after === after)
        .toReversed()
        .map((gap) => [gap.group, gap]),
    );
    const texts = [...longest.values()].toReversed().map(({ group, from, until, counted: own, most, sharp }) => {
      return `${group}${sharp ? '*' : ''} ${seconds(own)} of ${seconds(until - from)} (<= ${seconds(most)})`;
    });
    return `longest gaps, ${after}, seconds (* sharp): ${texts.join(', ') || 'none'}`;
  });
}

function counted(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
}

function seconds(micros: number): string {
  return (micros / 1e6).toFixed(2);
}
