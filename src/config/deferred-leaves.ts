import { type Reference, referenceIn } from './auth-options.ts';
import { ValueError } from './errors.ts';
import { hostPattern, keySource, type Source } from './route-scalars.ts';
import { type ScalarSchema, scalar } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';

/** Secrets in force at once: the current one, and the one before or after it. */
const SECRETS_MAX = 2;

const reference = {
  anyOf: ['file', 'env'].map((from) => ({ type: 'object', properties: { [from]: { type: 'string' } }, required: [from], additionalProperties: false })),
};

/** One secret, or two while they are exchanged. Never in the file itself, which is read by many. */
export const secretReferences: ScalarSchema<readonly Reference[]> = scalar<readonly Reference[]>({
  unit: 'secret',
  bounds: '{ file: PATH } or { env: NAME }, or a list of one or two of them',
  json: { anyOf: [reference, { type: 'array', items: reference, minItems: 1, maxItems: SECRETS_MAX }] },
  read: (raw) => {
    const items = raw.kind === 'list' ? raw.items : [raw];
    if (items.length === 0 || items.length > SECRETS_MAX)
      return new ValueError(`${items.length} secrets are not one or two`, 'Write one, or two while you exchange them.');
    const found = items.map(referenceIn).filter((each) => each !== undefined);
    return found.length === items.length
      ? found
      : new ValueError('a secret does not stand in this file', 'Write { file: PATH } or { env: NAME } that hold it.');
  },
});

/** Which statuses of a backend count as delivered. */
export type SuccessOption = '2xx' | 'any' | readonly number[];

const STATUSES_MAX = 64;

/** `2xx`, `any`, `200`, `[ 200, 404 ]`. */
export const successRule: ScalarSchema<SuccessOption> = scalar<SuccessOption>({
  unit: 'statuses',
  bounds: `2xx, any, a status from 200 to 599, or a list of at most ${STATUSES_MAX}`,
  json: {
    anyOf: [
      { enum: ['2xx', 'any'] },
      { type: 'integer', minimum: 200, maximum: 599 },
      { type: 'array', items: { type: 'integer', minimum: 200, maximum: 599 }, minItems: 1, maxItems: STATUSES_MAX },
    ],
  },
  read: (raw) => {
    if (raw.kind === 'scalar' && (raw.value === '2xx' || raw.value === 'any')) return raw.value;
    const items = raw.kind === 'list' ? raw.items : [raw];
    const statuses = items.map(statusOf).filter((each) => each !== undefined);
    if (items.length > 0 && items.length <= STATUSES_MAX && statuses.length === items.length) return statuses;
    return new ValueError(`${formatSourceValue(raw)} names no statuses`, 'Write 2xx, any, one status, or a list: [ 200, 404 ].');
  },
});

function statusOf(raw: SourceValue): number | undefined {
  const value = raw.kind === 'scalar' ? raw.value : undefined;
  return typeof value === 'number' && Number.isInteger(value) && value >= 200 && value <= 599 ? value : undefined;
}

/** Where a sender writes its own id of a delivery: `header x-shopify-webhook-id`, `query id`, `path id`. */
export const idSource: ScalarSchema<Source> = scalar<Source>({
  unit: 'source',
  bounds: 'header NAME, path NAME, query NAME',
  json: keySource.json,
  read: (raw) => {
    const text = raw.kind === 'scalar' ? raw.value : undefined;
    const source = text === 'caller' || text === 'client-ip' ? undefined : keySource.read(raw, [], ignore);
    return source ?? new ValueError(`${formatSourceValue(raw)} says of no id where it is`, 'Write header x-shopify-webhook-id, path id or query id.');
  },
});

/** `hooks.example.com`, `*.example.com`, or `*` for every host. */
export const callbackHost: ScalarSchema<string> = scalar<string>({
  unit: 'host',
  bounds: 'a name, *.name for those below it, or * for every host; a port only where it counts',
  json: { type: 'string', maxLength: 260 },
  read: (raw) => {
    if (raw.kind === 'scalar' && raw.value === '*') return '*';
    return (
      hostPattern.read(raw, [], ignore) ??
      new ValueError(`${formatSourceValue(raw)} is not a host`, 'Write hooks.example.com, "*.example.com", or "*" for every host.')
    );
  },
});

const PLACES = ['{timestamp}', '{body}'];

/** What a signature covers: text with `{timestamp}` once at most, and `{body}` at its end. */
export const signedContent: ScalarSchema<string> = scalar<string>({
  unit: 'template',
  bounds: 'text that ends in {body}, with {timestamp} once at most; at most 64 characters',
  json: { type: 'string', pattern: '^[^{}]*(\\{timestamp\\}[^{}]*)?\\{body\\}$', maxLength: 64 },
  read: (raw) => {
    const text = raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
    const fits = /^[\x20-\x7e]{6,64}$/.test(text) && /^[^{}]*(\{timestamp\}[^{}]*)?\{body\}$/.test(text);
    return fits
      ? text
      : new ValueError(`${formatSourceValue(raw)} is no content to sign`, `Write text with ${PLACES.join(' and ')} at its end: "{timestamp}.{body}".`);
  },
});

function ignore(): void {}
