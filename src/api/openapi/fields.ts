import type { RestCall } from '../rest/routes.ts';
import { type Json, nullable } from './schemas.ts';

/*
 * Fields and answers of the calls about stored requests: plain HTTP has forms of its own for them, beside those of the protocol.
 * test/api/openapi.test.ts sends each field to a server, which must know it, and no other.
 */

const TEXT: Json = { type: 'string' };
const WHOLE: Json = { type: 'integer', format: 'int32' };
const TIME: Json = { type: 'string', format: 'date-time' };
const DURATION: Json = { type: 'string', examples: ['30s'], description: 'A number with a unit, or several: d, h, m, s, ms, us.' };
const TIME_OR_AGO: Json = { type: 'string', description: 'RFC 3339, or how long ago: `90m`.' };
const STATE: Json = { type: 'string', enum: ['pending', 'sending', 'done', 'dead', 'cancelled'] };
const TOKEN: Json = { type: 'string', description: '`nextPageToken` of the page before.' };

const FILTER: Readonly<Record<string, Json>> = {
  ...{ group: TEXT, key: TEXT, since: TIME_OR_AGO, until: TIME_OR_AGO },
  error: { type: 'string', description: 'Why the last attempt failed; also as `failure`.' },
  failure: TEXT,
};

/** Fields that a call takes from its query, and those with a body from their JSON too; undefined: those of its message. */
export const OWN_FIELDS: Readonly<Partial<Record<RestCall, Readonly<Record<string, Json>>>>> = {
  ListRequests: { ...FILTER, state: STATE, pageSize: WHOLE, pageToken: TOKEN },
  RedriveMany: { ...FILTER, max: { ...WHOLE, minimum: 1 }, pageToken: TOKEN },
  Redrive: {},
  CancelRequest: {},
  GetResponse: {},
  GetRequest: { response: { type: 'string', enum: ['redirect', 'direct', 'state'], default: 'redirect' } },
};

const HEADERS: Json = {
  description: 'Texts, or lists of texts for repeated fields, by name; or a list of pairs, or of `{name, value}`.',
  anyOf: [
    { type: 'object', additionalProperties: { anyOf: [TEXT, { type: 'array', items: TEXT }] } },
    { type: 'array', items: { anyOf: [{ type: 'array', prefixItems: [TEXT, TEXT], minItems: 2, maxItems: 2 }, { type: 'object' }] } },
  ],
};

const MEMBERS: Readonly<Record<string, Json>> = {
  ...{ route: TEXT, group: TEXT, key: TEXT, priorityClass: TEXT, host: TEXT, method: TEXT, path: TEXT, idempotencyKey: TEXT, dedupeId: TEXT },
  ...{ callback: TEXT, headers: HEADERS, notBefore: TIME, deadline: DURATION, timeout: DURATION },
  body: { type: 'string', description: 'As a text; or `bodyBase64`.' },
  bodyBase64: { type: 'string', contentEncoding: 'base64' },
  retries: { description: 'A number of attempts, or a list of delays.', anyOf: [WHOLE, { type: 'array', items: DURATION }] },
  attemptsMax: WHOLE,
  retryDelays: { type: 'array', items: DURATION },
  costs: { type: 'object', additionalProperties: { type: ['integer', 'string'] } },
};

/** The body of Submit, and each line of a batch. */
export const SUBMISSION: Json = {
  type: 'object',
  description: 'A request to be stored. Names are taken in camelCase and in snake_case.',
  properties: Object.fromEntries(Object.entries(MEMBERS).map(([name, schema]) => [name, nullable(schema)])),
  additionalProperties: false,
};

const ATTEMPT: Json = {
  type: 'object',
  properties: { number: WHOLE, at: TIME, status: WHOLE, error: TEXT, firstBytes: TEXT, nextAt: TIME },
  required: ['number'],
};

const STORED_RESPONSE: Json = {
  type: 'object',
  properties: {
    status: WHOLE,
    headers: { type: 'array', items: { type: 'array', items: TEXT } },
    bytes: WHOLE,
    truncated: { type: 'boolean' },
    location: TEXT,
  },
  required: ['status', 'headers', 'bytes', 'location'],
};

/** What these calls answer, by name. */
export const OWN_SCHEMAS: Readonly<Record<string, Json>> = {
  StoredRequest: {
    type: 'object',
    description: 'A stored request. What is not there is left out.',
    properties: {
      ...{ id: TEXT, state: STATE, group: TEXT, key: TEXT, route: TEXT, method: TEXT, path: TEXT, bodyBytes: WHOLE, acceptedAt: TIME, notBefore: TIME },
      ...{ deadlineAt: TIME, attempts: WHOLE, nextAttemptAt: TIME, waitsFor: TEXT, error: TEXT, tries: { type: 'array', items: ATTEMPT } },
      ...{ callback: TEXT, goneAt: TIME, response: STORED_RESPONSE },
    },
    required: ['id', 'state', 'group', 'key', 'route', 'attempts'],
  },
  StoredRequests: {
    type: 'object',
    properties: { requests: { type: 'array', items: { $ref: '#/components/schemas/StoredRequest' } }, nextPageToken: TEXT },
    required: ['requests', 'nextPageToken'],
  },
  SubmitTicket: {
    type: 'object',
    properties: { id: TEXT, existing: { type: 'boolean' }, expiresAt: TIME, location: TEXT },
    required: ['id', 'existing', 'location'],
  },
  Cancelled: {
    type: 'object',
    properties: { cancelled: { type: 'boolean' }, aborted: { type: 'boolean' } },
    required: ['cancelled', 'aborted'],
  },
  Redriven: { type: 'object', properties: { redriven: WHOLE, nextPageToken: TEXT }, required: ['redriven'] },
  Problem: {
    type: 'object',
    description: 'Why it was refused (RFC 9457).',
    properties: {
      ...{ type: { type: 'string', format: 'uri' }, title: TEXT, status: WHOLE, detail: TEXT, limit: TEXT },
      reason: { type: 'string', description: 'As in docs/clients.md.' },
      retryAfter: { type: 'string', description: 'A duration, as exact as it is known.' },
      range: {
        type: 'object',
        description: 'When a request like this one, asked again now, would be admitted if it waited; absent: not known, or many are refused at once.',
        properties: { earliest: DURATION, latest: DURATION },
        required: ['earliest', 'latest'],
      },
      'violated-policies': { type: 'array', items: TEXT },
    },
    required: ['type', 'title', 'status', 'detail', 'reason'],
  },
};
