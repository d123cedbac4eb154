import type { Instant } from '../time.ts';
import type { Dispatcher } from './dispatcher.ts';
import { endLease } from './release.ts';

/** Ends the leases whose life was over by `at`, without a word of their holders: what they held is free, and their renewals are refused as fenced. */
export function expireLeases(dispatcher: Dispatcher, at: Instant, now: Instant): void {
  const { grants } = dispatcher;
  for (let grant = grants.popLapsed(at); grant !== undefined; grant = grants.popLapsed(at)) endLease(dispatcher, now, grant, 'lapsed');
}
