import { AcquireResponseSchema, PlaceSchema, ReleaseResponseSchema } from '../../gen/sluice/v1/admission_pb.ts';
import { GroupSchema, GroupService } from '../../gen/sluice/v1/group_pb.ts';
import { PROBLEM_TYPE } from '../problem.ts';
import { REFUSAL_STATUS } from '../refusal-status.ts';
import { type Methods, PATHS, type RestCall, type RestMethod } from '../rest/routes.ts';
import { COMMENTS } from './comments.ts';
import { OWN_FIELDS, OWN_SCHEMAS, SUBMISSION } from './fields.ts';
import { ALWAYS, OPERATIONS } from './operations.ts';
import { type Json, MessageSchemas, nullable } from './schemas.ts';

const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';
const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
const content = (schema: Json, type = JSON_TYPE): Json => ({ [type]: { schema } });

/** Statuses that the listener answers with before a call is made, and what they say. */
const OF_LISTENER: Readonly<Record<number, string>> = {
  408: 'The request did not arrive in time.',
  411: 'Send a Content-Length: chunked bodies are not taken here.',
  415: 'Send the body as application/json, uncompressed; changes without a body with the header `Sluice-Operator: 1` (on admin).',
  421: 'The name in Host is none that operators use (on admin).',
  431: 'The header is too large.',
};

/** Tells what the plain HTTP API takes and answers, as OpenAPI 3.1. Made of the table of paths, the messages of the protocol, and the table of refusals. */
export function openApiDocument(version: string): Json {
  const schemas = new MessageSchemas(COMMENTS);
  const paths = Object.fromEntries(PATHS.map(([path, methods]) => [path, pathItem(path, methods, schemas)]));
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sluice',
      version,
      description: 'The plain HTTP API. The same calls over gRPC, Connect and gRPC-Web: proto/sluice/v1. How clients behave: docs/clients.md.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{}, { key: [] }],
    tags: [...new Set(Object.values(OPERATIONS).map(tagOf))].map((name) => ({ name })),
    paths,
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } }, schemas: { ...OWN_SCHEMAS, ...sorted(schemas.components) } },
  };
}

function pathItem(path: string, methods: Methods, schemas: MessageSchemas): Json {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
  return {
    parameters: inPath.map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string', minLength: 1 },
      ...(name === 'group' ? { example: 'llm' } : {}),
    })),
    ...Object.fromEntries(
      Object.entries(methods).map(([method, call]) => [method.toLowerCase(), operation(path, method as RestMethod, call, inPath, schemas)]),
    ),
  };
}

function operation(path: string, method: RestMethod, call: RestCall, inPath: readonly string[], schemas: MessageSchemas): Json {
  const { summary } = OPERATIONS[call];
  const fields = call === 'Again' ? {} : fieldsOf(call, inPath, schemas);
  const body = bodyOf(method, call, fields);
  return {
    operationId: [method.toLowerCase(), ...path.split('/').map((part) => capital(part.replace(/[{}]/g, '')))].join(''),
    summary,
    tags: [tagOf(OPERATIONS[call])],
    parameters: [...queryOf(fields), ...headersOf(method, call)],
    ...(body === undefined ? {} : { requestBody: body }),
    responses: { ...successes(method, call, schemas), ...refusals(call) },
  };
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function tagOf({ method }: (typeof OPERATIONS)[RestCall]): string {
  return method?.parent === GroupService ? 'Groups' : method === undefined ? 'Stored requests' : 'Admission';
}

/** Schemas of what a call takes beside its path, by name. */
function fieldsOf(call: RestCall, inPath: readonly string[], schemas: MessageSchemas): Readonly<Record<string, Json>> {
  if (call === 'Submit') return {};
  const own = OWN_FIELDS[call];
  if (own !== undefined) return own;
  // Explain takes the fields of the request that it explains.
  const message = call === 'Explain' ? OPERATIONS.Acquire.method?.input : OPERATIONS[call].method?.input;
  const fields = message?.fields.filter(({ jsonName }) => !inPath.includes(jsonName)) ?? [];
  return Object.fromEntries(fields.map((field) => [field.jsonName, schemas.field(field, 'request')]));
}

/** Everything that is a single value may stand in the query; costs as `cost.UNIT`. */
function queryOf(fields: Readonly<Record<string, Json>>): readonly Json[] {
  return Object.entries(fields).flatMap(([name, schema]): readonly Json[] => {
    if (name === 'costs') {
      const description = 'Units by name: `cost.tokens=400`; `cost=1` is `cost.requests`.';
      return [{ name: 'cost', in: 'query', description, schema: { type: 'integer' } }];
    }
    const { description, ...value } = schema;
    const isSingle = typeof value['type'] === 'string' && !['object', 'array'].includes(value['type']);
    return isSingle || Array.isArray(value['type']) ? [{ name, in: 'query', ...(description === undefined ? {} : { description }), schema: value }] : [];
  });
}

function headersOf(method: RestMethod, call: RestCall): readonly Json[] {
  const header = (name: string, description: string): Json => ({ name, in: 'header', description, schema: { type: 'string' } });
  const found: Json[] = [];
  if (call === 'Acquire' || (call === 'Again' && method === 'GET'))
    found.push(header('Prefer', '`wait=N`: answers 202 after N seconds, to go on waiting at Location (RFC 7240).'));
  if (call === 'GetRequest' || call === 'GetResponse') found.push(header('Prefer', '`wait=N`: waits up to N seconds, 60 at most, for the end.'));
  if (call === 'Submit') found.push(header('Idempotency-Key', 'The same key answers the same ticket.'));
  if (method === 'POST') found.push(header('Sluice-Operator', '`1`: a change without a JSON body; wanted on the admin address.'));
  return found;
}

function bodyOf(method: RestMethod, call: RestCall, fields: Readonly<Record<string, Json>>): Json | undefined {
  if (call === 'Submit') {
    const batch = { description: `One JSON object a line, each as ${JSON_TYPE}.`, type: 'string' };
    return { required: true, content: { ...content(SUBMISSION), ...content(batch, NDJSON) } };
  }
  if (method !== 'POST' || call === 'CancelRequest') return undefined;
  const properties = Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, nullable(schema)]));
  return { content: content({ type: 'object', properties, additionalProperties: false }) };
}

