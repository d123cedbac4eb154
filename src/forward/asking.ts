import type { AdmissionAsk } from '../admission/admission.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Micros } from '../core/time.ts';
import type { Since } from '../core/waiter.ts';
import { askCosts, JSON_BYTES_MAX, jsonOf, readsBody, valueAt } from './costs.ts';
import type { HoldingBody } from './holding-body.ts';
import type { IncomingRequest } from './incoming.ts';
import type { RouteAdmission } from './route.ts';
import { isKey, textOf } from './sources.ts';

/** Whether the ask can be made, as far as the body goes: it is whole where it is charged then, or enough of it is there to read its costs. */
export function isReady(admission: RouteAdmission, body: HoldingBody | undefined): boolean {
  if (body === undefined || body.whole) return true;
  if (admission.charge === 'body') return false;
  return !readsBody(admission.costs) || body.received > JSON_BYTES_MAX;
}

/** The ask of a request, for so long, from the place it had before; `malformed` where its key cannot be one. `missing` hears of costs that were not found. */
export function askOf(
  admission: RouteAdmission,
  incoming: IncomingRequest,
  body: HoldingBody | undefined,
  { wait, since }: { readonly wait: Micros; readonly since: Since | undefined },
  missing: (unit: string) => void,
): AdmissionAsk | Refusal {
  const key = admission.key === undefined ? '' : textOf(admission.key, incoming);
  if (!isKey(key))
    return { reason: 'malformed', detail: 'What names the key of this request must have 1 to 256 characters, none of them a control character.' };
  const named = admission.priorityClass === undefined ? '' : textOf(admission.priorityClass, incoming);
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
    since,
    reported: true,
  };
}

function costsOf(admission: RouteAdmission, incoming: IncomingRequest, body: HoldingBody | undefined, missing: (unit: string) => void) {
  const { costs } = admission;
  const bytes = readsBody(costs) && body?.whole === true ? body.bytes : undefined;
  const json = bytes === undefined ? undefined : jsonOf(bytes);
  return askCosts(
    costs,
    ({ ask }) => {
      if (ask === undefined) return undefined;
      return ask.from === 'json' ? valueAt(json, ask.path) : textOf(ask, incoming);
    },
    missing,
  );
}
