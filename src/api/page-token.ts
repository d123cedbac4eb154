import { createHash } from 'node:crypto';
import type { Refusal } from '../core/refusal.ts';
import { checkText, malformed } from './validation.ts';

/** Longest token of any list, in bytes: a place among dead letters names its group in hexadecimal. */
const TOKEN_BYTES_MAX = 512;
const CHECK_CHARS = 10;

/**
 * Makes the token of a list's next page from the place where it begins; '' stays '': there is none. `list` names the list and what it is of.
 * The token ends with a checksum of both: it shows that the token is whole and of this list, at any replica. It is no signature: a place is no secret.
 */
export function pageTokenOf(list: string, place: string): string {
  return place === '' ? '' : `${place}.${checkOf(list, place)}`;
}

/** Reads the place from a token that `pageTokenOf` made for the same list; '' is the first page. Any other token is malformed. */
export function placeOf(list: string, token: string): { readonly place: string } | Refusal {
  if (token === '') return { place: '' };
  const wrong = checkText('page_token', token, TOKEN_BYTES_MAX);
  if (wrong !== undefined) return wrong;
  const end = token.length - CHECK_CHARS - 1;
  const place = token.slice(0, Math.max(0, end));
  return end > 0 && token === pageTokenOf(list, place)
    ? { place }
    : malformed('`page_token` is not one of ours; send the `nextPageToken` of the page before, of the same list.');
}

function checkOf(list: string, place: string): string {
  return createHash('sha256').update(`${list}\n${place}`).digest('base64url').slice(0, CHECK_CHARS);
}
