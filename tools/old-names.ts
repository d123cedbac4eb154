import { readFileSync } from 'node:fs';

/*
 * Names that the code had before it took the field's words, and must not get again: tools/old-names.json. A word is found
 * as a part of any name (`door`, `doors`, `atTheDoor`, `DOOR_MAX`), a name only whole and in its own letters.
 */

/** A part of the tree in which some of the names are right, and why. `in` is the beginning of a path. */
interface Allowance {
  readonly names: readonly string[];
  readonly in: string;
  readonly why: string;
}

/** The list: each old word or name with what to write instead. */
export interface OldNames {
  readonly words: Readonly<Record<string, string>>;
  readonly names: Readonly<Record<string, string>>;
  readonly allowed: readonly Allowance[];
}

/** An old name in a file. `line` counts from 1. */
export interface Found {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly instead: string;
}

/** Reads the list of the repository. */
export function readOldNames(): OldNames {
  return JSON.parse(readFileSync(new URL('old-names.json', import.meta.url), 'utf8')) as OldNames;
}

/** Returns the old names in `text`, those that `file` may have too. */
export function oldNamesIn(file: string, text: string, { words, names }: OldNames): readonly Found[] {
  const found: Found[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const add = (name: string, instead: string): number => found.push({ file, line: index + 1, name, instead });
    for (const [name] of line.matchAll(/\w+/g)) {
      const instead = Object.hasOwn(names, name) ? names[name] : undefined;
      if (instead !== undefined) add(name, instead);
      for (const word of wordsOf(name)) {
        const known = [word, word.replace(/s$/, ''), word.replace(/es$/, '')].find((each) => Object.hasOwn(words, each));
        if (known !== undefined) add(known, words[known] ?? '');
      }
    }
  }
  return found;
}

/** Splits the findings: those that no allowance covers, and the allowances that cover none. */
export function judged(found: readonly Found[], { allowed }: OldNames): { readonly wrong: readonly Found[]; readonly unused: readonly Allowance[] } {
  const used = new Set<Allowance>();
  const wrong = found.filter(({ file, name }) => {
    const covering = allowed.filter((each) => file.startsWith(each.in) && each.names.some((one) => covers(one, name)));
    for (const each of covering) used.add(each);
    return covering.length === 0;
  });
  return { wrong, unused: allowed.filter((each) => !used.has(each)) };
}

function covers(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/** Splits `newcomersMax`, `NEWCOMERS_MAX` and `newcomers_max` into words of lower-case letters. */
function wordsOf(name: string): readonly string[] {
  return [...name.matchAll(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])/g)].map(([word]) => word.toLowerCase());
}
