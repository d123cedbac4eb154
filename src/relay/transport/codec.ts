import type { AdmissionRequest, Outcome } from '../../admission/admission.ts';
import type { Arrival } from '../../core/request.ts';
import { type Instant, NEVER } from '../../core/time.ts';
import type { Frame } from './channel.ts';

/** What one replica may ask of another about a group, a permit or a session; `places` answers where waiters of the asker stand. */
export const METHODS = [
  'renew',
  'release',
  'releaseRequest',
  'explain',
  'group',
  'groups',
  'waiters',
  'leases',
  'pause',
  'resume',
  'override',
  'report',
  'evictWaiter',
  'revokeLease',
  'endSession',
  'resumeSession',
  'places',
] as const;

/** One of {@link METHODS}. */
export type Method = (typeof METHODS)[number];

/** By name, so that what is undefined may be left out. */
export type CallArgs = Readonly<Record<string, unknown>>;

/**
 * Operations between the replica that holds a caller's connection (the edge) and the one that decides (the owner). Names of
 * asks (`wid`) and calls (`id`) are the edge's, used once for ever. Every instant is in the time of the process that sends it.
 */
export type RelayMessage =
  /** Edge to owner: place this ask. `ask.wait` is the wait timeout left. */
  | { readonly op: 'ask'; readonly wid: number; readonly shard: number; readonly term: bigint; readonly limits: boolean; readonly ask: AdmissionRequest }
  /** The caller left, or (`late`) the permit came too late to be delivered: give the place or the permit back. */
  | { readonly op: 'cancel'; readonly wid: number; readonly late?: true }
  | { readonly op: 'delivered'; readonly wid: number }
  | { readonly op: 'call'; readonly id: number; readonly method: Method; readonly args: CallArgs }
  /** All who wait at this edge for the shard were sent to the owner of this term. */
  | { readonly op: 'rejoined'; readonly shard: number; readonly term: bigint }
  /** The receiver was given the shard by the sender. */
  | { readonly op: 'gave'; readonly shard: number; readonly term: bigint }
  /** First word of a new address: the one before is over. */
  | { readonly op: 'hello'; readonly was: string }
  /** Says nothing but that its sender lives, which has no heartbeat any more. */
  | { readonly op: 'here' }
  /** Owner to edge: it waits, at this place among all. */
  | { readonly op: 'queued'; readonly wid: number; readonly since: Arrival }
  /** `again`: decided earlier, for an ask of the same request id; however old, it is the answer. */
  | { readonly op: 'outcome'; readonly wid: number; readonly outcome: Outcome; readonly again?: true }
  /** Not decided here: ask where the shard is now. */
  | { readonly op: 'moved'; readonly wid: number; readonly since: Arrival | undefined }
  | { readonly op: 'reply'; readonly id: number; readonly how: 'value' | 'moved' | 'fault'; readonly value: unknown };

const OPS = [
  'ask',
  'cancel',
  'delivered',
  'call',
  'rejoined',
  'gave',
  'hello',
  'here',
  'queued',
  'outcome',
  'moved',
  'reply',
] as const satisfies readonly RelayMessage['op'][];
const KINDS: ReadonlySet<string> = new Set(OPS);
const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);

/** One line of JSON. An instant of NEVER is `null`, a bigint a string, a Map a list of pairs. */
export function encodeMessage(message: RelayMessage): string {
  // Without a replacer it takes half the time, and these are many.
  if (message.op === 'ask') return JSON.stringify({ ...message, term: String(message.term) });
  const isPlain = message.op === 'cancel' || message.op === 'delivered' || message.op === 'queued' || (message.op === 'outcome' && fenceless(message.outcome));
  return isPlain ? JSON.stringify(message) : JSON.stringify(message, plain);
}

function fenceless(outcome: Outcome): boolean {
  return outcome.kind === 'refused' || outcome.permit.lease === undefined;
}

/** The inverse; undefined: a kind or a method that is not known here, which is left out. Throws on what is no operation at all. */
export function decodeMessage(text: string): RelayMessage | undefined {
  const raw: unknown = JSON.parse(text);
  if (!isRecord(raw)) throw new TypeError('An operation is an object.');
  const { op } = raw;
  if (typeof op !== 'string') throw new TypeError('An operation has a kind.');
  if (!KINDS.has(op) || (op === 'call' && !KNOWN_METHODS.has(String(raw['method'])))) return undefined;
  check(raw, op as RelayMessage['op']);
  if (text.includes('null') || text.includes('"fence')) restore(raw);
  if (typeof raw['term'] === 'string') raw['term'] = BigInt(raw['term']);
  return raw as RelayMessage;
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  return value instanceof Map ? [...value] : value;
}

