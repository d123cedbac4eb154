import type { Refusal } from '../../core/refusal.ts';
import type { RequestState } from '../../deferred/request.ts';
import type { EngineReply, EngineRequest } from '../../http/engine.ts';
import type { ServiceDeps } from '../admission-service.ts';
import type { DeferredAccess } from '../deferred/access.ts';
import { requestJson, timeText } from '../deferred/request-json.ts';
import { RequestReading } from '../deferred/request-reading.ts';
import { DeferredApi, type FilterFields, type SubmitRefusal, type Submitted } from '../deferred/service.ts';
import type { SubmitFields } from '../deferred/submit-fields.ts';
import { submitFieldsOf } from '../deferred/submit-json.ts';
import { fromText } from '../duration.ts';
import { idempotencyKeyOf } from '../idempotency-key.ts';
import { millisOfInstant } from '../instant-text.ts';
import { rateLimitFields } from '../rate-limit-fields.ts';
import { type CallContext, isRefusal, malformed } from '../validation.ts';
import { isBatch, type LineRefusal, submitBatch } from './batch.ts';
import { type Input, inputOf, isRefused, printable } from './input.ts';
import { type Header, type ResponseDeps, sendJson, sendRefusal } from './response.ts';
import type { Path, RequestCall } from './routes.ts';

const CALLS: ReadonlySet<string> = new Set(['Submit', 'ListRequests', 'RedriveMany', 'GetRequest', 'GetResponse', 'CancelRequest', 'Redrive']);

/** Whether a call is about deferred requests. */
export function isRequestCall(call: string): call is RequestCall {
  return CALLS.has(call);
}

/** What the paths below /v1/requests need. */
export interface RestRequestsDeps extends ServiceDeps {
  readonly operators: boolean;
  readonly answers: ResponseDeps;
}

const PATH = '/v1/requests/';
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i;
const STATES: ReadonlySet<string> = new Set(['pending', 'sending', 'done', 'dead', 'cancelled']);

/** Deferred requests over plain HTTP: submit (one, or a batch), read, cancel, list, redrive. */
export class RestRequests {
  readonly #deps: RestRequestsDeps;
  readonly #api: DeferredApi;
  readonly #reading: RequestReading;

  constructor(deps: RestRequestsDeps, access: DeferredAccess) {
    this.#deps = deps;
    this.#api = new DeferredApi(deps, access);
    this.#reading = new RequestReading({ ...deps.answers, admission: deps.admission, path: PATH, foreign: true, onError: deps.onError });
  }

  handle(call: RequestCall, facts: CallContext, path: Path, request: EngineRequest, reply: EngineReply): void {
    const id = path['id'] ?? '';
    const lookUp: Parameters<RequestReading['show']>[0] = (of, wait, signal) => this.#api.get(facts, of, wait, signal);
    switch (call) {
      case 'Submit':
        return this.#submit(facts, request, reply);
      case 'GetRequest':
        return this.#reading.show(lookUp, id, request, reply);
      case 'GetResponse':
        return this.#reading.showResponse(lookUp, id, request, reply);
      case 'CancelRequest':
        return this.#answer(reply, this.#api.cancel(facts, id));
      case 'ListRequests':
        return this.#withInput(request, reply, (input) => this.#list(facts, input));
      case 'RedriveMany':
        return this.#withInput(request, reply, (input) => this.#redriveMany(facts, input));
      case 'Redrive':
        return this.#withInput(request, reply, (input) => this.#redrive(facts, id, input));
    }
  }

  #submit(facts: CallContext, request: EngineRequest, reply: EngineReply): void {
    const key = idempotencyKeyOf(request.header('idempotency-key'));
    if (typeof key !== 'string') return this.#refuse(reply, key);
    if (request.query !== '') return this.#refuse(reply, malformed('Put the fields of a request into the body, not into the query.'));
    const type = request.header('content-type');
    if ((request.header('content-encoding') ?? 'identity') !== 'identity') {
      return this.#refuse(reply, malformed('No compression is understood; send the body as it is.'), 415);
    }
    if (isBatch(type)) {
      if (key !== '') return this.#refuse(reply, malformed('A batch has no `Idempotency-Key` of its own; give each line its `idempotencyKey`.'));
      const submitLine = (of: CallContext, line: Uint8Array): Promise<object | LineRefusal> => this.#submitLine(of, line);
      return submitBatch({ ...this.#deps.answers, submitLine, onError: this.#deps.onError }, facts, request.body, reply);
    }
    if (!JSON_TYPE.test(type ?? '')) return this.#refuse(reply, malformed('Send a request as application/json, or a batch as application/x-ndjson.'), 415);
    const fields = withKey(submitFieldsOf(request.body), key);
    if (isRefusal(fields)) return this.#refuse(reply, fields);
    const accept = request.header('accept') ?? '';
    this.#settle(reply, this.#api.submit(facts, fields), (done) => {
      if (isRefusal(done)) {
        const group = fields.group;
        return sendRefusal(reply, this.#deps.answers, done, group === '' ? undefined : { group, key: fields.key, accept }, statusOf(done));
      }
      const { admission } = this.#deps;
      const limits = rateLimitFields(admission.limitsFor(done.group, done.key), done.group, admission.now());
      const headers: readonly Header[] = [['Location', PATH + done.outcome.id], ...limits];
      return sendJson(reply, 202, JSON.stringify(ticketJson(done)), headers);
    });
  }

