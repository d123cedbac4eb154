import type { AdmissionRequest, Outcome } from '../../admission/admission.ts';
import type { Arrival } from '../../core/request.ts';
import { type Instant, NEVER } from '../../core/time.ts';
import type { Frame } from './channel.ts';

/** Calls that one replica makes to another about a group, a permit or a session. `places` returns the queue positions of the caller's waiters. */
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

/** Arguments by name, so that undefined ones can be omitted. */
export type CallArgs = Readonly<Record<string, unknown>>;

/**
 * Messages between the replica that has a caller's connection (the edge) and the one that decides (the owner). The edge numbers
 * requests (`wid`) and calls (`id`), and never uses a number twice. Every instant is in the time of the process that sends it.
 */
export type RelayMessage =
  /** Edge to owner: queue this request. `ask.wait` is the rest of the wait timeout. */
  | { readonly op: 'ask'; readonly wid: number; readonly shard: number; readonly term: bigint; readonly limits: boolean; readonly ask: AdmissionRequest }
  /** The caller cancelled, or (`late`) the permit came too late to be delivered: end the request, or take the permit back. */
  | { readonly op: 'cancel'; readonly wid: number; readonly late?: true }
  | { readonly op: 'delivered'; readonly wid: number }
  | { readonly op: 'call'; readonly id: number; readonly method: Method; readonly args: CallArgs }
  /** All callers of this edge that wait for the shard were sent to the owner of this term. */
  | { readonly op: 'rejoined'; readonly shard: number; readonly term: bigint }
  /** The sender gave the shard to the receiver. */
  | { readonly op: 'gave'; readonly shard: number; readonly term: bigint }
  /** First message of a new address: the address `was` has ended. */
  | { readonly op: 'hello'; readonly was: string }
  /** Shows that its sender is alive, which sends no heartbeat any more. */
  | { readonly op: 'here' }
  /** Owner to edge: the request is queued with this arrival. */
  | { readonly op: 'queued'; readonly wid: number; readonly since: Arrival }
  /** `again`: decided earlier, for a request of the same request id; it is the answer, however old. */
  | { readonly op: 'outcome'; readonly wid: number; readonly outcome: Outcome; readonly again?: true }
  /** Not decided here: send it to the owner of now. */
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

/** Encodes a message as one line of JSON. An instant of NEVER is `null`, a bigint a string, a Map a list of pairs. */
export function encodeMessage(message: RelayMessage): string {
  // Without a replacer it takes half the time, and these are many.
  if (message.op === 'ask') return JSON.stringify({ ...message, term: String(message.term) });
  const isPlain = message.op === 'cancel' || message.op === 'delivered' || message.op === 'queued' || (message.op === 'outcome' && fenceless(message.outcome));
  return isPlain ? JSON.stringify(message) : JSON.stringify(message, plain);
}

function fenceless(outcome: Outcome): boolean {
  return outcome.kind === 'refused' || outcome.permit.lease === undefined;
}

/** Decodes a message. Returns undefined for a kind or a method that is not known here. Throws a TypeError if the text is not a message. */
export function decodeMessage(text: string): RelayMessage | undefined {
  const raw: unknown = JSON.parse(text);
  if (!isRecord(raw)) throw new TypeError('A message must be an object.');
  const { op } = raw;
  if (typeof op !== 'string') throw new TypeError('A message must have the string `op`.');
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

/** Checks the fields that a message cannot do without. The others are trusted, since only replicas can send messages. */
function check(raw: Record<string, unknown>, op: RelayMessage['op']): void {
  const whole = (name: string) => {
    if (!Number.isSafeInteger(raw[name])) throw new TypeError(`${op}: ${name} must be an integer.`);
  };
  if (op === 'here') return;
  if (op === 'hello') {
    if (typeof raw['was'] !== 'string') throw new TypeError('hello: was must be a string.');
    return;
  }
  if (op === 'rejoined' || op === 'gave' || op === 'ask') {
    whole('shard');
    if (typeof raw['term'] !== 'string') throw new TypeError(`${op}: term must be a number in a string.`);
  }
  if (op === 'call' || op === 'reply') whole('id');
  else if (op !== 'rejoined' && op !== 'gave') whole('wid');
  if (op === 'call' && !isRecord(raw['args'])) throw new TypeError('call: args must be an object.');
  if (op === 'ask') checkAsk(raw['ask']);
  if ((op === 'outcome' && !isOutcome(raw['outcome'])) || (op === 'queued' && !isRecord(raw['since'])))
    throw new TypeError(`${op}: its outcome or arrival is missing.`);
}

function checkAsk(request: unknown): void {
  const fits = isRecord(request) && ['group', 'key', 'caller', 'holder'].every((name) => typeof request[name] === 'string') && isRecord(request['costs']);
  if (!fits) throw new TypeError('ask: group, key, caller, holder or costs is missing.');
}

function isOutcome(outcome: unknown): boolean {
  if (!isRecord(outcome)) return false;
  return outcome['kind'] === 'admitted' ? isRecord(outcome['permit']) && typeof outcome['id'] === 'string' : isRecord(outcome['refusal']);
}

/** Restores NEVER for every null, since nothing else is null in messages, and fences as bigint. `costs` has names that callers choose, and is skipped. */
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

/** What another replica sends: a frame of a channel with the sender's clock, or a reset: the receiver was taken for dead. */
type Envelope =
  | { readonly kind: 'frame'; readonly frame: Frame<string>; readonly now: Instant }
  | { readonly kind: 'reset'; readonly from: string; readonly to: string };

/** The first line of an envelope. */
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

/** Encodes a frame: a line of JSON for its head, then one for each message. `now` is the sender's process time. */
export function encodeFrame(frame: Frame<string>, now: Instant): Uint8Array {
  const { from, to, seq, ack, gap, ops } = frame;
  const head = JSON.stringify({ from, to, seq, ack, gap, now });
  return encoder.encode(ops.length === 0 ? head : `${head}\n${ops.join('\n')}`);
}

/** Encodes a reset to an address that this replica has given up. */
export function encodeReset(from: string, to: string): Uint8Array {
  return encoder.encode(JSON.stringify({ from, to, reset: true }));
}

/** Decodes a frame or a reset. Throws on anything else. */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  const [first, ...ops] = decoder.decode(bytes).split('\n');
  const head = JSON.parse(first as string) as Head | null;
  if (head === null || typeof head !== 'object' || typeof head.from !== 'string' || typeof head.to !== 'string')
    throw new TypeError('A frame must name its sender and its receiver.');
  const { from, to, seq, ack, now } = head;
  if (head.reset === true) return { kind: 'reset', from, to };
  if (![seq, ack, now].every((number) => Number.isSafeInteger(number) && number >= 0))
    throw new TypeError('A frame must have seq, ack and now, each an integer from 0 up.');
  return { kind: 'frame', frame: { from, to, seq, ack, gap: head.gap === true, ops }, now };
}
