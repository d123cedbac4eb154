import { isDeepStrictEqual } from 'node:util';
import type { Config } from './load.ts';

/** What a reload takes of the gateway queue: what its group is made of, and its buckets. */
const GATEWAY_QUEUE = ['maxConcurrency', 'period', 'slack', 'backlog'].map((name) => `gatewayQueue.${name}`);

/** What a reload takes as it is; everything else waits for a restart. */
export const RELOADABLE: readonly string[] = [
  'groups',
  'backends',
  'routes',
  'envoy',
  'deferred.floor',
  'revision',
  'auth.keys',
  'log.level',
  ...GATEWAY_QUEUE,
];

/** Paths of the options that differ between two configurations and cannot be taken without a restart, as in the file. */
export function restartRequired(before: Config, after: Config): readonly string[] {
  // Not the whole at once: the groups, which need no restart, can be thousands.
  const { digests: _before, ...old } = before;
  const { digests: _after, ...next } = after;
  return within(old, next, '');
}

function differences(before: unknown, after: unknown, path: string): readonly string[] {
  if (RELOADABLE.includes(path) || isDeepStrictEqual(before, after)) return [];
  return isPlain(before) && isPlain(after) ? within(before, after, path) : [path];
}

function within(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) => differences(before[name], after[name], path === '' ? name : `${path}.${name}`));
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