  async #submitLine(facts: CallContext, line: Uint8Array): Promise<object | LineRefusal> {
    const fields = submitFieldsOf(line);
    if (isRefusal(fields)) return fields;
    const done = await this.#api.submit(facts, fields);
    return isRefusal(done) ? { ...done, status: statusOf(done) } : ticketJson(done);
  }

  async #list(facts: CallContext, input: Input): Promise<object | Refusal> {
    const closed = this.#closed('ListRequests');
    if (closed !== undefined) return closed;
    const state = textIn(input, 'state');
    if (state !== '' && !STATES.has(state)) return malformed(`\`state\` must be one of ${[...STATES].join(', ')}.`);
    const filter = this.#filterIn(input);
    if (isRefusal(filter)) return filter;
    const size = textIn(input, 'pageSize');
    const paging = { pageSize: size === '' ? 0 : wholeOf(size), pageToken: textIn(input, 'pageToken') };
    const unknown = unknownIn(input);
    if (unknown !== undefined) return unknown;
    const page = await this.#api.list(facts, state === '' ? undefined : (state as RequestState), filter, paging);
    return isRefusal(page) ? page : { requests: page.requests.map((view) => requestJson(view, PATH)), nextPageToken: page.next };
  }

  async #redriveMany(facts: CallContext, input: Input): Promise<object | Refusal> {
    const closed = this.#closed('Redrive');
    if (closed !== undefined) return closed;
    const filter = this.#filterIn(input);
    if (isRefusal(filter)) return filter;
    const [max, token] = [wholeOf(textIn(input, 'max')), textIn(input, 'pageToken')];
    const unknown = unknownIn(input);
    if (unknown !== undefined) return unknown;
    const done = await this.#api.redriveAll(facts, filter, max, token);
    return isRefusal(done) ? done : { redriven: done.redriven, nextPageToken: done.next };
  }

  async #redrive(facts: CallContext, id: string, input: Input): Promise<object | Refusal> {
    return this.#closed('Redrive') ?? unknownIn(input) ?? (await this.#api.redrive(facts, id)) ?? { redriven: 1 };
  }

  /** Without credentials these are for the address of operators. */
  #closed(call: string): Refusal | undefined {
    if (this.#deps.operators) return undefined;
    return { reason: 'forbidden', detail: `${call} answers on the admin address only, as long as the server has no \`auth\`.` };
  }

  #filterIn(input: Input): FilterFields | Refusal {
    const [error, failure] = [textIn(input, 'error'), textIn(input, 'failure')];
    if (error !== '' && failure !== '') return malformed('`error` and `failure` are the same; send one of them.');
    const nowMs = this.#deps.admission.epoch(this.#deps.admission.now());
    const [since, until] = [timeIn(input, 'since', nowMs), timeIn(input, 'until', nowMs)];
    return { group: textIn(input, 'group'), key: textIn(input, 'key'), failure: error + failure, since, until };
  }

  #withInput(request: EngineRequest, reply: EngineReply, call: (input: Input) => Promise<object | Refusal>): void {
    const input = inputOf(request, {});
    if (isRefused(input)) return this.#refuse(reply, input, 'status' in input ? input.status : undefined);
    this.#answer(reply, call(input));
  }

  #answer(reply: EngineReply, pending: Promise<object | Refusal>): void {
    this.#settle(reply, pending, (answer) => (isRefusal(answer) ? this.#refuse(reply, answer) : sendJson(reply, 200, JSON.stringify(answer))));
  }

  #settle<T>(reply: EngineReply, pending: Promise<T>, then: (answer: T) => unknown): void {
    pending.then(then).catch((error: unknown) => {
      this.#deps.onError(error);
      this.#refuse(reply, { reason: 'fault' });
    });
  }

  #refuse(reply: EngineReply, refusal: Refusal, status?: number): void {
    sendRefusal(reply, this.#deps.answers, refusal, undefined, status);
  }
}

/** Another request under a known key is 422 (draft-ietf-httpapi-idempotency-key-header-07, 2.7). */
function statusOf({ payloadDiffers }: SubmitRefusal): number | undefined {
  return payloadDiffers === true ? 422 : undefined;
}

function withKey(fields: SubmitFields | Refusal, key: string): SubmitFields | Refusal {
  if (isRefusal(fields) || key === '') return fields;
  if (fields.idempotencyKey !== '' && fields.idempotencyKey !== key) return malformed('`Idempotency-Key` and `idempotencyKey` differ; send one of them.');
  return { ...fields, idempotencyKey: key };
}

function ticketJson({ outcome }: Submitted): object {
  const { id, existing, keyExpiresAt } = outcome;
  return { id, existing, expiresAt: timeText(keyExpiresAt), location: PATH + id };
}

/** The text of a field, which is then known; numbers as their digits. */
function textIn(input: Input, name: string): string {
  const value = input.get(name) ?? '';
  if (typeof value !== 'string' && typeof value !== 'number') return '';
  input.delete(name);
  return String(value);
}

/** A time of RFC 3339, or how long ago; undefined: there is none, NaN: it cannot be read. */
function timeIn(input: Input, name: string, nowMs: number): number | undefined {
  const text = textIn(input, name);
  if (text === '') return undefined;
  const at = millisOfInstant(text);
  return Number.isNaN(at) ? nowMs - fromText(text) / 1000 : at;
}

/** What was not taken out of the input. */
function unknownIn(input: Input): Refusal | undefined {
  const [name] = input.keys();
  return name === undefined ? undefined : malformed(`No field \`${printable(name)}\` is known here, or not of this type; look for a misspelling.`);
}

function wholeOf(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
}
