import { createHash } from 'node:crypto';
import { shardOf } from '../core/sharding.ts';

/** Names that stand for themselves. */
const PLAIN = /^[A-Za-z0-9-]+$/;

/** Longer names are written as their hash. */
const READABLE_MAX = 200;

/**
 * The subject of a tree's chain: `ledger.<shard>.<root>`. One chain per tree, named under its shard.
 *
 * A chain per tree and not per shard, so that a snapshot replaces everything before it: in a shared chain the tree that is
 * silent would hold back the trimming of all the others. A new owner of a shard fences a chain when it opens the tree,
 * before it decides anything there, which is when it matters; LMDB syncs the appends of all chains of a turn together.
 */
export function subjectOf(root: string): string {
  const shard = String(shardOf(root)).padStart(2, '0');
  if (root.length <= READABLE_MAX && PLAIN.test(root)) return `ledger.${shard}.${root}`;
  const name = [...new TextEncoder().encode(root)].map(letter).join('');
  const readable = name.length <= READABLE_MAX ? name : `_h${createHash('sha256').update(root).digest('hex')}`;
  return `ledger.${shard}.${readable}`;
}

/** Letters and digits and `-` stand for themselves, every other byte is `_` and two hex digits; so `.` and `_` cannot be confused. */
function letter(byte: number): string {
  const char = String.fromCharCode(byte);
  return /[A-Za-z0-9-]/.test(char) ? char : `_${byte.toString(16).padStart(2, '0')}`;
}
