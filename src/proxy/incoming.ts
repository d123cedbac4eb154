import type { Readable } from 'node:stream';
import type { TraceContext } from '../admission/tracing.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Micros } from '../core/time.ts';
import type { Deferral } from './deferral.ts';
import type { RequestContext } from './route.ts';
import type { BackendHead, RawHeaders } from './upstream/forwarder.ts';

/** A body on its way in. The listener has vouched for its framing. */
export interface IncomingBody {
  /** Content-Length; undefined: chunked. */
  readonly length: number | undefined;
  /** The body; an `IncomingMessage`. It is paused and resumed, never destroyed: what is left unread is the listener's to dump or to cut. */
  readonly stream: Readable;
  /** Called once before the first read: the moment to answer `Expect: 100-continue`. */
  wanted(): void;
}

/** A request as the listener read it. */
export interface IncomingRequest {
  /** Upper case. */
  readonly method: string;
  /** Origin form, undecoded, starting with '/'. */
  readonly target: string;
  /** As it came (`rawHeaders`), hop-by-hop fields and all. */
  readonly headers: RawHeaders;
  /** undefined: neither Content-Length nor Transfer-Encoding, or `Content-Length: 0` on a method that needs none. */
  readonly body: IncomingBody | undefined;
  readonly facts: RequestContext;
  /** Wait timeout, where the caller sets it (`Prefer: wait`); undefined: the route's. */
  readonly wait: Micros | undefined;
  /** The caller sent `Prefer: respond-async`: it would rather have its request stored than be refused for want of time. */
  readonly respondAsync?: boolean;
  /** What becomes of it when its wait timeout ends; undefined: it is refused. */
  readonly deferral?: Deferral | undefined;
  /** Where its trace goes on: a span of this process, or of its caller; undefined: nowhere, or tracing is off. */
  readonly trace?: TraceContext | undefined;
  /** Set for a request that was stored and is sent for a permit of its own: its id, attempts before this one, and the fence of its lease. */
  readonly sent?:
    | { readonly id: string; readonly attemptsBefore: number; readonly fence: { readonly fence: bigint; readonly floor: bigint } | undefined }
    | undefined;
}

/** Why a caller gets no answer of the backend. Nothing was written yet, apart from 1xx. */
export type ForwardFailure =
  /** By admission, or `too_large`. With `attempts` 0 the backend saw nothing; else it pushed back that often, and wait timeout ended before the next. */
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly attempts: number }
  /** 408: the body came too slowly. The backend saw nothing, or a request that was cut. */
  | { readonly kind: 'slow'; readonly detail: string }
  /** 400: a field cannot be forwarded. The backend saw nothing. */
  | { readonly kind: 'malformed'; readonly detail: string }
  /** The backend: 503 no connection to any URL (it saw nothing); 502 it broke or answered nonsense, 504 it did not answer in time (it may have seen the request). */
  | { readonly kind: 'failed'; readonly status: 502 | 503 | 504; readonly detail: string; readonly attempts: number; readonly cause: Error };

/** Where an answer goes; exactly one of `onEnd`, `onNone`, `onBroken` is the last call, none after `leave`. */
export interface ResponseSink {
  /** 1xx except 100 and 101. */
  onInformation(head: BackendHead): void;
  /** Headers ready to be written raw, Via and Server-Timing in them; no field that frames but Content-Length. Write no others. */
  onHead(head: BackendHead): void;
  /** False: full; call `resume` when there is room again. */
  onData(chunk: Uint8Array, resume: () => void): boolean;
  /** Trailers fit only a chunked answer; else drop them. */
  onEnd(trailers: RawHeaders): void;
  onNone(why: ForwardFailure): void;
  /** The answer began and broke: cut the connection, so that no reader takes it for whole. */
  onBroken(cause: Error): void;
}

/** A request in the hands of forwarding. */
export interface ForwardHandle {
  /** The caller is gone: frees its place, its slot and its bytes at once; a request already sent ends as the backend's `onAbort` is set. Nothing after the end. */
  leave(): void;
}
