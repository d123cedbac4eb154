import type { AcquireHandle, AdmissionRequest, AdmissionService, Outcome } from '../admission/admission.ts';
import type { Span, Tracer } from '../admission/tracing.ts';
import { SECOND } from '../core/time.ts';
import { delegate } from './auth.ts';
import { REFUSAL_STATUS } from './refusal-status.ts';

/** Statuses from here on are the server's fault; a limit that refuses is none. */
const SERVER_FAULT = 500;

/** Returns the same admission with a span `wait` for each acquire: from the request to its permit, its refusal, or the moment its caller leaves. */
export function traceAdmission(admission: AdmissionService, tracer: Tracer): AdmissionService {
  return { ...delegate(admission), acquire: (request, done) => acquire(admission, tracer, request, done) };
}

function acquire(admission: AdmissionService, tracer: Tracer, request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
  // Other replicas are not sent the trace: the span is of this one, whichever decides.
  const { trace, ...rest } = request;
  const attributes = { 'sluice.group': request.group, ...(request.priorityClass === undefined ? {} : { 'sluice.class': request.priorityClass }) };
  const span = tracer.start('wait', { kind: 'internal', parent: trace, attributes });
  let isEnded = false;
  const handle = admission.acquire(rest, (outcome) => {
    if (!isEnded) endWith(span, outcome);
    isEnded = true;
    done(outcome);
  });
  if (isEnded) return handle;
  // The handle stays the same object: admission recognizes its own by identity.
  const cancel = handle.cancel.bind(handle);
  handle.cancel = () => {
    if (!isEnded) {
      span.set('sluice.outcome', 'cancelled');
      span.end();
    }
    isEnded = true;
    cancel();
  };
  return handle;
}

function endWith(span: Span, outcome: Outcome): void {
  span.set('sluice.outcome', outcome.kind);
  if (outcome.kind === 'admitted') {
    const { waited, lease } = outcome.permit;
    span.set('sluice.queue.seconds', waited / SECOND);
    if (lease !== undefined) span.set('sluice.fence', String(lease.fence));
    if (outcome.degraded !== undefined) span.set('sluice.degraded', outcome.degraded);
    return span.end();
  }
  const { reason, limit } = outcome.refusal;
  span.set('sluice.refusal', reason);
  if (limit !== undefined) span.set('sluice.limit', limit);
  span.end(REFUSAL_STATUS[reason].http >= SERVER_FAULT ? reason : undefined);
}
