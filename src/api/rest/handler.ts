import { randomBytes } from 'node:crypto';
import { create, type Message, toJsonString } from '@bufbuild/protobuf';
import type { GroupSettings } from '../../admission/admission.ts';
import { traceContextOf } from '../../admission/tracing.ts';
import type { Refusal } from '../../core/refusal.ts';
import { ExplainRequestSchema } from '../../gen/sluice/v1/admission_pb.ts';
import { type GetGroupResponse, GroupSchema, GroupService } from '../../gen/sluice/v1/group_pb.ts';
import type { EngineReply, EngineRequest } from '../../http/engine.ts';
import type { HttpHandler } from '../../http/listener.ts';
import type { ServiceDeps } from '../admission-service.ts';
import { ANSWERED, runHeldCall, type UnaryCall } from '../call.ts';
import { INTERNAL_ERROR } from '../refusal-status.ts';
import { NOT_DEFERRED, unaryCalls } from '../services.ts';
import { type CallContext, isRefusal, malformed } from '../validation.ts';
import { everyInterval, PositionNotifier, type SetInterval } from '../watch.ts';
import { type After, acquire, type RestAcquireOptions } from './acquire.ts';
import { askFieldsOf, askMessage, decodeTicket } from './acquire-fields.ts';
import { isMessage, messageOf } from './codec.ts';
import { decoded } from './form-query.ts';
import { type Input, inputOf, isRefused } from './input.ts';
import { isRequestCall, RestRequests } from './requests.ts';
import { type Refused, sendJson, sendRefusal } from './response.ts';
import { allowed, type Path, type RestMethod, route } from './routes.ts';

/** What plain HTTP needs. */
export interface RestOptions extends ServiceDeps {
  /** Groups, waiters and leases are shown and changed here. */
  readonly operators: boolean;
  /** What a group answers in place of a problem when it refuses for lack of capacity. */
  readonly refusalOf: (group: string) => GroupSettings['refusal'];
  readonly every?: SetInterval;
  readonly after?: After;
  readonly random?: () => number;
}

/** Zeros and empty lists are shown: who reads JSON has no schema at hand. */
const EVERYTHING = { alwaysEmitImplicit: true };

const UNKNOWN_PATH: Refusal = { reason: 'malformed', detail: 'Nothing answers at this path; look into the API for those that do.' };
const NO_DEFERRED: Refusal = { reason: 'unknown_request', detail: NOT_DEFERRED };
const BAD_PATH: Refusal = { reason: 'malformed', detail: 'The path holds a percent sign that encodes no UTF-8; write %25 for the sign itself.' };
const NO_TICKET: Refusal = { reason: 'unknown_request', detail: 'This is no Location that a 202 gave; acquire anew.' };

const LISTS: ReadonlySet<string> = new Set(['ListGroups', 'ListWaiters', 'ListLeases', 'ListKeys', 'ListActivity']);
const SHORT_NAMES = [
  ['limit', 'pageSize'],
  ['after', 'pageToken'],
] as const;

/** Plain HTTP: permits and groups for curl and for languages without gRPC. */
export class Rest implements HttpHandler {
  readonly #options: RestOptions;
  readonly #acquiring: RestAcquireOptions;
  readonly #requests: RestRequests | undefined;
  readonly #calls: ReadonlyMap<string, UnaryCall>;

  constructor(options: RestOptions) {
    const { every = everyInterval, after = afterTimeout, random = Math.random, admission, refusalOf } = options;
    this.#options = options;
    const positions = new PositionNotifier(every, () => admission.now());
    this.#acquiring = { admission, refusalOf, random, after, positions, newId: () => randomBytes(16).toString('base64url') };
    this.#requests = options.deferred && new RestRequests({ ...options, answers: this.#acquiring }, options.deferred);
    this.#calls = new Map(unaryCalls(options, options.operators).map((call) => [call.method.name, call]));
  }

  takes(path: string): boolean {
    return path.startsWith('/v1/') || path === '/v1';
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    try {
      this.#handle(request, reply);
    } catch (error) {
      this.#options.onError(error);
      this.#refuse(reply, INTERNAL_ERROR);
    }
  }

