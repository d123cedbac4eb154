import type { BackendLine } from './backend-line.ts';
import type { Delivering } from './forwarding.ts';
import type { HoldingBody } from './holding-body.ts';
import type { IncomingRequest } from './incoming.ts';
import type { Route } from './route.ts';

/** What the way of one request is made of; `sink` hears of it. */
export interface RunParts<Sink> {
  readonly parts: Delivering;
  readonly incoming: IncomingRequest;
  readonly route: Route;
  /** It has entered it. */
  readonly line: BackendLine;
  /** undefined: it has none. */
  readonly body: HoldingBody | undefined;
  readonly sink: Sink;
  /** Nothing of it is left; the line it is in is to be left. */
  readonly over: (line: BackendLine) => void;
}
