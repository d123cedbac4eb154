import type { Refusal } from '../core/refusal.ts';
import { malformed } from './validation.ts';

/** A String of RFC 9651 3.3.3. */
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
const UNQUOTED = /^[!#-~]+$/;

/**
 * Reads the Idempotency-Key field (draft-ietf-httpapi-idempotency-key-header-07): a Structured Field string; without its quotes
 * too, as many clients send it. Returns '' where there is none.
 */
export function idempotencyKeyOf(field: string | undefined): string | Refusal {
  if (field === undefined) return '';
  const text = field.trim();
  const quoted = QUOTED.exec(text)?.[1]?.replaceAll(/\\(.)/g, '$1');
  const key = quoted ?? (UNQUOTED.test(text) ? text : undefined);
  if (key !== undefined && key !== '') return key;
  return malformed('`Idempotency-Key` must be one text in double quotes, printable ASCII and not empty, for example `"8e03978e-40d5-43dd-bc93-6894a57f9324"`.');
}
