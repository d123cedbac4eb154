import { expect, test } from 'vitest';
import { SHARDS, shardOf } from '../../src/core/sharding.ts';

/** The definition: FNV-1a over the bytes that an encoder writes. */
function byDefinition(root: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(root)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % SHARDS;
}

test('The shard of a name is the FNV-1a of its UTF-8 bytes, in every plane and with half a surrogate pair', () => {
  for (const name of ['', 'a', 'orders-eu', 'Straße', '日本', '🚦', 'a\ud800b', '\udc00', '\ud83d\ud83d\udea6', '\u{10ffff}'])
    expect(shardOf(name)).toBe(byDefinition(name));
  for (let code = 0; code < 0x10000; code += 7) expect(shardOf(`x${String.fromCharCode(code)}y`)).toBe(byDefinition(`x${String.fromCharCode(code)}y`));
});
