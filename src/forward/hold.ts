import type { Clock } from '../admission/clock.ts';
import { HoldingBody } from './holding-body.ts';
import type { IncomingBody } from './incoming.ts';
import { KeptBytes } from './kept-bytes.ts';
import { Room } from './room.ts';
import type { HoldLimits } from './route.ts';
import { SpillFolder } from './spill.ts';

/** What holding needs. */
export interface HoldParts {
  readonly clock: Clock;
  /** All requests together; `diskBytesMax` 0: nothing goes to disk. */
  readonly memoryBytesMax: number;
  readonly diskBytesMax: number;
  readonly folder: string;
  readonly random: (bytes: number) => Uint8Array;
  readonly onFault: (error: unknown) => void;
}

/**
 * Keeps bodies while their requests wait: in memory up to a bound for each and one for all, then on disk within a quota,
 * then the sender's socket is paused until there is room. A group has a bound of its own over both.
 */
export class Hold {
  readonly #parts: HoldParts;
  readonly #folder: SpillFolder | undefined;
  readonly #memory: Room;
  readonly #disk: Room;
  readonly #groups = new Map<string, { room: Room; bodies: number }>();

  private constructor(parts: HoldParts, folder: SpillFolder | undefined) {
    this.#parts = parts;
    this.#folder = folder;
    this.#memory = new Room(parts.memoryBytesMax);
    this.#disk = new Room(parts.diskBytesMax);
  }

  /** Cleans the folder. Rejects when it cannot be used. */
  static async open(parts: HoldParts): Promise<Hold> {
    return new Hold(parts, parts.diskBytesMax > 0 ? await SpillFolder.open(parts.folder, parts.random) : undefined);
  }

  /** Bytes held now, for metrics. */
  get used(): { readonly memory: number; readonly disk: number; readonly bodies: number } {
    let bodies = 0;
    for (const group of this.#groups.values()) bodies += group.bodies;
    return { memory: this.#memory.used, disk: this.#disk.used, bodies };
  }

  /** Begins to receive a body; nothing is read before `HoldingBody.receive`. It must be dropped in the end. */
  body(incoming: IncomingBody, group: string, limits: HoldLimits): HoldingBody {
    let entry = this.#groups.get(group);
    if (entry === undefined) {
      entry = { room: new Room(limits.groupBytesMax), bodies: 0 };
      this.#groups.set(group, entry);
    }
    const counted = entry;
    counted.bodies++;
    const { clock, onFault } = this.#parts;
    const { memoryBytesMax } = limits;
    const kept = new KeptBytes({ memory: this.#memory, disk: this.#disk, group: counted.room, folder: this.#folder, memoryBytesMax });
    const dropped = (): void => {
      if (--counted.bodies === 0 && this.#groups.get(group) === counted) this.#groups.delete(group);
    };
    return new HoldingBody({ incoming, limits, kept, clock, onFault, dropped });
  }
}
