import { randomFillSync } from 'node:crypto';

/** Random bytes are drawn for this many at once: a call for each costs more than all else that a submission needs of them. */
const POOL = 512;
const BYTES = 8;

const pool = Buffer.alloc(POOL * BYTES);
let used = POOL;

/** Returns 64 random bits that were given to no other request, as 16 hexadecimal digits. */
export function randomSecret(): string {
  if (used === POOL) {
    randomFillSync(pool);
    used = 0;
  }
  const at = used++ * BYTES;
  return pool.toString('hex', at, at + BYTES);
}