function successes(method: RestMethod, call: RestCall, schemas: MessageSchemas): Json {
  const ok = (schema: Json, more: Json = {}): Json => ({ 200: { description: 'Done.', ...more, content: content(schema) } });
  switch (call) {
    case 'Acquire':
      return permit(schemas);
    case 'Again':
      return method === 'GET' ? permit(schemas) : ok(schemas.reference(ReleaseResponseSchema, 'response'));
    case 'GetGroup':
      return ok(schemas.reference(GroupSchema, 'response'));
    case 'Submit':
      return {
        200: { description: 'A batch: one line for each line, in their order, with its status.', content: content({ type: 'string' }, NDJSON) },
        202: { description: 'It is safely stored.', headers: { Location: LOCATION }, content: content(ref('SubmitTicket')) },
      };
    case 'ListRequests':
      return ok(ref('StoredRequests'));
    case 'GetRequest':
      return {
        ...ok(ref('StoredRequest')),
        303: { description: 'It is done: its response is at Location.', headers: { Location: LOCATION }, content: content(ref('StoredRequest')) },
        default: BACKENDS,
      };
    case 'GetResponse':
      return { default: BACKENDS };
    case 'CancelRequest':
      return ok(ref('Cancelled'));
    case 'RedriveMany':
    case 'Redrive':
      return ok(ref('Redriven'));
    default: {
      const output = OPERATIONS[call].method?.output;
      return output === undefined ? {} : ok(schemas.reference(output, 'response'));
    }
  }
}

const LOCATION: Json = { schema: { type: 'string', format: 'uri-reference' } };
const BACKENDS: Json = { description: 'The response of the backend, as it is kept: its status, fields and body.' };

function permit(schemas: MessageSchemas): Json {
  // Written by hand in the code, which leaves out what is not there.
  const { required: _, ...granted } = schemas.object(AcquireResponseSchema, 'response', []);
  const { required: __, ...place } = schemas.object(PlaceSchema, 'response', []);
  const events = { type: 'string', description: 'Events `place`, then `admitted` or `refused`, each with JSON as its data.' };
  return {
    200: { description: 'Admitted.', content: { ...content({ ...granted, required: ['permit', 'waited'] }), ...content(events, 'text/event-stream') } },
    202: { description: 'Still waiting: go on at Location.', headers: { Location: LOCATION }, content: content(place) },
  };
}

/** Every refusal of a call by its status, and what the listener refuses. Groups may have a response of their own in place of a problem. */
function refusals(call: RestCall): Json {
  const { reasons } = OPERATIONS[call];
  const byStatus = new Map<number, string[]>(Object.entries(OF_LISTENER).map(([status, why]) => [Number(status), [why]]));
  const add = (status: number, why: string): void => void byStatus.set(status, [...(byStatus.get(status) ?? []), why]);
  for (const reason of [...ALWAYS, ...reasons]) add(REFUSAL_STATUS[reason].http, `\`${reason}\`: ${REFUSAL_STATUS[reason].sentence}`);
  // A body for which there is no room, and a server on its way out.
  if (!byStatus.has(503)) add(503, 'The server takes no more for the moment.');
  add(414, 'The query is too long.');
  if (call === 'Submit') add(422, '`conflict`: this Idempotency-Key was used for another request.');
  const problems = Object.fromEntries(
    [...byStatus].map(([status, why]) => [status, { description: why.join(' '), content: content(ref('Problem'), PROBLEM_TYPE) }]),
  );
  const isOfGroup = reasons.some((reason) => REFUSAL_STATUS[reason].ofGroup);
  return isOfGroup ? { ...problems, default: { description: 'What the group says in place of a problem (`refusal` of the file).' } } : problems;
}

function sorted(components: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> {
  return Object.fromEntries(Object.entries(components).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
