import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { AdmissionService } from '../gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../gen/sluice/v1/deferred_pb.ts';
import { GroupService } from '../gen/sluice/v1/group_pb.ts';
import type { UnaryCall } from './calls.ts';
import { operatorCalls } from './operators.ts';
import { admissionCalls, refuse, type ServiceParts } from './service.ts';

/** Every service of sluice.v1, for definitions, health and reflection. */
export const SERVICES: readonly DescService[] = [AdmissionService, GroupService, DeferredService];

/** What is said of a call that is published but not built. */
export const UNBUILT = 'Deferred requests are not built yet; ask for a permit with Acquire and send the request yourself.';

/** Every unary call that is built. Without `operators` those of GroupService are refused: anybody may come in there. */
export function unaryCalls(parts: ServiceParts, operators: boolean): readonly UnaryCall[] {
  const forOperators = operatorCalls(parts);
  return [...admissionCalls(parts), ...(operators ? forOperators : forOperators.map(closed))];
}

/** Where the method answers, the same in gRPC, Connect and gRPC-Web. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function closed({ method }: UnaryCall): UnaryCall {
  const detail = `${method.parent.name} answers on the admin address only, as long as the server has no \`auth\`.`;
  return { method, call: (_facts, _request, reply) => refuse(reply, { reason: 'forbidden', detail }) };
}
