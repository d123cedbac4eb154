import { type DescField, type DescMessage, fromJson, type JsonObject, type Message, type MessageShape, ScalarType } from '@bufbuild/protobuf';
import type { Refusal } from '../../core/refusal.ts';
import { toText } from '../duration.ts';
import { malformed } from '../validation.ts';
import { durationOf, type Input, printable } from './input.ts';

const DURATION = 'google.protobuf.Duration';

/**
 * Fields of a plain HTTP call as the message that the other protocols send: proto3 JSON, but durations may have any unit
 * (`250ms`, `1m30s`), an outcome is a plain word (`used`), and a truth may be text, as in a query. Errors name the fields.
 */
export function messageOf<D extends DescMessage>(schema: D, input: Input): MessageShape<D> | Refusal {
  try {
    return fromJson(schema, normal(schema, input, '') as JsonObject);
  } catch (error) {
    if (error instanceof Unreadable) return error.refusal;
    return malformed(error instanceof Error ? unreadable(error.message) : 'The fields cannot be read.');
  }
}

/** What `fromJson` found wrong, under the field's own name: it writes `cannot decode field sluice.v1.Message.field from JSON: what`. */
function unreadable(message: string): string {
  const [where = '', ...rest] = message.split(' from JSON: ');
  const name = where.slice(Math.max(where.lastIndexOf('.'), where.lastIndexOf(' ')) + 1);
  return rest.length === 0 ? `The fields cannot be read: ${message}.` : `\`${printable(name)}\` cannot be read: ${rest.join(' from JSON: ')}.`;
}

/** Is it a message, and not why there is none? */
export function isMessage(value: Message | Refusal): value is Message {
  return '$typeName' in value;
}

/** Ends the reading of a message, beside the errors of `fromJson`. */
class Unreadable extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.detail);
    this.refusal = refusal;
  }
}

function normal(schema: DescMessage, value: unknown, at: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unreadable(malformed(`\`${printable(at)}\` must be an object with ${fieldNames(schema)}.`));
  return mapped(value, (name, member) => {
    const field = schema.fields.find((each) => each.jsonName === name || each.name === name);
    if (field === undefined) {
      const within = at === '' ? '' : ` in \`${printable(at)}\``;
      throw new Unreadable(malformed(`There is no field \`${printable(name)}\`${within}; name ${fieldNames(schema)}.`));
    }
    return normalField(field, name, member);
  });
}

/** Names of all fields, as they stand in JSON. */
function fieldNames(schema: DescMessage): string {
  const names = schema.fields.map(({ jsonName }) => `\`${jsonName}\``);
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

function normalField(field: DescField, name: string, value: unknown): unknown {
  // A field that is null is absent, as in proto3 JSON.
  if (value === null) return value;
  if (field.fieldKind === 'enum')
    return typeof value === 'string' && /^[a-z_]+$/.test(value) ? `${field.enum.name.toUpperCase()}_${value.toUpperCase()}` : value;
  if (field.fieldKind === 'message') return field.message.typeName === DURATION ? durationText(name, value) : normal(field.message, value, name);
  // A query has only text.
  if (field.fieldKind === 'scalar' && field.scalar === ScalarType.BOOL && (value === 'true' || value === 'false')) return value === 'true';
  if (field.fieldKind !== 'map') return value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Unreadable(malformed(`\`${printable(name)}\` must be an object.`));
  const { message } = field;
  return mapped(value, (key, each) => (message === undefined ? each : normal(message, each, `${name}.${key}`)));
}

function durationText(name: string, value: unknown): string {
  const micros = durationOf(name, value);
  if (typeof micros !== 'number') throw new Unreadable(micros);
  return toText(micros);
}

/** Without a prototype: names come from outside. */
function mapped(object: object, each: (name: string, value: unknown) => unknown): unknown {
  const result = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of object instanceof Map ? object : Object.entries(object)) result[name] = each(name, value);
  return result;
}
