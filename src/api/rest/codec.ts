import { type DescField, type DescMessage, fromJson, type JsonObject, type Message, type MessageShape } from '@bufbuild/protobuf';
import type { Refusal } from '../../core/refusal.ts';
import { toText } from '../duration.ts';
import { malformed } from '../validation.ts';
import { durationOf, type Input } from './input.ts';

const DURATION = 'google.protobuf.Duration';

/**
 * Fields of a plain HTTP call as the message that the other protocols send: proto3 JSON, but durations may have any unit
 * (`250ms`, `1m30s`), and an outcome is a plain word (`used`).
 */
export function messageOf<D extends DescMessage>(schema: D, input: Input): MessageShape<D> | Refusal {
  try {
    return fromJson(schema, normal(schema, input) as JsonObject);
  } catch (error) {
    if (error instanceof Unreadable) return error.refusal;
    const said = error instanceof Error ? error.message.replace(/^cannot decode (message|field) [\w.]+ from JSON: /, '') : 'unreadable';
    return malformed(`The fields are not those of ${schema.name}: ${said}.`);
  }
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

function normal(schema: DescMessage, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return mapped(value, (name, member) => {
    const field = schema.fields.find((each) => each.jsonName === name || each.name === name);
    return field === undefined ? member : normalField(field, name, member);
  });
}

function normalField(field: DescField, name: string, value: unknown): unknown {
  if (field.fieldKind === 'enum')
    return typeof value === 'string' && /^[a-z_]+$/.test(value) ? `${field.enum.name.toUpperCase()}_${value.toUpperCase()}` : value;
  if (field.fieldKind === 'message') return field.message.typeName === DURATION ? durationText(name, value) : normal(field.message, value);
  if (field.fieldKind !== 'map' || typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const { message } = field;
  return mapped(value, (_key, each) => (message === undefined ? each : normal(message, each)));
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
