import type { Clock } from '../admission/clock.ts';
import type { RequestWait } from './deferred.ts';
import { SENDING } from './request-index.ts';
import type { RequestLifecycle } from './request-lifecycle.ts';

/** What a request that has not ended waits for, and until when at least, in milliseconds since 1970; 0: that is not known. */
export function waitOf(
  requests: Pick<RequestLifecycle, 'index' | 'outages' | 'dispatcher' | 'routeOf'>,
  clock: Clock,
  slot: number,
): { readonly waitsFor: RequestWait; readonly nextAttemptAt: number } {
  const { index, outages, dispatcher } = requests;
  const route = requests.routeOf(slot);
  const dueAt = index.dueAtOf(slot) > clock.epoch(clock.now()) ? index.dueAtOf(slot) : 0;
  if (index.stateOf(slot) === SENDING) return { waitsFor: '', nextAttemptAt: 0 };
  if (route === undefined) return { waitsFor: 'route', nextAttemptAt: 0 };
  if (index.callbackOf(slot) !== 0) return { waitsFor: dueAt > 0 ? 'due' : 'turn', nextAttemptAt: dueAt };
  if (!dispatcher.isHead(slot)) return { waitsFor: 'key', nextAttemptAt: 0 };
  const probeAt = outages.probeAt(route.backend);
  if (probeAt !== undefined && clock.epoch(probeAt) >= dueAt) return { waitsFor: 'backend', nextAttemptAt: clock.epoch(probeAt) };
  return { waitsFor: dueAt > 0 ? 'due' : 'turn', nextAttemptAt: dueAt };
}
