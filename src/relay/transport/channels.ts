import { type Micros, SECOND } from '../../core/time.ts';
import { type Frame, ReliableChannel } from './channel.ts';

/** A frame of a life that is over may still come for this long; after it, none is on its way any more. */
const REMEMBER_FOR: Micros = 60 * SECOND;

/** What all channels of one instance have in common. */
export interface ChannelsParts<Op> {
  readonly own: string;
  readonly bytesOf: (op: Op) => number;
}

/**
 * The channels of one instance, one for each other instance. One that was closed is never opened again under the same name:
 * what comes late would be delivered a second time.
 */
export class Channels<Op> {
  readonly #parts: ChannelsParts<Op>;
  readonly #open = new Map<string, ReliableChannel<Op>>();
  /** With the moment at which they were closed. */
  readonly #closed = new Map<string, Micros>();

  constructor(parts: ChannelsParts<Op>) {
    this.#parts = parts;
  }

  /** Instances that a channel is open to. */
  get peers(): readonly string[] {
    return [...this.#open.keys()];
  }

  /** The channel to an instance; undefined: that life is over. */
  to(peer: string): ReliableChannel<Op> | undefined {
    if (this.#closed.has(peer)) return undefined;
    let channel = this.#open.get(peer);
    if (channel === undefined) {
      channel = new ReliableChannel({ ...this.#parts, peer });
      this.#open.set(peer, channel);
    }
    return channel;
  }

  /** A frame came; answers what it completes, in order. */
  receive(frame: Frame<Op>, mono: Micros): readonly Op[] {
    if (frame.to !== this.#parts.own) return [];
    return this.to(frame.from)?.receive(frame, mono) ?? [];
  }

  /** The life of that instance is over: nothing more goes to it, nothing that still comes of it counts. */
  close(peer: string, mono: Micros): void {
    this.#open.delete(peer);
    this.#closed.set(peer, mono);
  }

  /** Lets time pass in all of them. */
  tick(mono: Micros): void {
    for (const channel of this.#open.values()) channel.tick(mono);
    for (const [peer, closedAt] of this.#closed) if (mono - closedAt > REMEMBER_FOR) this.#closed.delete(peer);
  }

  /** When `tick` is next worth a call. */
  wakeAt(): Micros {
    let at = Number.POSITIVE_INFINITY;
    for (const channel of this.#open.values()) at = Math.min(at, channel.wakeAt());
    return at;
  }

  /** Frames to be sent. */
  takeFrames(): readonly Frame<Op>[] {
    return [...this.#open.values()].flatMap((channel) => channel.takeFrames());
  }
}
