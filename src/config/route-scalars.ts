import { isIP } from 'node:net';
import { UNITS_MAX } from '../core/bounds.ts';
import { ValueError } from './errors.ts';
import { className } from './group-options.ts';
import { type ScalarSchema, scalar } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';

/** Where something is read from a request. */
export type Source =
  | { readonly from: 'header' | 'path' | 'query'; readonly name: string }
  /** The credential it came with. */
  | { readonly from: 'caller' }
  | { readonly from: 'client_ip' }
  /** The same for all requests. */
  | { readonly from: 'value'; readonly value: string };

/** The class of a request: the same for all, or read from each. */
export type ClassSource = { readonly from: 'header' | 'path' | 'query'; readonly name: string } | { readonly from: 'value'; readonly value: string };

/** Where a cost stands: written here, in a header, in the query, or in JSON. */
export type CostSource =
  | { readonly from: 'value'; readonly value: number }
  | { readonly from: 'header' | 'query'; readonly name: string }
  | { readonly from: 'json'; readonly path: JsonSteps };

/** Members of JSON by name, items by number (negative: from the end). */
export type JsonSteps = readonly (string | number)[];

const FIELD = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}";
const NAME = '[A-Za-z_][A-Za-z0-9_.-]{0,63}';
const HEADER = new RegExp(`^header (${FIELD})$`);
const PATH = new RegExp(`^path (${NAME})$`);
const QUERY = new RegExp(`^query (${NAME})$`);
const VALUE = /^value ([A-Za-z0-9][A-Za-z0-9._-]{0,127})$/;
const JSON_PATH = /^json ([A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,15})$/;

/** Header names are compared without case (seed LN-D1). */
function named(text: string, places: readonly ('header' | 'path' | 'query')[]): { from: 'header' | 'path' | 'query'; name: string } | undefined {
  const patterns = { header: HEADER, path: PATH, query: QUERY } as const;
  for (const from of places) {
    const [, name] = patterns[from].exec(text) ?? [];
    if (name !== undefined) return { from, name: from === 'header' ? name.toLowerCase() : name };
  }
  return undefined;
}

/** `header x-tenant`, `path id`, `query tenant`, `caller`, `client-ip`, `value all`. */
export const keySource: ScalarSchema<Source> = scalar<Source>({
  unit: 'source',
  bounds: 'header NAME, path NAME, query NAME, caller, client-ip, or value KEY',
  json: { type: 'string', pattern: `^(header ${FIELD}|(path|query) ${NAME}|caller|client-ip|${VALUE.source.slice(1, -1)})$` },
  read: (raw) => {
    const text = textOf(raw);
    if (text === 'caller') return { from: 'caller' };
    if (text === 'client-ip') return { from: 'client_ip' };
    const [, value] = VALUE.exec(text) ?? [];
    if (value !== undefined) return { from: 'value', value };
    return (
      named(text, ['header', 'path', 'query']) ??
      new ValueError(`${formatSourceValue(raw)} says of nothing where it is`, 'Write header x-tenant, path id, query tenant, caller, client-ip, or value all.')
    );
  },
});

/** `header x-group`, `path tier`, `query tier`, or the name of a class. */
export const classSource: ScalarSchema<ClassSource> = scalar<ClassSource>({
  unit: 'source',
  bounds: 'header NAME, path NAME, query NAME, or a class',
  json: { type: 'string', maxLength: 160 },
  read: (raw) => {
    const found = named(textOf(raw), ['header', 'path', 'query']);
    if (found !== undefined) return found;
    let wrong = false;
    const name = className.read(raw, [], () => {
      wrong = true;
    });
    if (!wrong && name !== undefined) return { from: 'value', value: name };
    return new ValueError(
      `${formatSourceValue(raw)} is not a class, nor says where it is`,
      'Write header x-group, path tier, query tier, or the name of a class of the group.',
    );
  },
});

