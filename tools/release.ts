import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/* `npm run release -- VERSION`: says whether this commit can be tagged as that version, and what to do next. Changes nothing. */

/** What a release is judged by. */
export interface ReleaseFacts {
  readonly version: string;
  /** `version` of package.json and of package-lock.json. */
  readonly packaged: readonly [manifest: string, lock: string];
  readonly changelog: string;
  /** `git status --porcelain`. */
  readonly dirty: string;
  /** Tags that there are. */
  readonly tags: readonly string[];
}

const VERSION = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;

/** Returns what keeps the version from being released, a sentence each; nothing: it can be tagged. */
export function releaseFaults({ version, packaged, changelog, dirty, tags }: ReleaseFacts): readonly string[] {
  const faults: string[] = [];
  if (!VERSION.test(version)) faults.push(`"${version}" is no version: write three numbers, as in 1.2.3.`);
  for (const [index, file] of ['package.json', 'package-lock.json'].entries())
    if (packaged[index] !== version) faults.push(`${file} says ${packaged[index]}: run \`npm version --no-git-tag-version ${version}\` and commit.`);
  if (dirty !== '') faults.push('The working tree has changes: commit them, or put them away.');
  if (tags.includes(`v${version}`)) faults.push(`The tag v${version} is there already: choose the next version.`);
  const section = changelog.split(/^## /m).find((each) => each.startsWith(`[${version}]`));
  if (section === undefined)
    faults.push(`CHANGELOG.md has no section "## [${version}] - DATE": rename "Unreleased" to it, and put an empty "Unreleased" above.`);
  else if (!/^- /m.test(section)) faults.push(`The section [${version}] of CHANGELOG.md says nothing.`);
  const unreleased = changelog.split(/^## /m).find((each) => each.startsWith('[Unreleased]'));
  if (section !== undefined && unreleased !== undefined && /^- /m.test(unreleased))
    faults.push('CHANGELOG.md has changes under "Unreleased": move them into the section of this version.');
  return faults;
}

function git(...words: readonly string[]): string {
  return execFileSync('git', words, { encoding: 'utf8' }).trim();
}

function versionIn(file: string): string {
  return String((JSON.parse(readFileSync(file, 'utf8')) as { readonly version?: string }).version);
}

if (process.argv[1] === import.meta.filename) {
  const version = process.argv[2] ?? '';
  const faults = releaseFaults({
    version,
    packaged: [versionIn('package.json'), versionIn('package-lock.json')],
    changelog: readFileSync('CHANGELOG.md', 'utf8'),
    dirty: git('status', '--porcelain'),
    tags: git('tag').split('\n'),
  });
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  if (faults.length > 0) process.exitCode = 1;
  else
    process.stdout.write(
      `This commit can be ${version}. Next, as docs/releasing.md says: .ci/run from a clean clone, then \`git tag -a v${version} -m "Sluice ${version}"\`.\n`,
    );
}