/** What must be there for the operation to mean anything; the rest is believed, since only replicas can say it. */
function check(raw: Record<string, unknown>, op: RelayMessage['op']): void {
  const whole = (name: string) => {
    if (!Number.isSafeInteger(raw[name])) throw new TypeError(`${op}: ${name} is no whole number.`);
  };
  if (op === 'here') return;
  if (op === 'hello') {
    if (typeof raw['was'] !== 'string') throw new TypeError('hello: was is no name.');
    return;
  }
  if (op === 'rejoined' || op === 'gave' || op === 'ask') {
    whole('shard');
    if (typeof raw['term'] !== 'string') throw new TypeError(`${op}: term is no number.`);
  }
  if (op === 'call' || op === 'reply') whole('id');
  else if (op !== 'rejoined' && op !== 'gave') whole('wid');
  if (op === 'call' && !isRecord(raw['args'])) throw new TypeError('call: args is no object.');
  if (op === 'ask') checkAsk(raw['ask']);
  if ((op === 'outcome' && !isOutcome(raw['outcome'])) || (op === 'queued' && !isRecord(raw['since']))) throw new TypeError(`${op}: it says nothing.`);
}

function checkAsk(request: unknown): void {
  const fits = isRecord(request) && ['group', 'key', 'caller', 'holder'].every((name) => typeof request[name] === 'string') && isRecord(request['costs']);
  if (!fits) throw new TypeError('ask: group, key, caller, holder or costs is missing.');
}

function isOutcome(outcome: unknown): boolean {
  if (!isRecord(outcome)) return false;
  return outcome['kind'] === 'admitted' ? isRecord(outcome['permit']) && typeof outcome['id'] === 'string' : isRecord(outcome['refusal']);
}

/** NEVER for every null, since nothing else is null in what replicas say, and fences as numbers. `costs` are callers' own words. */
function restore(value: unknown): unknown {
  if (value === null) return NEVER;
  if (Array.isArray(value)) return value.map(restore);
  if (!isRecord(value)) return value;
  for (const [name, inner] of Object.entries(value)) {
    if (inner === null) value[name] = NEVER as Instant;
    else if (typeof inner === 'object' && name !== 'costs') value[name] = restore(inner);
    else if ((name === 'fence' || name === 'fenceFloor') && typeof inner === 'string') value[name] = BigInt(inner);
  }
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What comes from another replica: a frame of a channel, with the sender's clock, or word that the receiver was taken for dead. */
type Envelope =
  | { readonly kind: 'frame'; readonly frame: Frame<string>; readonly now: Instant }
  | { readonly kind: 'reset'; readonly from: string; readonly to: string };

/** What the first line says. */
interface Head {
  readonly from: string;
  readonly to: string;
  readonly seq: number;
  readonly ack: number;
  readonly gap: boolean;
  readonly now: Instant;
  readonly reset: boolean;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A line of JSON for the frame, then one for each operation. `now`: the sender's process time as it goes. */
export function encodeFrame(frame: Frame<string>, now: Instant): Uint8Array {
  const { from, to, seq, ack, gap, ops } = frame;
  const head = JSON.stringify({ from, to, seq, ack, gap, now });
  return encoder.encode(ops.length === 0 ? head : `${head}\n${ops.join('\n')}`);
}

/** Word to an address that everything was given up for. */
export function encodeReset(from: string, to: string): Uint8Array {
  return encoder.encode(JSON.stringify({ from, to, reset: true }));
}

/** The inverse of both. Throws on anything else. */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  const [first, ...ops] = decoder.decode(bytes).split('\n');
  const head = JSON.parse(first as string) as Head | null;
  if (head === null || typeof head !== 'object' || typeof head.from !== 'string' || typeof head.to !== 'string')
    throw new TypeError('A frame names its two ends.');
  const { from, to, seq, ack, now } = head;
  if (head.reset === true) return { kind: 'reset', from, to };
  if (![seq, ack, now].every((number) => Number.isSafeInteger(number) && number >= 0)) throw new TypeError('A frame has its numbers.');
  return { kind: 'frame', frame: { from, to, seq, ack, gap: head.gap === true, ops }, now };
}
