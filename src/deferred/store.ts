import type { Attempt, EndState, RequestEnd, RequestHead, RequestRow } from './request.ts';

/** A body to be stored: whole up to 64 KiB, else pieces that were stored before under `uploadedPieces`. */
export type StoredBody = Uint8Array | { readonly upload: number; readonly pieces: number; readonly bytes: number };

/** One change of the store. A batch is applied in order, all or nothing (on JetStream: each change by itself, in order). */
export type Change =
  | { readonly kind: 'submit'; readonly row: RequestRow; readonly head: RequestHead; readonly body: StoredBody }
  /** Everything that may be on its way from here on, replacing what was armed before: once a batch, before anything is sent. */
  | { readonly kind: 'arm'; readonly flights: readonly Flight[] }
  /** A failed attempt: the row as it is now, with its next due time, and the attempt for people. */
  | { readonly kind: 'retry'; readonly row: RequestRow; readonly attempt: Attempt }
  /** The end. `attempt`: the last one. A dead letter keeps head and body; others may lose them to the sweep. `report`: its callback, in a cluster. */
  | { readonly kind: 'end'; readonly end: RequestEnd; readonly row: RequestRow; readonly attempt: Attempt | undefined; readonly report?: Report | undefined }
  /** A dead letter is pending again, as the newest of its order: `row` has a new acceptance time and due time, and keeps sequence, secret and idHash. */
  | { readonly kind: 'redrive'; readonly row: RequestRow };

/** A callback that is owed for an end: where to, and until when it may be sent, in milliseconds since 1970. The end is kept as long. */
export interface Report {
  readonly url: string;
  readonly until: number;
}

/** Whether a change is refused while the store is full: a request of a caller. A callback belongs to the end that it reports. */
export function takesRoom(change: { readonly kind: string; readonly row?: Pick<RequestRow, 'callbackOf'> }): boolean {
  return change.kind === 'submit' && change.row?.callbackOf === 0;
}

/** One request that may be on its way. */
export interface Flight {
  readonly sequence: number;
  readonly attempt: number;
  /** In a cluster: the process that sends it and records its end, as long as it lives; absent: none does. */
  readonly heldBy?: string | undefined;
}

/** What a store reports when it is open. */
export interface Opened {
  /** What may have been on its way when the process ended: each counts as one attempt. */
  readonly flights: readonly Flight[];
  /** The first sequence that was never used, whatever crashed. */
  readonly nextSequence: number;
}

/** A request as it is sent or shown. */
export interface LoadedRequest {
  readonly head: RequestHead;
  /** From the first byte; called for each attempt. */
  readonly body: () => AsyncIterable<Uint8Array>;
}

/** A page of ended requests of one state, the oldest end first. */
export interface EndedPage {
  readonly requests: readonly { readonly row: RequestRow; readonly end: RequestEnd }[];
  /** '' when there is no more. */
  readonly next: string;
}

/** Which ended requests; undefined members: any. At most 10,000 are looked at for a page. Times are milliseconds since 1970, of the end. */
export interface EndedFilter {
  readonly state: EndState;
  readonly group: string | undefined;
  readonly key: string | undefined;
  readonly error: string | undefined;
  readonly since: number | undefined;
  readonly until: number | undefined;
}

/** Why nothing was committed: `full` while there is no room for submits (ends are still recorded), `failed` for any other fault of disk or cluster. */
export class StoreUnavailable extends Error {
  readonly reason: 'full' | 'failed';

  constructor(reason: 'full' | 'failed', message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreUnavailable';
    this.reason = reason;
  }
}

/**
 * Where stored requests survive (docs/decisions/0022). It accepts, arms, ends, loads and looks up; it never orders. One batch is
 * committed at a time; callers go through `BatchedStore`, which joins what arrives meanwhile into the next batch.
 */
export interface DeferredStore {
  /**
   * Reads all rows that are not ended (`onRow`) in the order of acceptance: by sequence, and what was redriven after all that had
   * been accepted before its redrive. Then those of ended requests that have an `idHash` and
   * are still kept (`onEnded`), then what was in flight. Called once, before anything else.
   * Rejects with what is damaged, by name, and what to do.
   */
  open(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: Pick<RequestEnd, 'state' | 'goneAt'>) => void): Promise<Opened>;
  /** Commits a batch; when it resolves everything is on disk (LMDB: synced; JetStream: acknowledged by a majority). Rejects with {@link StoreUnavailable}: nothing of it was applied. */
  commit(batch: readonly Change[]): Promise<void>;
  /** Resolves once all sequences below `end` count as used after any crash; called ahead of need, a million at a time. */
  reserve(end: number): Promise<void>;
  /** Stores pieces of a body that is still arriving, at most 256 KiB each; the upload is given to a `submit` or dropped. */
  upload(upload: number, piece: number, bytes: Uint8Array): Promise<void>;
  dropUpload(upload: number): Promise<void>;
  /** Returns head and body of a request that is pending, in flight or dead; undefined if there is none. `secret`: of its row; JetStream finds nothing but what is pending without it. */
  load(sequence: number, secret?: string): Promise<LoadedRequest | undefined>;
  /** How a request ended; undefined: it has not, or it is no longer kept. `row`: as it was. */
  ended(sequence: number, secret?: string): Promise<{ readonly end: RequestEnd; readonly row: RequestRow } | undefined>;
  /** Its last attempts, at most 20, oldest first. */
  attempts(sequence: number, secret?: string): Promise<readonly Attempt[]>;
  /** Without bodies of answers. */
  listEnded(filter: EndedFilter, size: number, token: string): Promise<EndedPage>;
  /** How many of each state are kept that have ended. */
  counts(): { readonly done: number; readonly dead: number; readonly cancelled: number };
  /** Removes what is no longer needed or kept: at most 3,000 rows or 4 MiB a call. Resolves with whether there is more to do. */
  sweep(nowMs: number): Promise<boolean>;
  /** Pages in use and the bound; submits are refused at 95 % of it. */
  readonly space: { readonly bytes: number; readonly bytesMax: number };
  close(): Promise<void>;
}

/** Ended requests in the order of their sequences. */
export interface EndedInOrder {
  readonly requests: readonly { readonly row: RequestRow; readonly end: RequestEnd }[];
  /** None is missing up to this sequence; infinite: there are no more. */
  readonly upTo: number;
}

/** The store of one process, which gives out the sequences itself. */
export interface LocalStore extends DeferredStore {
  /** At most `limit` ended requests that are kept, from a sequence on, without bodies of answers: as they are at this moment. Throws what `ended` rejects with. */
  endedFrom(sequence: number, limit: number): EndedInOrder;
}
