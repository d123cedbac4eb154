import type { BlockList } from 'node:net';
import type { GroupSettings } from '../admission/admission.ts';
import type { Micros } from '../core/time.ts';
import type { Route, Source } from '../proxy/route.ts';
import type { RouteMatch } from '../proxy/router.ts';
import type { VerificationRule } from './verification.ts';

/** A route as the listener sees it: which requests it takes, and what it answers their callers. */
export interface ProxyRoute {
  readonly match: RouteMatch;
  readonly route: Route;
  /** In place of the group's. */
  readonly refusal: GroupSettings['refusal'];
  /** Proxies that are trusted for the client's address. */
  readonly trusted: BlockList;
  /** Its key is the caller: a credential is demanded where there are any. */
  readonly needsCaller: boolean;
  /** Requests are stored, all of them or where their callers prefer that; undefined: none. */
  readonly deferred: DeferredIntake | undefined;
}

/** How a route takes requests that are stored. */
export interface DeferredIntake {
  readonly when: 'always' | 'preferred';
  /** Longest that the group holds a live request. */
  readonly heldMax: Micros;
  readonly answer: { readonly status: number; readonly shape: 'ticket' | 'empty' | 'lunar' };
  /** A request that is not signed so is refused before it is stored. */
  readonly verify: VerificationRule | undefined;
  /** A sender's own id of a delivery. */
  readonly dedupe: Source | undefined;
}
