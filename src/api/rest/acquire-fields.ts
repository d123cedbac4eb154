import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { ONE_REQUEST, REQUESTS } from '../../core/group.ts';
import type { Refusal } from '../../core/refusal.ts';
import { SECOND } from '../../core/time.ts';
import { type AcquireRequest, AcquireRequestSchema } from '../../gen/sluice/v1/admission_pb.ts';
import { type AcquireFields, malformed } from '../validation.ts';
import { durationOf, type Input, printable } from './input.ts';

type Member = Exclude<keyof AcquireFields, 'costs'>;

const KINDS: Readonly<Record<Member, 'text' | 'duration' | 'integer'>> = {
  group: 'text',
  key: 'text',
  ttl: 'duration',
  priority: 'integer',
  priorityClass: 'text',
  lease: 'duration',
  holder: 'text',
  requestId: 'text',
};

/** Reads an acquire from the fields of a plain HTTP call; `parseAcquire` checks their values. */
export function askFieldsOf(input: Input): AcquireFields | Refusal {
  const fields: Record<string, unknown> = { group: '' };
  for (const [name, value] of input) {
    const read = name === 'costs' ? costsOf(value as Input) : Object.hasOwn(KINDS, name) ? readMember(name as Member, value) : unknown(name);
    if (read instanceof Wrong) return read.refusal;
    fields[name] = read;
  }
  return fields as unknown as AcquireFields;
}

/** The same as a message, for calls that take messages. Numbers that are none become ones that are refused. */
export function askMessage(fields: AcquireFields): AcquireRequest {
  const message: MessageInitShape<typeof AcquireRequestSchema> = { group: fields.group };
  for (const name of ['key', 'holder', 'requestId'] as const) {
    const text = fields[name];
    if (text !== undefined) message[name] = text;
  }
  if (fields.ttl !== undefined) message.ttl = durationMessage(fields.ttl);
  if (fields.lease !== undefined) message.lease = durationMessage(fields.lease);
  if (fields.priority !== undefined) message.urgency = { case: 'priority', value: fields.priority };
  else if (fields.priorityClass !== undefined) message.urgency = { case: 'priorityClass', value: fields.priorityClass };
  const costs = Object.entries(fields.costs ?? {}).map(([unit, cost]): [string, bigint] => [unit, Number.isInteger(cost) ? BigInt(cost) : -1n]);
  message.costs = Object.fromEntries(costs);
  return create(AcquireRequestSchema, message);
}

/** An acquire that goes on at another address, with the end of its wait timeout. */
export interface Ticket {
  readonly fields: AcquireFields;
  /** Milliseconds since 1970, of the wall clock of the replica that gave the ticket. */
  readonly until: number;
}

/** Where a place goes on: the acquire itself and the end of its wait timeout, written so that any replica can read it, also after a restart. */
export function encodeTicket({ fields, until }: Ticket): string {
  const { group: _, ...rest } = fields;
  return Buffer.from(JSON.stringify({ ...rest, until })).toString('base64url');
}

/** Returns the acquire in a ticket, or undefined if it is none. */
export function decodeTicket(group: string, ticket: string): Ticket | undefined {
  try {
    const { until, ...fields } = JSON.parse(Buffer.from(ticket, 'base64url').toString()) as AcquireFields & { until?: unknown };
    const isTicket = typeof fields.requestId === 'string' && Number.isSafeInteger(until) && wellTyped(fields);
    return isTicket ? { fields: { ...fields, group }, until: until as number } : undefined;
  } catch {
    return undefined;
  }
}

function wellTyped({ costs, ...rest }: AcquireFields): boolean {
  const numbers = costs === undefined || (typeof costs === 'object' && costs !== null && Object.values(costs).every((cost) => typeof cost === 'number'));
  return (
    numbers &&
    Object.entries(rest).every(([name, value]) => Object.hasOwn(KINDS, name) && typeof value === (KINDS[name as Member] === 'text' ? 'string' : 'number'))
  );
}

/** Returns what is wrong with a member, whatever its value. */
class Wrong {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    this.refusal = refusal;
  }
}

function unknown(name: string): Wrong {
  return new Wrong(malformed(`No field \`${printable(name)}\` is known here; look for a misspelling.`));
}

function readMember(name: Member, value: unknown): string | number | Wrong {
  switch (KINDS[name]) {
    case 'text':
      return typeof value === 'string' ? value : new Wrong(malformed(`\`${name}\` must be a text.`));
    case 'integer':
      return integer(value) ?? new Wrong(malformed(`\`${name}\` must be a whole number.`));
    case 'duration': {
      const micros = durationOf(name, value);
      return typeof micros === 'number' ? micros : new Wrong(micros);
    }
  }
}

function costsOf(costs: Input): Record<string, number> {
  const [only] = costs;
  // The usual acquire: an object that was made before.
  if (costs.size === 1 && only?.[0] === REQUESTS && integer(only[1]) === 1) return ONE_REQUEST;
  // Without a prototype: units come from outside.
  const read = Object.create(null) as Record<string, number>;
  for (const [unit, cost] of costs) read[unit] = integer(cost) ?? Number.NaN;
  return read;
}

/** A whole number, also as text (a query has nothing else, and 64 bits do not fit JSON's numbers). */
function integer(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) ? value : undefined;
  return typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? Number(value) : undefined;
}

/** Microseconds as a message; negative ones too, for they are refused where all are. */
function durationMessage(micros: number): { seconds: bigint; nanos: number } {
  const seconds = Math.trunc(micros / SECOND);
  return { seconds: BigInt(seconds), nanos: (micros - seconds * SECOND) * 1000 };
}
