import { hash } from 'node:crypto';
import type { AdmissionRequest } from './admission.ts';

/** 96 bits in base64url: requests are distinguished, not kept secret. */
const DIGEST_CHARS = 16;

/**
 * Digests the fields in which two requests of one request id must be alike: all but wait timeout (cut by each call's own deadline), bytes and
 * `holder` (for people). The ledger keeps it with a lease, so that it must stay the same over versions.
 */
export function digestOf({ key, priority, priorityClass, costs, lease, session }: AdmissionRequest): string {
  const spent = Object.entries(costs).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([key, priority ?? null, priorityClass ?? null, lease ?? null, session ?? null, spent]);
  return hash('sha256', text, 'base64url').slice(0, DIGEST_CHARS);
}
