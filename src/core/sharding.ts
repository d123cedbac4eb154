/** Shards of a deployment, fixed for its life (docs/design/coordination.md 2.1). */
export const SHARDS = 64;

/**
 * Returns the shard that decides for a tree: FNV-1a of its root's UTF-8 name, modulo {@link SHARDS}. All limits of one tree and
 * its keys live on one. Half of a surrogate pair counts as U+FFFD, as an encoder writes it.
 */
export function shardOf(root: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < root.length; at++) {
    let code = root.charCodeAt(at);
    if (code < 0x80) {
      hash = mixed(hash, code);
      continue;
    }
    code = root.codePointAt(at) as number;
    if (code > 0xffff) at++;
    else if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x800) hash = mixed(hash, 0xc0 | (code >> 6));
    else {
      if (code < 0x10000) hash = mixed(hash, 0xe0 | (code >> 12));
      else hash = mixed(mixed(hash, 0xf0 | (code >> 18)), 0x80 | ((code >> 12) & 0x3f));
      hash = mixed(hash, 0x80 | ((code >> 6) & 0x3f));
    }
    hash = mixed(hash, 0x80 | (code & 0x3f));
  }
  return hash % SHARDS;
}

function mixed(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193) >>> 0;
}
