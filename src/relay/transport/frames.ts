import type { Instant } from '../../core/time.ts';
import type { Frame } from './channel.ts';

/** What comes from another replica: a frame of a channel, with the sender's clock, or word that the receiver was taken for dead. */
export type Envelope =
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
