import { expect, test } from 'vitest';
import { type ReleaseFacts, releaseFaults } from '../../tools/release.ts';

const CHANGELOG = '# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n\n### Added\n\n- A thing.\n';
const ready: ReleaseFacts = { version: '1.2.3', packaged: ['1.2.3', '1.2.3'], changelog: CHANGELOG, dirty: '', tags: ['v1.2.2'] };

test('a commit whose version, changelog and tree agree can be released', () => {
  expect(releaseFaults(ready)).toEqual([]);
});

test.each<[what: string, facts: Partial<ReleaseFacts>, fault: string]>([
  ['no version', { version: 'next' }, '"next" is no version'],
  ['another version in package.json', { packaged: ['1.2.2', '1.2.3'] }, 'package.json says 1.2.2'],
  ['another version in package-lock.json', { packaged: ['1.2.3', '1.2.2'] }, 'package-lock.json says 1.2.2'],
  ['changes that are not committed', { dirty: ' M README.md' }, 'The working tree has changes'],
  ['a tag that is there', { tags: ['v1.2.3'] }, 'The tag v1.2.3 is there already'],
  ['no section of the changelog', { changelog: '## [Unreleased]\n' }, 'CHANGELOG.md has no section'],
  ['an empty section', { changelog: '## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n\n## [1.2.2]\n\n- Old.\n' }, 'says nothing'],
  ['changes that are in no version', { changelog: CHANGELOG.replace('## [Unreleased]\n', '## [Unreleased]\n\n- Late.\n') }, 'under "Unreleased"'],
])('a commit is refused for %s', (_, facts, fault) => {
  expect(releaseFaults({ ...ready, ...facts }).join('\n')).toContain(fault);
});
