import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { AdmissionService } from '../gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../gen/sluice/v1/deferred_pb.ts';
import { GroupService } from '../gen/sluice/v1/group_pb.ts';
import type { UnaryCall } from './calls.ts';
import { operatorCalls } from './operators.ts';
import { admissionCalls, type OnFault, refuse, type ServiceParts } from './service.ts';
import { FAULT } from './status.ts';

/** Every service of sluice.v1, for definitions, health and reflection. */
export const SERVICES: readonly DescService[] = [AdmissionService, GroupService, DeferredService];

/** What is said of a call that is published but not built. */
export const UNBUILT = 'Deferred requests are not built yet; ask for a permit with Acquire and send the request yourself.';

/** Every unary call that is built. Without `operators` those of GroupService are refused: anybody may come in there. */
export function unaryCalls(parts: ServiceParts, operators: boolean): readonly UnaryCall[] {
  const forOperators = operatorCalls(parts);
  return [...admissionCalls(parts), ...(operators ? forOperators : forOperators.map(closed))].map((each) => caught(parts.onFault, each));
}

/** A throw is a bug or broken I/O: told once, and a `fault` to the caller. */
function caught(onFault: OnFault, { method, call }: UnaryCall): UnaryCall {
  return {
    method,
    call: (facts, request, reply) => {
      try {
        return call(facts, request, reply);
      } catch (error) {
        onFault(error);
        return refuse(reply, FAULT);
      }
    },
  };
}

/** Where the method answers, the same in gRPC, Connect and gRPC-Web. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function closed({ method }: UnaryCall): UnaryCall {
  const detail = `${method.parent.name} answers on the admin address only, as long as the server has no \`auth\`.`;
  return { method, call: (_facts, _request, reply) => refuse(reply, { reason: 'forbidden', detail }) };
}
