/** The least server: syncs Raft logs (`sync_interval`), and compares at apply on replicated streams (since 2.9.21). */
export const MIN_SERVER_VERSION = '2.10.27';

/** Lose acknowledged writes of replicated streams after a pause (nats-server pull 7594). */
const BROKEN: readonly string[] = ['2.12.0', '2.12.1', '2.12.2'];

/** Why this version of nats-server cannot be built on; undefined: it can. */
export function unsupportedVersion(version: string): string | undefined {
  const parts = numbers(version);
  if (parts === undefined) return `version ${JSON.stringify(version.slice(0, 40))} is unknown; take ${MIN_SERVER_VERSION} or newer`;
  if (before(parts, numbers(MIN_SERVER_VERSION) ?? []))
    return `version ${version} is older than ${MIN_SERVER_VERSION}, the least that keeps its promises; upgrade it`;
  if (BROKEN.includes(parts.join('.'))) return `version ${version} can lose acknowledged writes; take 2.12.3 or newer`;
  return undefined;
}

/** Whether a server reads many messages of a subject in one request: 2.11. */
export function supportsBatchGet(version: string): boolean {
  const parts = numbers(version);
  return parts !== undefined && !before(parts, [2, 11, 0]);
}

/** Whether a server forgets single messages after a time of their own: 2.11. */
export function supportsMessageTtl(version: string): boolean {
  return supportsBatchGet(version);
}

/** Whether a server takes several messages wholly or not at all: 2.12. */
export function supportsBatchedWrites(version: string): boolean {
  const parts = numbers(version);
  return parts !== undefined && !before(parts, [2, 12, 0]);
}

function numbers(version: string): readonly number[] | undefined {
  const found = /^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})/.exec(version);
  return found?.slice(1).map(Number);
}

function before(a: readonly number[], b: readonly number[]): boolean {
  for (const [index, part] of a.entries()) {
    const other = b[index] ?? 0;
    if (part !== other) return part < other;
  }
  return false;
}
