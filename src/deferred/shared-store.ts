import type { RequestEnd, RequestHead, RequestRow } from './request.ts';
import type { DeferredStore, StoredBody } from './store.ts';

type EndOf = Pick<RequestEnd, 'state' | 'goneAt'>;

/** A page of pending requests of a shard, in order. */
export interface PendingPage {
  readonly rows: readonly RequestRow[];
  /** '' when there is no more. */
  readonly next: string;
}

/**
 * A shard's store in a cluster. Only the owner of the shard opens it, arms, and records retries; what else it does is right at
 * any replica, since each end and redrive passes once whoever asks for it.
 */
export interface SharedStore extends DeferredStore {
  /** Brings requests and ends that were stored since the opening or the last call, in their order, this owner's among them. Resolves with whether there may be more. */
  learn(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: EndOf) => void): Promise<boolean>;
  /** A request as it is now, and how it ended; 'gone': its sequence was used, and nothing is kept of it. */
  find(sequence: number, secret: string): Promise<{ readonly row: RequestRow; readonly end: RequestEnd | undefined } | 'gone' | undefined>;
  /** Whether the owner has armed it, as far as it has said. */
  inFlight(sequence: number): Promise<boolean>;
  /** At most 10,000 are looked at for a page. */
  listPending(fits: (row: RequestRow) => boolean, size: number, token: string): Promise<PendingPage>;
}

/** A request as any replica stores it: its sequence is the one that the store gives it. */
export interface EdgeSubmit {
  readonly shard: number;
  readonly row: Omit<RequestRow, 'sequence' | 'secret'>;
  readonly head: RequestHead;
  readonly body: StoredBody;
  /** Whether an ended request of the same key makes room for this one; absent: what is not `done` does. */
  readonly renews?: (known: EdgeOutcome) => boolean;
}

/** Stored, or known before under the same key: then as it is. */
export interface EdgeOutcome {
  readonly row: RequestRow;
  readonly existing: boolean;
  readonly end: Omit<RequestEnd, 'sequence' | 'response'> | undefined;
}

/** The side of any replica that takes requests, whoever owns their shard and whether anybody does. */
export interface RequestEdge {
  /** Resolves once the request is stored, or its key was known. Rejects with `StoreUnavailable`. */
  submit(submit: EdgeSubmit): Promise<EdgeOutcome>;
  /** Stores a piece of a body before its request. */
  upload(shard: number, upload: number, piece: number, bytes: Uint8Array): Promise<void>;
  dropUpload(shard: number, upload: number): Promise<void>;
  /** Resolves when nothing is under way. */
  quiet(): Promise<void>;
}

/** The shard whose streams hold a request, by the secret half of its id. */
export function shardOfSecret(secret: string): number {
  return Number.parseInt(secret.slice(0, 2), 16);
}
