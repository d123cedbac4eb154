import type { Clock } from '../../admission/clock.ts';
import type { IncomingBody } from '../incoming.ts';
import type { HoldLimits } from '../route.ts';
import { type BodyContext, BufferedBody } from './buffered-body.ts';
import { ByteBudget } from './byte-budget.ts';
import { SpillFolder } from './spill-file.ts';
import type { BufferBudgets } from './spilling-buffer.ts';
import { WatchLater } from './watch-later.ts';

/** What holding needs. */
export interface BodyStoreDeps {
  readonly clock: Clock;
  /** All requests together; `diskBytesMax` 0: nothing goes to disk. */
  readonly memoryBytesMax: number;
  readonly diskBytesMax: number;
  readonly folder: string;
  readonly random: (bytes: number) => Uint8Array;
  readonly onError: (error: unknown) => void;
}

/**
 * Keeps bodies while their requests wait: in memory up to a bound for each and one for all, then on disk within a quota,
 * then the sender's socket is paused until there is room. A group has a bound of its own over both.
 */
export class BodyStore {
  readonly #deps: BodyStoreDeps;
  readonly #folder: SpillFolder | undefined;
  readonly #memory: ByteBudget;
  readonly #disk: ByteBudget;
  readonly #watchLater: WatchLater;
  readonly #groups = new Map<string, GroupHold>();

  private constructor(deps: BodyStoreDeps, folder: SpillFolder | undefined) {
    this.#deps = deps;
    this.#folder = folder;
    this.#memory = new ByteBudget(deps.memoryBytesMax);
    this.#disk = new ByteBudget(deps.diskBytesMax);
    this.#watchLater = new WatchLater(deps.clock);
  }

  /** Cleans the folder. Rejects when it cannot be used. */
  static async open(deps: BodyStoreDeps): Promise<BodyStore> {
    return new BodyStore(deps, deps.diskBytesMax > 0 ? await SpillFolder.open(deps.folder, deps.random) : undefined);
  }

  /** Bytes held now, for metrics. */
  get used(): { readonly memory: number; readonly disk: number; readonly bodies: number } {
    let bodies = 0;
    for (const group of this.#groups.values()) bodies += group.bodies;
    return { memory: this.#memory.used, disk: this.#disk.used, bodies };
  }

  /** Begins to receive a body; nothing is read before `BufferedBody.receive`. It must be dropped in the end. */
  body(incoming: IncomingBody, group: string, limits: HoldLimits): BufferedBody {
    let held = this.#groups.get(group);
    if (held === undefined || (held.bodies === 0 && held.room.max !== limits.groupBytesMax)) {
      held = this.#group(limits.groupBytesMax);
      this.#groups.set(group, held);
    }
    return new BufferedBody(incoming, limits, held);
  }

  #group(bytesMax: number): GroupHold {
    // Rarely asked: groups come and go with the configuration only.
    for (const [group, { bodies }] of this.#groups) if (bodies === 0) this.#groups.delete(group);
    const { clock, onError } = this.#deps;
    const room = new ByteBudget(bytesMax);
    const places = { memory: this.#memory, disk: this.#disk, group: room, folder: this.#folder };
    return new GroupHold({ clock, onError, watchLater: this.#watchLater, room, places });
  }
}

/** What the bodies of one group have in common. */
class GroupHold implements BodyContext {
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
  readonly watchLater: WatchLater;
  readonly room: ByteBudget;
  bodies = 0;
  readonly #places: Omit<BufferBudgets, 'memoryBytesMax'>;
  /** The last that were asked for: routes of one group mostly agree. */
  #last: BufferBudgets | undefined;

  constructor(deps: Pick<GroupHold, 'clock' | 'onError' | 'watchLater' | 'room'> & { readonly places: Omit<BufferBudgets, 'memoryBytesMax'> }) {
    this.clock = deps.clock;
    this.onError = deps.onError;
    this.watchLater = deps.watchLater;
    this.room = deps.room;
    this.#places = deps.places;
  }

  enter(memoryBytesMax: number): BufferBudgets {
    this.bodies++;
    if (this.#last?.memoryBytesMax !== memoryBytesMax) this.#last = { ...this.#places, memoryBytesMax };
    return this.#last;
  }

  leave(): void {
    this.bodies--;
  }
}