  #handle(request: EngineRequest, reply: EngineReply): void {
    const found = route(request.path);
    if (found === undefined) return this.#refuse(reply, UNKNOWN_PATH, 404);
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const does = found.methods[method as RestMethod];
    if (does === undefined) {
      const allow = allowed(found.methods);
      if (method === 'OPTIONS') return void reply.send(204, [['Allow', allow]], '');
      const detail = `Use ${allow} at this path.`;
      const body = `${JSON.stringify({ type: 'about:blank', title: 'Method Not Allowed', status: 405, detail, reason: 'malformed' })}\n`;
      return void reply.send(
        405,
        [
          ['Content-Type', 'application/problem+json'],
          ['Allow', allow],
        ],
        body,
      );
    }
    const path = decodedPath(found.path);
    if (path === undefined) return this.#refuse(reply, BAD_PATH);
    const caller = this.#options.auth.identify(request.header('authorization'));
    if (typeof caller !== 'string') return this.#refuse(reply, caller);
    const trace = this.#options.tracing ? traceContextOf(request.header('traceparent'), request.header('tracestate')) : undefined;
    const facts: CallContext = { caller, remaining: undefined, trace };
    if (isRequestCall(does)) {
      if (this.#requests === undefined) return this.#refuse(reply, NO_DEFERRED, 404);
      return this.#requests.handle(does, facts, path, request, reply);
    }
    if (does === 'Again') return this.#again(facts, path, request, reply);
    const input = inputOf(request, path);
    if (isRefused(input)) return this.#refuse(reply, input, 'status' in input ? input.status : undefined);
    if (does === 'Acquire') return this.#acquire(facts, input, request, reply);
    const twice = LISTS.has(does) ? asPage(input) : undefined;
    if (twice !== undefined) return this.#refuse(reply, twice);
    const message = does === 'Explain' ? explainMessage(input) : this.#message(does, input);
    if (!isMessage(message)) return this.#refuse(reply, message);
    const group = input.get('group');
    const whom = typeof group === 'string' ? { group, key: '', accept: 'application/json' } : undefined;
    this.#call(does, facts, message, whom, reply);
  }

  #acquire(facts: CallContext, input: Input, request: EngineRequest, reply: EngineReply): void {
    const fields = askFieldsOf(input);
    if (isRefusal(fields)) this.#refuse(reply, fields);
    else acquire(this.#acquiring, facts, fields, request, reply);
  }

  /** The Location of a 202: the same request, under the same request id. */
  #again(facts: CallContext, path: Path, request: EngineRequest, reply: EngineReply): void {
    const ticket = decodeTicket(path['group'] ?? '', path['ticket'] ?? '');
    if (ticket === undefined) return this.#refuse(reply, NO_TICKET);
    const { fields } = ticket;
    if (request.method === 'GET') return acquire(this.#acquiring, facts, fields, request, reply, ticket.until);
    const message = this.#message('Release', new Map(Object.entries({ group: fields.group, requestId: fields.requestId })));
    if (isMessage(message)) this.#call('Release', facts, message, undefined, reply);
    else this.#refuse(reply, message);
  }

  #message(name: string, input: Input): Message | Refusal {
    const call = this.#calls.get(name);
    return call === undefined ? INTERNAL_ERROR : messageOf(call.method.input, input);
  }

  #call(name: string, facts: CallContext, message: Message, whom: Refused | undefined, reply: EngineReply): void {
    const found = this.#calls.get(name);
    if (found === undefined) return this.#refuse(reply, INTERNAL_ERROR);
    const { method, call } = found;
    const leave = runHeldCall(call, facts, message as unknown, (answer, refusal) => {
      if (refusal !== undefined) return sendRefusal(reply, this.#acquiring, refusal, whom);
      // The group itself: there is nothing else in the answer.
      const json =
        method === GroupService.method.getGroup
          ? toJsonString(GroupSchema, (answer as GetGroupResponse).group ?? create(GroupSchema), EVERYTHING)
          : toJsonString(method.output, answer as Message, EVERYTHING);
      return sendJson(reply, 200, json);
    });
    if (leave !== ANSWERED) reply.onGone(leave);
  }

  #refuse(reply: EngineReply, refusal: Refusal, status?: number): void {
    sendRefusal(reply, this.#acquiring, refusal, undefined, status);
  }
}

/** Takes `limit` and `after` for `pageSize` and `pageToken`. */
function asPage(input: Input): Refusal | undefined {
  for (const [short, long] of SHORT_NAMES) {
    if (!input.has(short)) continue;
    if (input.has(long)) return malformed(`\`${short}\` and \`${long}\` are the same; send one of them.`);
    input.set(long, input.get(short));
    input.delete(short);
  }
  return undefined;
}

function explainMessage(input: Input): Message | Refusal {
  const fields = askFieldsOf(input);
  return isRefusal(fields) ? fields : create(ExplainRequestSchema, { ask: askMessage(fields) });
}

function decodedPath(path: Path): Path | undefined {
  const parts: Record<string, string> = {};
  for (const name in path) {
    const part = decoded(path[name] ?? '');
    if (part === undefined) return undefined;
    parts[name] = part;
  }
  return parts;
}

/** {@link After} on the event loop. */
const afterTimeout: After = (micros, then) => {
  const timer = setTimeout(then, micros / 1000);
  return () => clearTimeout(timer);
};
