import type { Readable } from 'node:stream';

/** End-to-end headers in order, repeats included: name, value, name, value, ... as undici and node:http hold them raw. */
export type RawHeaders = readonly string[];

/** A body that is being received, or was held; read once, or again where `replayable`. */
export interface HeldBody {
  /** Bytes, where known before the end; undefined: chunked and not yet whole. */
  readonly length: number | undefined;
  /** Can be opened again for another attempt: it is whole, in memory or on disk. */
  readonly replayable: boolean;
  /** From the first byte. All of it at once where it is whole and in memory; else as a stream, with back-pressure through to the sender. */
  open(): Uint8Array | Readable;
  /** Frees memory and disk; once, whatever became of the request. */
  drop(): void;
}

/** One request as the backend is to see it. */
export interface HeldRequest {
  readonly method: string;
  /** Origin form, as the client sent it: path and query undecoded. */
  readonly target: string;
  /** Without any field that frames: the forwarder writes its own. */
  readonly headers: RawHeaders;
  /** undefined: no body at all (neither Content-Length nor Transfer-Encoding). */
  readonly body: HeldBody | undefined;
}

/** The head of a backend's answer; the body follows through `onData`. */
export interface BackendHead {
  readonly status: number;
  readonly statusText: string;
  readonly headers: RawHeaders;
}

/** Where a backend's answer goes, as it comes. */
export interface BackendSink {
  /** 1xx except 100 and 101. */
  onInformation(head: BackendHead): void;
  /** The answer's head. */
  onHead(head: BackendHead): void;
  /** False: the receiver is full; `resume` is called when there is room again. */
  onData(chunk: Uint8Array, resume: () => void): boolean;
  onEnd(trailers: RawHeaders): void;
  /** The attempt is over; once, and the last call, perhaps before `forward` returns. */
  onAttempt(attempt: Attempt): void;
}

/** What went wrong with an attempt; `sender`: the caller's body ended early or not at all. */
export type FailureReason = 'connect' | 'first_byte' | 'idle' | 'reset' | 'aborted' | 'invalid' | 'sender';

/** How an attempt ended. */
export type Attempt =
  | { readonly kind: 'answered'; readonly status: number }
  /** `sent` false: no byte reached any backend, so another may be tried whatever the method. */
  | { readonly kind: 'failed'; readonly sent: boolean; readonly why: FailureReason; readonly cause: Error }
  /** The answer began and then broke; the receiver must be cut. */
  | { readonly kind: 'broken'; readonly cause: Error };

/** An attempt on its way. */
export interface Sending {
  /** Gives it up; its sink receives `aborted`, or `broken`. Nothing when it is over. */
  abort(cause: Error): void;
}

/** Sends held requests to the URLs of its backend. */
export interface Forwarder {
  /** Sends once, to the URL of that index. No signal object: a call costs a twentieth of an AbortController. */
  forward(request: HeldRequest, url: number, sink: BackendSink): Sending;
  /** Ends idle connections at once and the others when they are done. */
  close(): Promise<void>;
  /** Gives up every request on its way, whatever `onAbort` says; each is reported as a connection that broke. */
  cut(): void;
}
