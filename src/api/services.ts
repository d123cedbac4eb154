import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { AdmissionService } from '../gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../gen/sluice/v1/deferred_pb.ts';
import { GroupService } from '../gen/sluice/v1/group_pb.ts';
import { admissionCalls, type ErrorHandler, refuse, type ServiceDeps } from './admission-service.ts';
import type { UnaryCall } from './call.ts';
import { deferredCalls, isForOperators } from './deferred/calls.ts';
import { operatorCalls } from './group-service.ts';
import { INTERNAL_ERROR } from './refusal-status.ts';

/** Every service of sluice.v1, for definitions, health and reflection. */
export const SERVICES: readonly DescService[] = [AdmissionService, GroupService, DeferredService];

/** Answer to a call of DeferredService where no route is deferred. */
export const NOT_DEFERRED = 'This server keeps no requests for later: none of its routes has `mode: deferred`. Call Acquire for a permit instead.';

/** Every unary call that is served. Without `operators` those of GroupService, and lists and redrives of requests, are refused: any caller may come in there. */
export function unaryCalls(deps: ServiceDeps, operators: boolean): readonly UnaryCall[] {
  const deferred = deps.deferred === undefined ? [] : deferredCalls(deps, deps.deferred);
  const forOperators = [...operatorCalls(deps), ...deferred.filter(isForOperators)];
  const forCallers = [...admissionCalls(deps), ...deferred.filter((each) => !isForOperators(each))];
  return [...forCallers, ...(operators ? forOperators : forOperators.map(closed))].map((each) => caught(deps.onError, each));
}

/** A throw is a bug or broken I/O: reported once, and a `fault` to the caller. */
export function caught(onError: ErrorHandler, { method, call }: UnaryCall): UnaryCall {
  return {
    method,
    call: (facts, request, reply) => {
      try {
        return call(facts, request, reply);
      } catch (error) {
        onError(error);
        return refuse(reply, INTERNAL_ERROR);
      }
    },
  };
}

/** Where the method answers, the same in gRPC, Connect and gRPC-Web. */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function closed({ method }: UnaryCall): UnaryCall {
  const what = method.parent === DeferredService ? method.name : method.parent.name;
  const detail = `${what} answers on the admin address only, as long as the server has no \`auth\`.`;
  return { method, call: (_facts, _request, reply) => refuse(reply, { reason: 'forbidden', detail }) };
}
