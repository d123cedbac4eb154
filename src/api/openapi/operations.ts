import type { DescMethodUnary } from '@bufbuild/protobuf';
import type { RefusalReason } from '../../core/refusal.ts';
import { AdmissionService } from '../../gen/sluice/v1/admission_pb.ts';
import { GroupService } from '../../gen/sluice/v1/group_pb.ts';
import type { RestCall } from '../rest/routes.ts';

/** What a path and method do, as far as no table of the code has it. */
export interface Operation {
  readonly summary: string;
  /** The call of the protocol whose messages it takes and returns; undefined: its fields are its own (fields.ts). */
  readonly method?: DescMethodUnary | undefined;
  /** Ways in which it can be refused, beside {@link ALWAYS}. */
  readonly reasons: readonly RefusalReason[];
}

/** Ways in which any call can be refused. */
export const ALWAYS: readonly RefusalReason[] = ['malformed', 'unauthenticated', 'forbidden', 'too_large', 'fault'];

const ADMISSION: readonly RefusalReason[] = [
  'unknown_group',
  'oversized',
  'draining',
  'undecided',
  'unstored',
  'shed',
  'expired',
  'infeasible',
  'cancelled',
  'conflict',
];
const OPERATOR: readonly RefusalReason[] = ['unknown_group', 'draining', 'undecided', 'unstored'];
const CHANGE: readonly RefusalReason[] = [...OPERATOR, 'conflict'];
const PERMIT: readonly RefusalReason[] = ['unknown_permit', 'unknown_group', 'unknown_request', 'fenced', 'draining', 'undecided', 'unstored'];
const STORED: readonly RefusalReason[] = ['unknown_request', 'gone', 'conflict', 'draining', 'undecided', 'unstored', 'unknown_group'];

const { acquire, renew, release, explain } = AdmissionService.method;
const { listGroups, getGroup, listWaiters, listLeases, pause, resume, override, evictWaiter, revokeLease, listActivity, getMe, getServer } =
  GroupService.method;

/** Every call of plain HTTP. A call that is not here does not compile. */
export const OPERATIONS: Readonly<Record<RestCall, Operation>> = {
  Acquire: { summary: 'Ask for a permit, and wait for it', method: acquire, reasons: ADMISSION },
  Again: { summary: 'Go on waiting, or give up, after a 202', method: acquire, reasons: [...ADMISSION, 'unknown_request'] },
  Explain: { summary: 'See what a request for a permit would meet, without one', method: explain, reasons: ADMISSION },
  Renew: { summary: 'Renew a lease', method: renew, reasons: PERMIT },
  Release: { summary: 'End a permit, and settle its costs', method: release, reasons: PERMIT },
  ListGroups: { summary: 'List groups', method: listGroups, reasons: OPERATOR },
  GetGroup: { summary: 'Show a group', method: getGroup, reasons: OPERATOR },
  ListWaiters: { summary: 'List who waits in a group', method: listWaiters, reasons: OPERATOR },
  ListLeases: { summary: 'List who holds leases of a group', method: listLeases, reasons: OPERATOR },
  Pause: { summary: 'Pause a group, or one key of it', method: pause, reasons: CHANGE },
  Resume: { summary: 'End a pause', method: resume, reasons: CHANGE },
  Override: { summary: 'Change limits for a time', method: override, reasons: CHANGE },
  EvictWaiter: { summary: 'Refuse one waiter', method: evictWaiter, reasons: [...CHANGE, 'unknown_request', 'unknown_permit'] },
  RevokeLease: { summary: 'End a lease without its holder', method: revokeLease, reasons: [...CHANGE, 'unknown_permit'] },
  ListActivity: { summary: 'List what operators did', method: listActivity, reasons: OPERATOR },
  GetMe: { summary: 'Show who calls, and what the credential lets it do', method: getMe, reasons: OPERATOR },
  GetServer: { summary: 'Show what runs', method: getServer, reasons: OPERATOR },
  Submit: { summary: 'Store a request that is sent later, or many', reasons: [...STORED, 'shed', 'oversized'] },
  ListRequests: { summary: 'List stored requests', reasons: STORED },
  RedriveMany: { summary: 'Put dead letters back into the queue', reasons: STORED },
  GetRequest: { summary: 'Show a stored request, or wait for its end', reasons: STORED },
  GetResponse: { summary: 'Show the response to a stored request', reasons: STORED },
  CancelRequest: { summary: 'Cancel a stored request', reasons: STORED },
  Redrive: { summary: 'Put one dead letter back into the queue', reasons: STORED },
};
