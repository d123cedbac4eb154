import type { Tracer } from '../admission/tracing.ts';
import { traceContextIn } from '../proxy/request-trace.ts';
import type { RawHeaders } from '../proxy/upstream/forwarder.ts';
import type { DeferredRequests } from './deferred.ts';

/**
 * Returns the same requests with a span `submit` for each submission, until it is stored or refused. The stored request carries
 * the context of that span, to which its deliveries are linked.
 */
export function traceRequests(requests: DeferredRequests, tracer: Tracer): DeferredRequests {
  return {
    submit: async (submission, conversion) => {
      const { group, route, headers } = submission;
      const parent = traceContextIn(headers);
      const span = tracer.start('submit', { kind: 'producer', parent, attributes: { 'sluice.group': group, 'sluice.route': route } });
      try {
        const outcome = await requests.submit({ ...submission, headers: [...untraced(headers), 'traceparent', span.context.traceparent] }, conversion);
        if (outcome.kind === 'accepted') span.set('sluice.request', outcome.id);
        else span.set('sluice.refusal', outcome.refusal.reason);
        span.end();
        return outcome;
      } catch (cause) {
        span.end('fault');
        throw cause;
      }
    },
    get: (scope, id, waitMs, signal) => requests.get(scope, id, waitMs, signal),
    cancel: (scope, id) => requests.cancel(scope, id),
    list: (scope, filter, size, token) => requests.list(scope, filter, size, token),
    redrive: (scope, id) => requests.redrive(scope, id),
    redriveAll: (scope, filter, max, token) => requests.redriveAll(scope, filter, max, token),
    drain: (graceMs) => requests.drain(graceMs),
  };
}

/** Fields without `traceparent`; `tracestate` is passed on as it came. */
function untraced(headers: RawHeaders): RawHeaders {
  return headers.filter((_each, i) => (headers[i - (i % 2)] as string).toLowerCase() !== 'traceparent');
}
