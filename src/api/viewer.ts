import { createHmac, randomBytes } from 'node:crypto';

/** Letters of the stand-in for a key: enough to tell the keys of a page apart. */
const ALIAS_CHARS = 6;

/** What one caller may see of keys, holders and permits. */
export interface Viewer {
  /** The key, or a stand-in for one that is another's. */
  key(key: string): string;
  /** What belongs to a key (a holder, a permit), or '' where the key is another's. */
  ofKey(key: string, text: string): string;
}

const SECRET = randomBytes(16);

const ALL: Viewer = { key: (key) => key, ofKey: (_key, text) => text };

/**
 * Returns what a caller may see: with `own` the only key whose waiters and leases it may see, keys of others are `key 3f9a01` instead, the same
 * for the same caller while this process lives, and their holders have no names.
 */
export function viewerOf(caller: string, own: string | undefined): Viewer {
  if (own === undefined) return ALL;
  const sees = (key: string): boolean => key === own || key === '';
  return {
    key: (key) => (sees(key) ? key : `key ${createHmac('sha256', SECRET).update(`${caller}\n${key}`).digest('hex').slice(0, ALIAS_CHARS)}`),
    ofKey: (key, text) => (key === own ? text : ''),
  };
}
