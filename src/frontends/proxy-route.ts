import type { BlockList } from 'node:net';
import type { GroupSettings } from '../admission/admission.ts';
import type { Route } from '../forward/route.ts';
import type { RouteMatch } from '../forward/routing.ts';

/** A route as the listener sees it: which requests it takes, and what their callers are told. */
export interface ProxyRoute {
  readonly match: RouteMatch;
  readonly route: Route;
  /** In place of the group's. */
  readonly refusal: GroupSettings['refusal'];
  /** Proxies whose word on the client's address is taken. */
  readonly trusted: BlockList;
  /** Its key is the caller: a credential is demanded where there are any. */
  readonly needsCaller: boolean;
}
