/** What a credential lets its holder do: acquire permits; look at groups, waiters and leases; change them. */
export type Ability = 'acquire' | 'read' | 'manage';

/** An API key as the configuration has it, its hash looked up; the key itself is nowhere. */
export interface Credential {
  /** Unique; scopes request ids and sessions. */
  readonly name: string;
  /** SHA-256 of the key, 64 hex digits in lower case. */
  readonly sha256: string;
  readonly can: readonly Ability[];
  /** The groups it may name; undefined: all. */
  readonly groups: readonly string[] | undefined;
  /** The only key it may name, taken where a request names none; undefined: any. */
  readonly key: string | undefined;
  /** The classes it may name; undefined: any class, and numbers too. */
  readonly classes: readonly string[] | undefined;
}
