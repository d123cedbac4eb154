import type { Costs } from '../../core/group.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { Micros } from '../../core/time.ts';
import { millisOfInstant } from '../instant-text.ts';
import { durationOf, memberOf, printable } from '../rest/input.ts';
import { isRefusal, malformed } from '../validation.ts';
import { EMPTY_SUBMIT, type SubmitFields } from './submit-fields.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

type Fields = { -readonly [K in keyof SubmitFields]: SubmitFields[K] };

const TEXTS = ['route', 'group', 'key', 'priorityClass', 'host', 'method', 'path', 'idempotencyKey', 'dedupeId', 'callback'] as const;

/** Reads one request to be stored from its JSON in UTF-8: names in camelCase or snake_case, durations with a unit, a body as text or base64. */
export function submitFieldsOf(bytes: Uint8Array): SubmitFields | Refusal {
  let json: unknown;
  try {
    json = JSON.parse(UTF8.decode(bytes));
  } catch {
    return malformed('The request is not JSON in UTF-8.');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return malformed('The request must be a JSON object.');
  const fields: Fields = { ...EMPTY_SUBMIT };
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(json)) {
    const member = memberOf(name);
    if (seen.has(member)) return malformed(`\`${printable(name)}\` is there twice; send it once.`);
    seen.add(member);
    // null is an absent field, as in proto3 JSON.
    const wrong = value === null ? undefined : take(fields, member, value);
    if (wrong !== undefined) return wrong;
  }
  for (const [one, other] of EXCLUSIVE) if (seen.has(one) && seen.has(other)) return malformed(`Send either \`${one}\` or \`${other}\`, not both.`);
  return fields;
}

/** Members of which a request has one. */
const EXCLUSIVE: readonly (readonly [string, string])[] = [
  ['body', 'bodyBase64'],
  ['retries', 'attemptsMax'],
  ['retries', 'retryDelays'],
  ['attemptsMax', 'retryDelays'],
];

function take(fields: Fields, member: string, value: unknown): Refusal | undefined {
  const text = TEXTS.find((name) => name === member);
  if (text !== undefined) {
    if (typeof value !== 'string') return malformed(`\`${member}\` must be a text.`);
    fields[text] = value;
    return undefined;
  }
  switch (member) {
    case 'body':
      return takeText(fields, value);
    case 'bodyBase64':
      return takeBase64(fields, value);
    case 'headers':
      return set(fields, 'headers', headersOf(value));
    case 'notBefore':
      fields.notBeforeMs = typeof value === 'string' ? millisOfInstant(value) : Number.NaN;
      return undefined;
    case 'deadline':
    case 'timeout':
      return set(fields, member, durationOf(member, value));
    case 'retries':
      return set(fields, 'retries', Array.isArray(value) ? delaysOf(member, value) : attemptsOf(member, value));
    case 'attemptsMax':
      return set(fields, 'retries', attemptsOf(member, value));
    case 'retryDelays':
      return set(fields, 'retries', Array.isArray(value) ? delaysOf(member, value) : malformed('`retryDelays` must be a list of durations.'));
    case 'costs':
      return set(fields, 'costs', costsOf(value));
    default:
      return malformed(`No field \`${printable(member)}\` is known here; look for a misspelling.`);
  }
}

function set<K extends keyof SubmitFields>(fields: Fields, name: K, value: Fields[K] | Refusal): Refusal | undefined {
  if (typeof value === 'object' && value !== null && isRefusal(value)) return value;
  fields[name] = value as Fields[K];
  return undefined;
}

function takeText(fields: Fields, value: unknown): Refusal | undefined {
  if (typeof value !== 'string') return malformed('`body` must be a text: write JSON as a text, and bytes that are no text as `bodyBase64`.');
  if (!value.isWellFormed()) return malformed('`body` holds half a surrogate pair; send bytes as `bodyBase64`.');
  fields.body = Buffer.from(value);
  return undefined;
}

function takeBase64(fields: Fields, value: unknown): Refusal | undefined {
  if (typeof value !== 'string' || value.length % 4 !== 0 || !BASE64.test(value))
    return malformed('`bodyBase64` must be base64 with its padding (RFC 4648 4).');
  fields.body = Buffer.from(value, 'base64');
  return undefined;
}

/** Headers as an object, whose values are texts or lists of them, or as a list of pairs or of `{name, value}`. */
function headersOf(value: unknown): SubmitFields['headers'] | Refusal {
  const wrong = malformed('`headers` must be an object of texts, or of lists of texts for repeated fields, by name.');
  if (typeof value !== 'object' || value === null) return wrong;
  const headers: (readonly [string, string])[] = [];
  const entries = Array.isArray(value) ? (value as unknown[]).map(pairOf) : Object.entries(value);
  for (const entry of entries) {
    if (entry === undefined) return wrong;
    const [name, values] = entry;
    for (const each of Array.isArray(values) ? (values as unknown[]) : [values]) {
      if (typeof each !== 'string') return wrong;
      headers.push([name, each]);
    }
  }
  return headers;
}

function pairOf(value: unknown): readonly [string, unknown] | undefined {
  if (Array.isArray(value)) return value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'string' ? [value[0], value[1]] : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  const { name, value: given } = value as { name?: unknown; value?: unknown };
  return typeof name === 'string' ? [name, given] : undefined;
}

function attemptsOf(member: string, value: unknown): SubmitFields['retries'] | Refusal {
  return typeof value === 'number'
    ? { attemptsMax: value }
    : malformed(`\`${member}\` must be a number of attempts${member === 'retries' ? ', or a list of delays' : ''}.`);
}

function delaysOf(member: string, value: readonly unknown[]): SubmitFields['retries'] | Refusal {
  const delays: Micros[] = [];
  for (const each of value) {
    const delay = durationOf(member, each);
    if (typeof delay !== 'number') return delay;
    delays.push(delay);
  }
  return { delays };
}

function costsOf(value: unknown): Costs | Refusal {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return malformed('`costs` must be an object of numbers by unit.');
  // Without a prototype: units come from outside.
  const costs = Object.create(null) as Record<string, number>;
  for (const [unit, cost] of Object.entries(value)) {
    costs[unit] = typeof cost === 'number' ? cost : typeof cost === 'string' && /^\d{1,19}$/.test(cost) ? Number(cost) : Number.NaN;
  }
  return costs;
}
