import { expect, test } from 'vitest';
import { supportsBatchGet, unsupportedVersion } from '../../src/nats/version.ts';

test.each(['2.10.27', '2.10.28', '2.11.0', '2.12.3', '2.12.10', '2.15.2', '3.0.0', 'v2.12.3', '2.13.0-RC.1'])('%s can be built on', (version) => {
  expect(unsupportedVersion(version)).toBeUndefined();
});

test.each(['2.9.10', '2.9.25', '2.10.9', '2.10.26', '1.99.99'])('%s is too old', (version) => {
  expect(unsupportedVersion(version)).toBe(`version ${version} is older than 2.10.27, the least that keeps its promises; upgrade it`);
});

test.each(['2.12.0', '2.12.1', '2.12.2', '2.12.0-RC.3'])('%s loses writes', (version) => {
  expect(unsupportedVersion(version)).toBe(`version ${version} can lose acknowledged writes; take 2.12.3 or newer`);
});

test('what is no version is not built on', () => {
  expect(unsupportedVersion('latest')).toMatch(/"latest" is unknown/);
});

test('batches are read from 2.11 on', () => {
  expect(['2.10.99', '2.11.0', '2.12.3', 'latest'].map(supportsBatchGet)).toEqual([false, true, true, false]);
});
