import { createHmac, timingSafeEqual } from 'node:crypto';
import { allHeaders } from '../proxy/headers.ts';
import type { RawHeaders } from '../proxy/upstream/forwarder.ts';

/** Signatures of one request that are looked at: a sender that exchanges secrets sends two. */
const SIGNATURES_MAX = 16;
/** Longest header that is looked at, in characters. */
const HEADER_LENGTH_MAX = 4096;

/** How a sender signs its requests, and the keys that it may use: one, or two while they are exchanged. */
export interface VerificationRule {
  readonly sender: 'shopify' | 'github' | 'stripe' | 'standardWebhooks' | 'hmac';
  readonly keys: readonly Uint8Array[];
  /** A signed time further from now is refused. */
  readonly toleranceMs: number;
  /** With `hmac` only. */
  readonly hmac: HmacRule | undefined;
}

/** How any other sender signs. */
export interface HmacRule {
  /** Lower case. */
  readonly header: string;
  readonly prefix: string;
  readonly algorithm: 'sha256' | 'sha512' | 'sha1';
  readonly encoding: 'hex' | 'base64';
  /** Lower case; undefined: no time is signed. */
  readonly timestamp: string | undefined;
  /** What stands before the body in what is signed; `{timestamp}` in it is the time as it came. */
  readonly before: string;
}

/** One request whose signature is being checked. */
export interface Verification {
  /** The next bytes of the body, as they came. */
  update(bytes: Uint8Array): void;
  /** Whether a signature fits; after the last byte, once. Takes as long whichever fits, or none. */
  passes(): boolean;
}

/** The signature fields of a request. */
interface Claim {
  /** Signed before the body. */
  readonly before: string;
  readonly signatures: readonly string[];
  readonly encoding: 'hex' | 'base64';
  readonly algorithm: string;
}

/** Begins to check a request, by its headers. Returns a sentence if it is refused whatever its body: a missing or malformed field, or a time out of bounds. */
export function beginVerification(rule: VerificationRule, headers: RawHeaders, nowMs: number): Verification | string {
  const claim = claimOf(rule, headers, nowMs);
  if (typeof claim === 'string') return claim;
  const { before, encoding, algorithm } = claim;
  const signatures = claim.signatures.slice(0, SIGNATURES_MAX).map((text) => decoded(text, encoding));
  if (signatures.length === 0) return 'The request carries no signature.';
  const hashes = rule.keys.map((key) => createHmac(algorithm, key).update(before));
  return {
    update: (bytes) => {
      for (const hash of hashes) hash.update(bytes);
    },
    passes: () => {
      let passes = false;
      for (const hash of hashes) {
        const digest = hash.digest();
        for (const signature of signatures) {
          const same = signature.byteLength === digest.byteLength && timingSafeEqual(signature, digest);
          passes = same || passes;
        }
      }
      return passes;
    },
  };
}

function claimOf({ sender, hmac, toleranceMs }: VerificationRule, headers: RawHeaders, nowMs: number): Claim | string {
  const only = (name: string): string | undefined => onlyValue(headers, name);
  const late = (seconds: string | undefined): string | undefined => checkTime(seconds, nowMs, toleranceMs);
  switch (sender) {
    case 'shopify':
      return { before: '', signatures: listOf(only('x-shopify-hmac-sha256')), encoding: 'base64', algorithm: 'sha256' };
    case 'github':
      return { before: '', signatures: withPrefix(listOf(only('x-hub-signature-256')), 'sha256='), encoding: 'hex', algorithm: 'sha256' };
    case 'stripe': {
      const parts = (only('stripe-signature') ?? '').split(',').map((part) => part.trim());
      const timestamp = withPrefix(parts, 't=')[0];
      return late(timestamp) ?? { before: `${timestamp}.`, signatures: withPrefix(parts, 'v1='), encoding: 'hex', algorithm: 'sha256' };
    }
    case 'standardWebhooks': {
      const prefix = allHeaders(headers, 'webhook-signature').length > 0 ? 'webhook' : 'svix';
      const [id, timestamp, signature] = [only(`${prefix}-id`), only(`${prefix}-timestamp`), only(`${prefix}-signature`)];
      if (id === undefined || id === '') return 'The request carries no webhook-id.';
      const signatures = withPrefix((signature ?? '').split(' '), 'v1,');
      return late(timestamp) ?? { before: `${id}.${timestamp}.`, signatures, encoding: 'base64', algorithm: 'sha256' };
    }
    case 'hmac': {
      if (hmac === undefined) throw new Error('a rule for any other sender must set how it signs');
      const timestamp = hmac.timestamp === undefined ? undefined : only(hmac.timestamp);
      const fault = hmac.timestamp === undefined ? undefined : late(timestamp);
      const before = hmac.before.replace('{timestamp}', () => timestamp ?? '');
      const signatures = withPrefix(listOf(only(hmac.header)), hmac.prefix);
      return fault ?? { before, signatures, encoding: hmac.encoding, algorithm: hmac.algorithm };
    }
  }
}

/** Returns the value of a field that occurs once; one that is repeated could be read in two ways. */
function onlyValue(headers: RawHeaders, name: string): string | undefined {
  const values = allHeaders(headers, name);
  return values.length === 1 && (values[0] as string).length <= HEADER_LENGTH_MAX ? values[0] : undefined;
}

function listOf(value: string | undefined): readonly string[] {
  return value === undefined || value === '' ? [] : [value];
}

function withPrefix(texts: readonly string[], prefix: string): readonly string[] {
  return texts.filter((text) => text.startsWith(prefix)).map((text) => text.slice(prefix.length));
}

function checkTime(seconds: string | undefined, nowMs: number, toleranceMs: number): string | undefined {
  if (seconds === undefined || !/^\d{1,12}$/.test(seconds)) return 'The request carries no time of its signature.';
  return Math.abs(nowMs - Number(seconds) * 1000) > toleranceMs ? 'The signature is too old, or of a time to come.' : undefined;
}

/** Bytes of a signature; empty, which fits nothing, where it is not what it should be. */
function decoded(text: string, encoding: 'hex' | 'base64'): Uint8Array {
  const fits = encoding === 'hex' ? /^(?:[0-9a-fA-F]{2})+$/.test(text) : /^[A-Za-z0-9+/]+={0,2}$/.test(text);
  return fits ? Buffer.from(text, encoding) : Buffer.alloc(0);
}
