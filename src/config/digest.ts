import { createHash } from 'node:crypto';
import type { GroupSettings } from '../admission/admission.ts';

/** Characters of one digest: 128 bits of SHA-256 in base64url. */
export const DIGEST_LENGTH = 22;

/** Returns one digest for each group, in their order and without a separator: groups with the same settings have the same digest, on every machine. */
export function digestsOf(groups: readonly GroupSettings[]): string {
  return groups.map(digestOf).join('');
}

/** Returns the digest of the group at this place. */
export function digestAt(digests: string, at: number): string {
  return digests.slice(at * DIGEST_LENGTH, (at + 1) * DIGEST_LENGTH);
}

function digestOf(group: GroupSettings): string {
  return createHash('sha256').update(JSON.stringify(group, plain)).digest('base64url').slice(0, DIGEST_LENGTH);
}

/** JSON knows no maps, big integers or infinite numbers. */
function plain(_name: string, value: unknown): unknown {
  if (value instanceof Map) return [...value];
  return typeof value === 'bigint' || value === Number.POSITIVE_INFINITY ? `${value}n` : value;
}
