import { createHmac } from 'node:crypto';
import type { SignedFields } from './deferred-route.ts';

/** Bytes of a secret, as the specification has them. */
const KEY_BYTES_MIN = 24;
const KEY_BYTES_MAX = 64;

const PREFIX = 'whsec_';

/**
 * Returns the key of a Standard Webhooks secret: base64, with `whsec_` before it or not. Returns undefined if it is not one.
 * `anyLength` takes keys that the specification would not: those of a sender that was there before.
 */
export function webhookKey(secret: string, anyLength = false): Uint8Array | undefined {
  const text = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret;
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(text)) return undefined;
  const key = Buffer.from(text, 'base64');
  const fits = anyLength ? key.byteLength > 0 : key.byteLength >= KEY_BYTES_MIN && key.byteLength <= KEY_BYTES_MAX;
  return fits ? key : undefined;
}

/**
 * Returns the fields that sign a request (standard-webhooks/spec 1.0.0): its id, the time in seconds, and one signature for each
 * key, so that a receiver that knows either of two secrets takes it. The body is signed as bytes (docs/decisions/0024).
 */
export function createSigner(keys: readonly Uint8Array[]): (fields: SignedFields) => readonly string[] {
  return ({ id, nowMs, body }) => {
    const timestamp = String(Math.floor(nowMs / 1000));
    const signatures = keys.map((key) => `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`);
    return ['webhook-id', id, 'webhook-timestamp', timestamp, 'webhook-signature', signatures.join(' ')];
  };
}
