import {
  type AdmissionRequest,
  type LocalAdmissionService,
  MOVED,
  type OperatorReason,
  type OverrideRequest,
  type PageRequest,
} from '../admission/admission.ts';
import { parsePermitId } from '../admission/permit-id.ts';
import { shiftArrival } from '../admission/time-shift.ts';
import type { Costs } from '../core/group.ts';
import type { WindowReport } from '../core/limits/reported-window.ts';
import type { Disposition } from '../core/permit.ts';
import type { QueuePosition } from '../core/request.ts';
import type { Micros } from '../core/time.ts';
import type { CallArgs, Method } from './transport/codec.ts';

/** Groups in one reply: some hundred bytes each, and a message carries a megabyte at most. */
const GROUPS_PAGE = 500;

/** Dependencies of {@link handleCall}. */
export interface CallDeps {
  readonly admission: LocalAdmissionService;
  /** Returns the queue positions of the calling replica's own waiters. */
  readonly positions: (wids: readonly number[]) => readonly { readonly wid: number; readonly place: QueuePosition }[];
  /** Converts instants of the calling replica to those of this process, by addition. */
  readonly by: Micros;
}

/** The reply to a call. `moved`: the group is not decided here. */
export interface CallResult {
  readonly moved: boolean;
  readonly value: unknown;
}

/** Performs the call of another replica. Throws as admission does. */
export async function handleCall(deps: CallDeps, method: Method, args: CallArgs): Promise<CallResult> {
  const group = groupOf(method, args);
  if (group !== undefined) await deps.admission.opening(group);
  const value = await perform(deps, method, args as unknown as Args);
  return { moved: isMoved(value), value };
}

/** Returns true if this result means that the group is decided elsewhere. */
export function isMoved(value: unknown): boolean {
  if (value === MOVED) return true;
  return typeof value === 'object' && value !== null && 'refusal' in value && value.refusal === MOVED;
}

/** Returns the group whose tree a call is about, or undefined if it is about none. */
function groupOf(method: Method, args: CallArgs): string | undefined {
  if (method === 'renew' || method === 'release') return parsePermitId(String(args['permit']))?.group;
  if (method === 'explain') return (args['ask'] as AdmissionRequest).group;
  return typeof args['group'] === 'string' ? args['group'] : undefined;
}

/** Every argument of every method; each method has those it needs. */
interface Args {
  readonly caller: string;
  readonly permit: string;
  readonly lease: Micros | undefined;
  readonly how: Disposition;
  readonly costs: Costs | undefined;
  readonly retryAfter: Micros | undefined;
  readonly key: string | undefined;
  readonly group: string;
  readonly requestId: string;
  readonly session: string;
  readonly resume: Micros;
  readonly ask: AdmissionRequest;
  readonly from: number;
  readonly page: PageRequest;
  readonly pauseFor: Micros | undefined;
  readonly wish: Omit<OverrideRequest, 'limits'> & { readonly limits: readonly (readonly [string, never])[] };
  readonly why: OperatorReason | undefined;
  readonly limit: string;
  readonly said: WindowReport;
  readonly id: string;
  readonly wids: readonly number[];
}

async function perform({ admission, positions, by }: CallDeps, method: Method, args: Args): Promise<unknown> {
  switch (method) {
    case 'renew':
      return admission.renew(args.caller, args.permit, args.lease);
    case 'release':
      return admission.release({
        caller: args.caller,
        permit: args.permit,
        disposition: args.how,
        costs: args.costs,
        retryAfter: args.retryAfter,
        key: args.key,
      });
    case 'releaseRequest':
      return admission.releaseRequest(args.caller, args.group, args.requestId);
    case 'explain':
      return admission.explain({ ...args.ask, since: args.ask.since && shiftArrival(args.ask.since, by) });
    case 'group':
      return admission.group(args.group);
    case 'groups':
      return admission.groupsFrom(args.from, GROUPS_PAGE);
    case 'waiters':
      return waiters(admission, args);
    case 'leases':
      return admission.leases(args.group, args.page);
    case 'pause':
      return admission.pause(args.group, args.key, args.pauseFor, args.why);
    case 'resume':
      return admission.resume(args.group, args.key);
    case 'override':
      return admission.override(args.group, { ...args.wish, limits: new Map(args.wish.limits) }, args.why);
    case 'report':
      return admission.report(args.group, args.limit, args.said);
    case 'evictWaiter':
      return admission.evictWaiter(args.group, args.id, args.key);
    case 'revokeLease':
      return admission.revokeLease(args.group, args.permit, args.key);
    case 'endSession':
      return admission.endSession(args.caller, args.session, args.resume);
    case 'resumeSession':
      return admission.resumeSession(args.caller, args.session);
    case 'places':
      return positions(args.wids);
  }
}

/** Omits the tokens of waiters, which are objects of this process. */
async function waiters(admission: LocalAdmissionService, { group, page }: Args): Promise<unknown> {
  const found = await admission.waiters(group, page);
  return 'reason' in found ? found : { ...found, items: found.items.map((item) => ({ ...item, token: undefined })) };
}
