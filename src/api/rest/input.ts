import type { Refusal } from '../../core/refusal.ts';
import type { EngineRequest } from '../../http/engine.ts';
import { fromText } from '../duration.ts';
import { malformed } from '../validation.ts';
import { formText } from './form-query.ts';

/**
 * Fields of a plain HTTP call by their names in camelCase: from its path, its query and its JSON body, which must agree.
 * Maps, here and for costs: names come from outside.
 */
export type Input = Map<string, unknown>;

/** Longest body and query taken; the body's as over the other protocols. */
const BODY_BYTES_MAX = 65_536;
const QUERY_BYTES_MAX = 16_384;

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i;

/** A refusal that has another status than that of its reason. */
export interface StatusRefusal extends Refusal {
  readonly status: number;
}

/** `path`: fields of the path, decoded. */
export function inputOf(request: EngineRequest, path: Readonly<Record<string, string>>): Input | Refusal | StatusRefusal {
  const input: Input = new Map();
  for (const name in path) input.set(name, path[name]);
  if (request.query !== '') {
    const wrong = takeQuery(request.query, input, path);
    if (wrong !== undefined) return wrong;
  }
  return request.body.length === 0 ? input : takeBody(request, input);
}

/** Was it refused? */
export function isRefused(input: Input | Refusal | StatusRefusal): input is Refusal | StatusRefusal {
  return !(input instanceof Map);
}

/** Durations lately read: callers send the same few. */
const DURATIONS = new Map<string, number>();
const DURATIONS_MAX = 256;

/** A duration with its unit, as microseconds, or what is wrong with it. */
export function durationOf(name: string, value: unknown): number | Refusal {
  const micros = typeof value === 'string' ? (DURATIONS.get(value) ?? fromText(value)) : Number.NaN;
  if (!Number.isNaN(micros)) {
    if (DURATIONS.size >= DURATIONS_MAX) DURATIONS.clear();
    DURATIONS.set(value as string, micros);
    return micros;
  }
  if (typeof value === 'number' || (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value))) {
    return malformed(`\`${name}\` needs a unit; write for example \`30s\` or \`250ms\`.`);
  }
  return malformed(`\`${name}\` is not a duration; write for example \`30s\`.`);
}

function takeQuery(query: string, input: Input, path: Readonly<Record<string, string>>): Refusal | StatusRefusal | undefined {
  if (query.length > QUERY_BYTES_MAX) return { reason: 'too_large', detail: `The query may be at most ${QUERY_BYTES_MAX} bytes.`, status: 414 };
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const mark = pair.indexOf('=');
    const name = formText(mark < 0 ? pair : pair.slice(0, mark));
    const value = formText(mark < 0 ? '' : pair.slice(mark + 1));
    if (name === undefined || value === undefined) return malformed('The query holds a percent sign that encodes no UTF-8; write %25 for the sign itself.');
    if (name === 'cost' || name.startsWith('cost.')) {
      const costs = costsIn(input);
      const unit = name === 'cost' ? 'requests' : name.slice(5);
      if (costs.has(unit)) return twice(name);
      costs.set(unit, value);
      continue;
    }
    const member = memberOf(name);
    if (Object.hasOwn(path, member)) {
      if (path[member] !== value) return disagree(name);
    } else if (input.has(member)) return twice(name);
    else input.set(member, value);
  }
  return undefined;
}

function costsIn(input: Input): Input {
  const found = input.get('costs');
  if (found instanceof Map) return found;
  const made: Input = new Map();
  input.set('costs', made);
  return made;
}

function takeBody(request: EngineRequest, input: Input): Input | Refusal | StatusRefusal {
  if (request.body.length > BODY_BYTES_MAX) return { reason: 'too_large', detail: `The body may be at most ${BODY_BYTES_MAX} bytes.` };
  if (!JSON_TYPE.test(request.header('content-type') ?? '')) {
    return { reason: 'malformed', detail: 'Send the body as application/json, or put its fields into the query.', status: 415 };
  }
  if ((request.header('content-encoding') ?? 'identity') !== 'identity') {
    return { reason: 'malformed', detail: 'No compression is understood; send the body as it is.', status: 415 };
  }
  let body: unknown;
  try {
    body = JSON.parse(UTF8.decode(request.body));
  } catch {
    return malformed('The body is not JSON in UTF-8.');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return malformed('The body must be a JSON object.');
  const names = new Set<string>();
  for (const [name, value] of Object.entries(body)) {
    const member = memberOf(name);
    if (names.has(member)) return twice(name);
    names.add(member);
    // null is an absent field, as in proto3 JSON.
    if (value === null) continue;
    const wrong = merge(input, member, name, value);
    if (wrong !== undefined) return wrong;
  }
  return input;
}

function merge(input: Input, member: string, name: string, value: unknown): Refusal | undefined {
  if (member === 'costs') {
    if (typeof value !== 'object' || Array.isArray(value)) return malformed('`costs` must be an object of numbers by unit.');
    const costs = costsIn(input);
    for (const [unit, cost] of Object.entries(value as object)) {
      if (costs.has(unit) && String(costs.get(unit)) !== String(cost)) return disagree(`costs.${unit}`);
      costs.set(unit, cost);
    }
    return undefined;
  }
  const before = input.get(member);
  if (before === undefined) input.set(member, value);
  else if (String(value) !== before) return disagree(name);
  return undefined;
}

/** The member that a name stands for: names are taken in snake_case and in camelCase, and `class` as the file has it. */
export function memberOf(name: string): string {
  if (name === 'class') return 'priorityClass';
  return name.includes('_') ? name.replaceAll(/(?<=[a-z])_[a-z]/g, (letter) => letter.charAt(1).toUpperCase()) : name;
}

function twice(name: string): Refusal {
  return malformed(`\`${printable(name)}\` is there twice; send it once.`);
}

function disagree(name: string): Refusal {
  return malformed(`\`${printable(name)}\` says one thing in the path or query and another in the query or body; say it once.`);
}

/** A name that came from outside, fit to be shown. */
export function printable(name: string): string {
  return name.slice(0, 64).replaceAll(/[^\x20-\x7e]|`/g, '?');
}
