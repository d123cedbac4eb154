import type { BufferedBody } from './body/buffered-body.ts';
import type { ForwardingDeps } from './forwarding.ts';
import type { IncomingRequest } from './incoming.ts';
import type { Route } from './route.ts';
import type { Backend } from './upstream/backend.ts';

/** What the way of one request is made of; `sink` hears of it. */
export interface ForwardedRequestDeps<Sink> {
  readonly parts: ForwardingDeps;
  readonly incoming: IncomingRequest;
  readonly route: Route;
  /** It has entered it. */
  readonly line: Backend;
  /** undefined: it has none. */
  readonly body: BufferedBody | undefined;
  readonly sink: Sink;
  /** Nothing of it is left; the line it is in is to be left. */
  readonly over: (line: Backend) => void;
}
