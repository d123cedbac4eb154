import type { ConfigError, Where } from '../config/errors.ts';
import type { Plain } from '../config/source-value.ts';

/** What became of one key of a foreign configuration. */
export type Verdict =
  /** It says here what it said there. */
  | 'understood'
  /** It has an equivalent that differs; `how` says in what. */
  | 'changed'
  /** Nothing here comes from it; `how` says why. */
  | 'ignored';

/** One key of a foreign configuration, and what became of it. */
export interface Finding extends Where {
  /** As in `quotas[0].strategy.fixed_window.max`. */
  readonly path: string;
  /** As written, at most 60 characters; `(hidden)` for secrets. */
  readonly value: string;
  readonly verdict: Verdict;
  /** What it became, in what it differs, or why it is ignored. */
  readonly how: string;
}

/** A configuration of Sluice made from a foreign one, or everything that is wrong with the foreign one. */
export type Imported =
  | {
      readonly kind: 'imported';
      /** As it stands in the file that is written, names in its order. */
      readonly config: { readonly [name: string]: Plain };
      /** One for each key, by file and line. */
      readonly findings: readonly Finding[];
      /** Differences that no single key stands for; whole sentences. */
      readonly notes: readonly string[];
    }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly ConfigError[] };

/** A file that is imported. */
export interface SourceFile {
  /** For messages: the path it was opened by. */
  readonly name: string;
  readonly text: string;
}
