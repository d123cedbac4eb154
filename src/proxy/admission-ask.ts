import type { AdmissionRequest } from '../admission/admission.ts';
import { isKey } from '../core/bounds.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival } from '../core/request.ts';
import type { Micros } from '../core/time.ts';
import type { BufferedBody } from './body/buffered-body.ts';
import { computeCosts, JSON_BYTES_MAX, parseJsonBody, readsBody } from './costs.ts';
import type { IncomingRequest } from './incoming.ts';
import { valueAt } from './json-path.ts';
import { readValue } from './request-values.ts';
import type { RouteAdmission } from './route.ts';

/** Whether the request can be submitted to admission, as far as the body goes: it is whole where it is charged then, or enough of it is there to read its costs. */
export function isReady(admission: RouteAdmission, body: BufferedBody | undefined): boolean {
  if (body === undefined || body.whole) return true;
  if (admission.charge === 'body') return false;
  return !readsBody(admission.costs) || body.received > JSON_BYTES_MAX;
}

/** Builds the admission request, with its wait timeout and the place it had before; `malformed` where its key cannot be one. `missing` receives the units whose costs were not found. */
export function buildAdmissionRequest(
  admission: RouteAdmission,
  incoming: IncomingRequest,
  body: BufferedBody | undefined,
  { wait, since }: { readonly wait: Micros; readonly since: Arrival | undefined },
  missing: (unit: string) => void,
): AdmissionRequest | Refusal {
  const key = admission.key === undefined ? '' : readValue(admission.key, incoming);
  if (key !== '' && !isKey(key))
    return { reason: 'malformed', detail: 'What names the key of this request must have 1 to 256 bytes in UTF-8, no control characters.' };
  const named = admission.priorityClass === undefined ? '' : readValue(admission.priorityClass, incoming);
  const { facts } = incoming;
  return {
    group: admission.group,
    key,
    priority: undefined,
    priorityClass: admission.classes.has(named) ? named : undefined,
    costs: costsOf(admission, incoming, body, missing),
    wait,
    lease: admission.lease,
    holder: facts.clientIp,
    requestId: undefined,
    caller: facts.caller,
    session: undefined,
    bytes: body?.received ?? 0,
    trace: incoming.trace,
    since,
    reported: true,
  };
}

function costsOf(admission: RouteAdmission, incoming: IncomingRequest, body: BufferedBody | undefined, missing: (unit: string) => void) {
  const { costs } = admission;
  const bytes = readsBody(costs) && body?.whole === true ? body.bytes : undefined;
  const json = bytes === undefined ? undefined : parseJsonBody(bytes);
  return computeCosts(
    costs,
    ({ ask }) => {
      if (ask === undefined) return undefined;
      return ask.from === 'json' ? valueAt(json, ask.path) : readValue(ask, incoming);
    },
    missing,
  );
}
