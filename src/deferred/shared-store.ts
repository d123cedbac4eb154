import type { DeferredRoute } from './deferred-route.ts';
import type { RequestEnd, RequestHead, RequestRow } from './request.ts';
import type { DeferredStore, Report, StoredBody } from './store.ts';

type EndOf = Pick<RequestEnd, 'state' | 'goneAt'>;

/** A page of pending requests of a shard, in order. */
export interface PendingPage {
  readonly rows: readonly RequestRow[];
  /** '' when there is no more. */
  readonly next: string;
}

/** A page of requests of a shard; `end` undefined: it has not ended. Those that have are without the answer. */
export interface AllPage {
  readonly requests: readonly { readonly row: RequestRow; readonly end: RequestEnd | undefined }[];
  /** '' when there is no more. */
  readonly next: string;
}

/** How far the callback of an end has come. Times are milliseconds since 1970. */
export interface CallbackProgress {
  /** The request, and which of its ends: a redriven one ends again. */
  readonly sequence: number;
  readonly endedAt: number;
  readonly state: 'pending' | 'done' | 'dead';
  readonly attempts: number;
  readonly firstAttemptAt: number;
  /** When the next attempt is due; 0: at once, or none. */
  readonly dueAt: number;
}

/** A callback that is owed for an end. */
export interface PendingCallback {
  readonly row: Pick<RequestRow, 'sequence' | 'secret' | 'group' | 'route'>;
  readonly progress: CallbackProgress;
  /** The end is kept until then. */
  readonly until: number;
}

/** An end as its callback reports it. */
export interface ReportedEnd {
  readonly row: RequestRow;
  readonly end: RequestEnd;
  readonly report: Report;
}

/**
 * A shard's store in a cluster. Only the owner of the shard opens it, arms, and records retries; what else it does is right at
 * any replica, since each end and redrive passes once, whichever replica requests it.
 */
export interface SharedStore extends DeferredStore {
  /** Brings requests and ends that were stored since the opening or the last call, in their order; not the ends that this owner stored. Resolves with whether there may be more. */
  learn(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: EndOf) => void): Promise<boolean>;
  /** Everything up to this sequence was brought. */
  readonly seen: number;
  /** A request as it is now, and how it ended; 'gone': its sequence was used, and nothing is kept of it. */
  find(sequence: number, secret: string): Promise<{ readonly row: RequestRow; readonly end: RequestEnd | undefined } | 'gone' | undefined>;
  /** The attempts that the owner armed last, by sequence: of requests that are on their way, and of some that were. */
  armed(): Promise<ReadonlyMap<number, number>>;
  /** The row of a request after an attempt that an owner before this one has ended; undefined: none was recorded. */
  retried(sequence: number, secret: string): Promise<RequestRow | undefined>;
  /** Callbacks that are owed for ends since the last call: those found by `open` and `learn`, and of ends that this owner stored. */
  takeCallbacks(): readonly PendingCallback[];
  /** The end that a callback reports, with the answer; undefined: the request was redriven, or nothing is kept of it. */
  reported(callback: PendingCallback): Promise<ReportedEnd | undefined>;
  /** Records how far a callback has come. */
  reportProgress(callback: PendingCallback): Promise<void>;
  /** State of the callback of the end of a request; 'none': none was owed. */
  callbackOf(sequence: number, secret: string): Promise<'none' | CallbackProgress['state']>;
  /** Removes what changes by this replica have left behind; the owner's sweep does so by itself. */
  tidy(): Promise<void>;
  /** At most 10,000 are looked at for a page. */
  listPending(fits: (row: RequestRow) => boolean, size: number, token: string): Promise<PendingPage>;
  /** Whatever their state; one that changes it while the pages are read may be on two of them. At most 10,000 are looked at for a page. */
  listAll(fits: (row: RequestRow, end: RequestEnd | undefined) => boolean, size: number, token: string): Promise<AllPage>;
}

/** What differs where the store is shared: it remembers keys itself, others may end a request, and an end is stored together with what it owes. */
export interface SharedHooks {
  /** Returns the callback that is owed for this end; undefined for none. */
  report(row: RequestRow, end: RequestEnd, route: DeferredRoute | undefined): Promise<Report | undefined>;
  /** A request has ended, here or elsewhere. */
  ended(secret: string): void;
  /** An attempt of a shard that was released has stopped without an end, or was never sent. */
  over(sequence: number): void;
  /** The name of this process among all: it is stored with each attempt that is armed. */
  instance(): string;
  /** Whether this process may still act for the shard. What it sends later, the next owner sends too. */
  decides(): boolean;
  /** How a request was ended elsewhere that cannot be loaded; undefined: it was not, or that cannot be known just now. */
  endOf(row: Pick<RequestRow, 'sequence' | 'secret'>): Promise<RequestEnd['state'] | undefined>;
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

/** The store of a replica that accepts requests, for shards of any owner, or of none. */
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
