import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';

/** A JSON Schema, or another object of an OpenAPI document. */
export type Json = Readonly<Record<string, unknown>>;

/** Which way a message goes: requests are read more loosely than responses are written. */
export type Direction = 'request' | 'response';

/** Durations as requests may have them; responses have seconds. */
const DURATION_TEXT = '^-?(0|([0-9]{1,15}(\\.[0-9]{1,9})?(d|h|ms|us|m|s))+)$';
const SECONDS_TEXT = '^-?[0-9]+(\\.[0-9]+)?s$';
const INTEGER_TEXT = '^-?[0-9]{1,19}$';

/**
 * Makes JSON Schemas of messages, as plain HTTP has them, and keeps those it met by name. `comments` has the comment of a message, a
 * field or a value of the protocol by its full name.
 */
export class MessageSchemas {
  readonly components: Record<string, Json> = {};
  readonly #comments: Readonly<Record<string, string>>;

  constructor(comments: Readonly<Record<string, string>>) {
    this.#comments = comments;
  }

  /** Returns a reference to the schema of a message, which is made at the first call. */
  reference(message: DescMessage, direction: Direction): Json {
    const name = direction === 'request' && !message.name.endsWith('Request') ? `${message.name}Input` : message.name;
    if (!Object.hasOwn(this.components, name)) {
      this.components[name] = {};
      this.components[name] = this.object(message, direction, []);
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  /** Returns the schema of a message without some of its fields. */
  object(message: DescMessage, direction: Direction, without: readonly string[]): Json {
    const fields = message.fields.filter(({ jsonName }) => !without.includes(jsonName));
    const schemaOf = (field: DescField): Json => (direction === 'request' ? nullable(this.field(field, direction)) : this.field(field, direction));
    const properties = Object.fromEntries(fields.map((field) => [field.jsonName, schemaOf(field)]));
    const always = direction === 'request' ? [] : fields.filter(isAlwaysWritten).map(({ jsonName }) => jsonName);
    return {
      type: 'object',
      ...this.#described(message.typeName),
      properties,
      ...(always.length === 0 ? {} : { required: always }),
      additionalProperties: false,
    };
  }

  /** Returns the schema of a field's value. */
  field(field: DescField, direction: Direction): Json {
    const described = this.#described(`${field.parent.typeName}.${field.name}`);
    if (field.fieldKind === 'list') return { type: 'array', ...described, items: this.#element(field, direction) };
    if (field.fieldKind === 'map') return { type: 'object', ...described, additionalProperties: this.#element(field, direction) };
    return { ...this.#element(field, direction), ...described };
  }

  #element(field: DescField, direction: Direction): Json {
    if (field.message !== undefined) return wellKnown(field.message, direction) ?? this.reference(field.message, direction);
    if (field.enum !== undefined) return this.#enum(field.enum, direction);
    return scalar(field.scalar ?? ScalarType.STRING, direction);
  }

  #enum({ name, values }: DescEnum, direction: Direction): Json {
    const names = values.map((value) => value.name);
    if (direction === 'response') return { type: 'string', enum: names };
    const prefix = `${name.replaceAll(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase()}_`;
    return { type: 'string', enum: [...names, ...names.map((each) => each.slice(prefix.length).toLowerCase())] };
  }

  #described(name: string): { readonly description?: string } {
    const comment = Object.hasOwn(this.#comments, name) ? this.#comments[name] : undefined;
    return comment === undefined ? {} : { description: comment };
  }
}

/** Allows null beside a value: in a body it says nothing, as in proto3 JSON. */
export function nullable(schema: Json): Json {
  const { type, enum: values } = schema;
  if (typeof type !== 'string' && !Array.isArray(type)) return { anyOf: [schema, { type: 'null' }] };
  return { ...schema, type: [type, 'null'].flat(), ...(Array.isArray(values) ? { enum: [...(values as readonly unknown[]), null] } : {}) };
}

/** Fields without presence are in every response, also as zeros and empty lists. */
function isAlwaysWritten(field: DescField): boolean {
  if (field.fieldKind === 'list' || field.fieldKind === 'map') return true;
  return field.presence === FeatureSet_FieldPresence.IMPLICIT;
}

function wellKnown({ typeName }: DescMessage, direction: Direction): Json | undefined {
  if (typeName === 'google.protobuf.Duration') return { type: 'string', pattern: direction === 'request' ? DURATION_TEXT : SECONDS_TEXT, examples: ['30s'] };
  return typeName === 'google.protobuf.Timestamp' ? { type: 'string', format: 'date-time' } : undefined;
}

function scalar(type: ScalarType, direction: Direction): Json {
  switch (type) {
    case ScalarType.BOOL:
      return { type: 'boolean' };
    case ScalarType.INT32:
    case ScalarType.UINT32:
      return { type: 'integer', format: 'int32' };
    case ScalarType.INT64:
    case ScalarType.UINT64:
      // JSON's numbers do not hold 64 bits.
      return direction === 'request' ? { type: ['integer', 'string'], pattern: INTEGER_TEXT } : { type: 'string', pattern: INTEGER_TEXT };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { type: 'number' };
    case ScalarType.BYTES:
      return { type: 'string', contentEncoding: 'base64' };
    default:
      return { type: 'string' };
  }
}
