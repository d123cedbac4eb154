import type { GateEvent } from '../core/events.ts';
import { ONE_REQUEST } from '../core/group.ts';
import { SERIAL_BITS } from '../core/permit.ts';
import { type Instant, MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import type { Log } from './log.ts';

/** Takes what happened in any gate, in order. */
type OnEvent = (event: GateEvent, now: Instant) => void;

/**
 * Writes a line for each request that is admitted or refused and for each permit that ends, then passes every event on. A trace for
 * `sluice simulate`. Callers that cancel before a decision have no line.
 */
export function withRequestLog(log: Log, next: OnEvent): OnEvent {
  return (event, now) => {
    next(event, now);
    if (event.kind === 'admitted') {
      const { group, key, costs, grantedAt, waited, lease } = event.permit;
      const fields = {
        group,
        key,
        priority: event.priority,
        arrivedAt: textOf(grantedAt - waited),
        ...(costs === ONE_REQUEST ? {} : { costs }),
        waitedMs: waited / MILLISECOND,
      };
      log.write('info', 'request_admitted', 'A request was admitted.', lease === undefined ? fields : { ...fields, fence: String(lease.fence) });
    } else if (event.kind === 'refused') {
      const { group, key, priority, refusal, waited } = event;
      const limit = refusal.limit === undefined ? {} : { limit: refusal.limit };
      log.write('info', 'request_refused', 'A request was refused.', {
        group,
        key,
        priority,
        arrivedAt: textOf(now - waited),
        reason: refusal.reason,
        ...limit,
        waitedMs: waited / MILLISECOND,
      });
    } else if (event.kind === 'ended') {
      const { group, key, term, serial, how, held } = event;
      const fence = String((term << SERIAL_BITS) | BigInt(serial));
      log.write('info', 'permit_ended', 'A permit ended.', { group, key, fence, how, heldMs: held / MILLISECOND });
    }
  };
}

/** An instant of RFC 3339 with its microseconds: two that came within a millisecond keep their order. */
function textOf(at: Micros): string {
  const whole = Math.floor(at / SECOND) * SECOND;
  return new Date(whole / MILLISECOND).toISOString().replace('.000Z', `.${String(at - whole).padStart(6, '0')}Z`);
}