/** A header by name, or all that begin alike: `x-internal-tag`, `x-internal-*`; in small letters. */
export const headerPattern: ScalarSchema<string> = scalar<string>({
  unit: 'header',
  bounds: 'a name, or the beginning of names and *; case does not count',
  json: { type: 'string', pattern: `^${FIELD}$`, maxLength: 128 },
  read: (raw) => {
    const text = textOf(raw).toLowerCase();
    if (/^(host|content-length|transfer-encoding|\*)$/.test(text) || !/^[a-z0-9!#$%&'+.^_`|~-]{1,127}\*?$/.test(text))
      return new ValueError(
        `${formatSourceValue(raw)} is not a header that can be dropped`,
        'Write x-internal-tag, or x-internal-* for all that begin so; what frames a request always goes.',
      );
    return text;
  },
});

/** What a request costs: `400`, `header x-tokens`, `query n`, `json max_tokens`. */
export const askSource: ScalarSchema<CostSource> = scalar<CostSource>({
  unit: 'source',
  bounds: 'a number, header NAME, query NAME, json PATH',
  json: {
    anyOf: [
      { type: 'integer', minimum: 0, maximum: UNITS_MAX },
      { type: 'string', pattern: `^(header ${FIELD}|query ${NAME}|${JSON_PATH.source.slice(1, -1)})$` },
    ],
  },
  read: (raw) => {
    const value = raw.kind === 'scalar' ? raw.value : undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= UNITS_MAX) return { from: 'value', value };
    const text = textOf(raw);
    const found = named(text, ['header', 'query']) as { from: 'header' | 'query'; name: string } | undefined;
    return (
      found ??
      jsonOf(text) ??
      new ValueError(`${formatSourceValue(raw)} says of no cost where it is`, 'Write a number, header x-tokens, query n, or json max_tokens.')
    );
  },
});

/** What an answer says was used: `json usage.total_tokens`. */
export const settleSource: ScalarSchema<JsonSteps> = scalar<JsonSteps>({
  unit: 'source',
  bounds: 'json PATH',
  json: { type: 'string', pattern: JSON_PATH.source },
  read: (raw) =>
    stepsOf(textOf(raw)) ??
    new ValueError(`${formatSourceValue(raw)} says of no figure where it is`, 'Write json and the names on the way: json usage.total_tokens.'),
});

function jsonOf(text: string): CostSource | undefined {
  const path = stepsOf(text);
  return path && { from: 'json', path };
}

function stepsOf(text: string): JsonSteps | undefined {
  const [, path] = JSON_PATH.exec(text) ?? [];
  return path?.split('.').map((step) => (/^-?\d{1,9}$/.test(step) ? Number(step) : step));
}

/** An address, or a range of them as CIDR. */
export interface AddressRange {
  readonly address: string;
  readonly bits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** `10.0.0.0/8`, `127.0.0.1`, `fd00::/8`. */
export const addressRange: ScalarSchema<AddressRange> = scalar<AddressRange>({
  unit: 'address range',
  bounds: 'an IP address, or a range as CIDR',
  json: { type: 'string', maxLength: 50 },
  read: (raw) => {
    const [, address = '', digits] = /^([0-9A-Fa-f:.]{2,45})(?:\/(\d{1,3}))?$/.exec(textOf(raw)) ?? [];
    const version = isIP(address);
    const most = version === 4 ? 32 : 128;
    const bits = digits === undefined ? most : Number(digits);
    if (version !== 0 && bits <= most) return { address, bits, family: version === 4 ? 'ipv4' : 'ipv6' };
    return new ValueError(`${formatSourceValue(raw)} is not an address or a range`, 'Write 127.0.0.1, 10.0.0.0/8 or "fd00::/8".');
  },
});

const HOST = /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:\d{1,5})?$/;

/** `api.example.com`, `*.example.com`, with a port only where it counts. */
export const hostPattern: ScalarSchema<string> = scalar<string>({
  unit: 'host',
  bounds: 'a name, or *.name for those below it',
  json: { type: 'string', pattern: HOST.source },
  read: (raw) => {
    const text = textOf(raw);
    if (HOST.test(text)) return text.toLowerCase();
    return new ValueError(`${formatSourceValue(raw)} is not a host`, 'Write api.example.com, or "*.example.com" for every name below it.');
  },
});

const PATH_PATTERN = /^\/$|^(\/([^/{}*?#\s\\]+|\{[A-Za-z_][A-Za-z0-9_-]{0,63}\}|\*))+\/?$/;

/** `/resource/{id}`, `/v1/chat/*`. */
export const pathPattern: ScalarSchema<string> = scalar<string>({
  unit: 'path pattern',
  bounds: '/, words, {name} for one segment, * for one, or at the end for all that follow',
  json: { type: 'string', pattern: PATH_PATTERN.source, maxLength: 1024 },
  read: (raw) => {
    const text = textOf(raw);
    const names = [...text.matchAll(/\{([^{}]*)\}/g)].map(([, name]) => name);
    if (text.length <= 1024 && PATH_PATTERN.test(text) && new Set(names).size === names.length) return text;
    const remedy = 'Begin with /; {name} (each once) and * stand for whole segments: /resource/{id}, /v1/chat/*. No query, and dots as they are.';
    return new ValueError(`${formatSourceValue(raw)} is not a path pattern`, remedy);
  },
});

const METHOD = /^[A-Z][A-Z-]{0,31}$/;

/** A method in capitals. */
export const methodName: ScalarSchema<string> = scalar<string>({
  unit: 'method',
  bounds: 'capitals; not CONNECT or TRACE',
  json: { type: 'string', pattern: METHOD.source },
  read: (raw) => {
    const text = textOf(raw);
    if (METHOD.test(text) && text !== 'CONNECT' && text !== 'TRACE') return text;
    return new ValueError(`${formatSourceValue(raw)} is not a method that is passed on`, 'Write GET, POST, PUT and the like in capitals.');
  },
});

function textOf(raw: SourceValue): string {
  return raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
}
