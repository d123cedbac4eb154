import type { Ability } from '../../admission/credential.ts';
import { REDRIVE_MAX } from '../../core/bounds.ts';
import type { Refusal } from '../../core/refusal.ts';
import { MILLISECOND, MINUTE, type Micros } from '../../core/time.ts';
import type { RequestFilter, RequestScope, RequestView, SubmitOutcome } from '../../deferred/deferred.ts';
import type { RequestState } from '../../deferred/request.ts';
import type { ServiceDeps } from '../admission-service.ts';
import { toPage } from '../group-validation.ts';
import { pageTokenOf, placeOf } from '../page-token.ts';
import { type CallContext, checkDuration, checkGroup, checkText, isRefusal, malformed, parseAcquire } from '../validation.ts';
import type { DeferredAccess } from './access.ts';
import { checkSubmit, type SubmitFields } from './submit-fields.ts';
import { SubmitRoutes } from './submit-routes.ts';

/** Which requests are listed or redriven, decoded but not checked; '' where a text is absent, NaN where a time cannot be read. */
export interface FilterFields {
  readonly group: string;
  readonly key: string;
  readonly failure: string;
  /** Milliseconds since 1970. */
  readonly since: number | undefined;
  readonly until: number | undefined;
}

/** A submission that was taken, with what its route made of it. */
export interface Submitted {
  readonly outcome: Extract<SubmitOutcome, { kind: 'accepted' }>;
  readonly group: string;
  readonly key: string;
}

/** A refusal of a submission. */
export interface SubmitRefusal extends Refusal {
  /** The idempotency key was used for another request: 422 over plain HTTP. */
  readonly payloadDiffers?: boolean;
}

/** Longest wait for the end of a request in one call. */
export const END_WAIT_MAX: Micros = MINUTE;
const SIGNED = 'This route takes requests that their sender has signed, on the proxy; here it needs `auth.keys` and a credential.';
const ID_BYTES_MAX = 128;
const FAILURE_BYTES_MAX = 64;

/**
 * Deferred requests for every protocol: checks fields and rights, then calls `DeferredRequests`. A credential with `acquire`
 * submits, and sees and cancels what is its own; `read` and `manage` see what others submitted to their groups, `manage` cancels and
 * redrives it.
 */
export class DeferredApi {
  readonly #deps: Pick<ServiceDeps, 'auth' | 'admission' | 'onOperator'>;
  readonly #access: DeferredAccess;
  readonly #routes: SubmitRoutes;
  readonly #waits = new Set<AbortController>();

  constructor(deps: Pick<ServiceDeps, 'auth' | 'admission' | 'onOperator'>, access: DeferredAccess) {
    this.#deps = deps;
    this.#access = access;
    this.#routes = new SubmitRoutes(access.routes);
    access.closing?.addEventListener('abort', () => {
      for (const wait of this.#waits) wait.abort();
    });
  }

  /** Stores a request; resolves once it is safely on disk. `bodyBytesMax`: of the protocol. */
  async submit(facts: CallContext, fields: SubmitFields, bodyBytesMax = Number.POSITIVE_INFINITY): Promise<Submitted | SubmitRefusal> {
    const { auth } = this.#deps;
    const { caller } = facts;
    const barred = auth.check(caller, { ability: 'acquire' });
    if (barred !== undefined) return barred;
    const wrong =
      (fields.group === '' ? undefined : (checkGroup(fields.group) ?? auth.check(caller, { ability: 'acquire', group: fields.group }))) ??
      checkSubmit(fields, this.#nowMs());
    if (wrong !== undefined) return wrong;
    const mayGroup = (group: string): boolean => auth.check(caller, { ability: 'acquire', group }) === undefined;
    const routed = this.#routes.find(fields, { caller, mayGroup, restricted: auth.groupsOf(caller) !== undefined });
    if (isRefusal(routed)) return routed;
    // A forged request must not slip in here where the proxy would refuse it.
    if (routed.signed && !auth.demanded) return { reason: 'forbidden', detail: SIGNED };
    const { group, key, priorityClass, costs } = routed;
    const ask = parseAcquire({ group, key, priorityClass, costs }, facts);
    if (isRefusal(ask)) return ask;
    const own = auth.scope(ask);
    if (isRefusal(own)) return own;
    const bytesMax = Math.min(routed.bodyBytesMax, bodyBytesMax);
    if (fields.body.byteLength > bytesMax) return { reason: 'too_large', detail: bodyDetail(routed.bodyBytesMax, bodyBytesMax) };
    const { deadline, timeout, retries } = fields;
    const outcome = await this.#access.requests.submit({
      route: routed.route,
      group,
      key: own.key,
      priorityClass: own.priorityClass,
      costs: own.costs,
      host: routed.host,
      method: fields.method === '' ? 'POST' : fields.method,
      target: fields.path,
      headers: [...fields.headers, ...keyField(fields.idempotencyKey)].flat(),
      body: fields.body,
      caller,
      idempotencyKey: fields.idempotencyKey,
      dedupeId: routed.dedupeId,
      notBeforeMs: fields.notBeforeMs,
      deadlineMs: deadline === undefined ? undefined : Math.ceil(deadline / MILLISECOND),
      timeoutMs: timeout === undefined ? undefined : Math.ceil(timeout / MILLISECOND),
      retries: retries === undefined || 'attemptsMax' in retries ? retries : { delaysMs: retries.delays.map((delay) => Math.ceil(delay / MILLISECOND)) },
      callback: fields.callback,
    });
    if (outcome.kind === 'accepted') return { outcome, group, key: own.key };
    return outcome.payloadDiffers === true ? { ...outcome.refusal, payloadDiffers: true } : outcome.refusal;
  }

  /** A request as it stands; waits for its end up to `wait`, and not beyond the caller's own deadline. Aborting `signal` ends the wait. */
  async get(facts: CallContext, id: string, wait: Micros, signal: AbortSignal): Promise<RequestView | Refusal> {
    const wrong = checkId(id) ?? checkDuration('wait', wait, 0, END_WAIT_MAX);
    if (wrong !== undefined) return wrong;
    const scope = this.#scopeOf(facts.caller, ['acquire', 'read', 'manage'], ['read', 'manage']);
    if (isRefusal(scope)) return scope;
    return this.#waiting(signal, (over) => this.#access.requests.get(scope, id, bounded(wait, facts) / MILLISECOND, over));
  }

  /** The same by its id alone, for callers that show no credential where none is demanded of them (the proxy): what was submitted so. */
  async getOwn(id: string, wait: Micros, signal: AbortSignal): Promise<RequestView | Refusal> {
    const wrong = checkId(id);
    if (wrong !== undefined) return wrong;
    const scope: RequestScope = { caller: '', all: false, groups: undefined, key: undefined };
    return this.#waiting(signal, (over) => this.#access.requests.get(scope, id, Math.min(wait, END_WAIT_MAX) / MILLISECOND, over));
  }

  /** Gives a request up. */
  async cancel({ caller }: CallContext, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal> {
    const scope = checkId(id) ?? this.#scopeOf(caller, ['acquire', 'manage'], ['manage']);
    return isRefusal(scope) ? scope : this.#access.requests.cancel(scope, id);
  }

  /** A page of requests; `state` undefined: of any. */
  async list(
    { caller }: CallContext,
    state: RequestState | undefined,
    fields: FilterFields,
    paging: { readonly pageSize?: number | undefined; readonly pageToken?: string | undefined },
  ): Promise<{ readonly requests: readonly RequestView[]; readonly next: string } | Refusal> {
    const scope = this.#scopeOf(caller, ['read', 'manage'], ['read', 'manage']);
    if (isRefusal(scope)) return scope;
    // A place is one of a state's own table, and of its part for one group.
    const pages = `requests ${state ?? (fields.failure === '' ? 'of any state' : 'dead')} ${fields.group}`;
    const page = toPage(pages, paging);
    if (isRefusal(page)) return page;
    const filter = this.#filterOf(caller, this.#may(caller, 'read') ? 'read' : 'manage', fields);
    if (isRefusal(filter)) return filter;
    const { size, token } = page;
    // Only dead letters have a reason.
    const listed = state ?? (filter.error === undefined ? 'any' : 'dead');
    const found = await this.#access.requests.list(scope, { ...filter, state: listed }, size, token);
    // Of an answer a list has less than all: it is not shown as if it were whole.
    if (isRefusal(found)) return found;
    return { next: pageTokenOf(pages, found.next), requests: found.requests.map((view) => ({ ...view, tries: [], response: undefined })) };
  }

  /** Puts a dead letter back into the queue. */
  async redrive({ caller }: CallContext, id: string): Promise<Refusal | undefined> {
    const scope = checkId(id) ?? this.#scopeOf(caller, ['manage'], ['manage']);
    const refusal = isRefusal(scope) ? scope : await this.#access.requests.redrive(scope, id);
    this.#deps.onOperator?.({ kind: 'requests_redriven', caller, group: '', request: id, requests: refusal === undefined ? 1 : 0, refused: refusal?.reason });
    return refusal;
  }

  /** Puts dead letters of a filter back into the queue, at most `max`. */
  async redriveAll(
    { caller }: CallContext,
    fields: FilterFields,
    max: number,
    token: string,
  ): Promise<{ readonly redriven: number; readonly next: string } | Refusal> {
    const scope = this.#scopeOf(caller, ['manage'], ['manage']);
    if (isRefusal(scope)) return scope;
    if (!(Number.isInteger(max) && max >= 1 && max <= REDRIVE_MAX)) {
      return malformed(`\`max\` must be a whole number from 1 to ${REDRIVE_MAX}: how many dead letters this call may put back.`);
    }
    const pages = `redrive ${fields.group}`;
    const from = placeOf(pages, token);
    if (isRefusal(from)) return from;
    const filter = this.#filterOf(caller, 'manage', fields);
    if (isRefusal(filter)) return filter;
    const done = await this.#access.requests.redriveAll(scope, { ...filter, state: 'dead' }, max, from.place);
    const [requests, refused] = isRefusal(done) ? [0, done.reason] : [done.redriven, undefined];
    this.#deps.onOperator?.({ kind: 'requests_redriven', caller, group: fields.group, requests, refused });
    return isRefusal(done) ? done : { ...done, next: pageTokenOf(pages, done.next) };
  }

  #filterOf(caller: string, ability: Ability, { group, key, failure, since, until }: FilterFields): Omit<RequestFilter, 'state'> | Refusal {
    const own = this.#deps.auth.keyOf(caller);
    const refusal =
      (group === '' ? undefined : checkGroup(group)) ??
      checkText('key', key, 256) ??
      checkText('failure', failure, FAILURE_BYTES_MAX) ??
      checkTime('since', since) ??
      checkTime('until', until) ??
      this.#deps.auth.check(caller, { ability, ...(group !== '' && { group }), ...(key !== '' && own !== undefined && { key: { of: key } }) });
    if (refusal !== undefined) return refusal;
    const given = (text: string): string | undefined => (text === '' ? undefined : text);
    return { group: given(group), key: given(key), error: given(failure), since, until };
  }

  /** What a caller may see that has one of the `needed` abilities: of others with one of `others`. */
  #scopeOf(caller: string, needed: readonly Ability[], others: readonly Ability[]): RequestScope | Refusal {
    const { auth } = this.#deps;
    if (!needed.some((ability) => this.#may(caller, ability))) return auth.check(caller, { ability: needed[0] as Ability }) ?? { reason: 'forbidden' };
    return { caller, all: others.some((ability) => this.#may(caller, ability)), groups: auth.groupsOf(caller), key: auth.keyOf(caller) };
  }

  #may(caller: string, ability: Ability): boolean {
    return this.#deps.auth.check(caller, { ability }) === undefined;
  }

  async #waiting<T>(signal: AbortSignal, call: (over: AbortSignal) => Promise<T>): Promise<T> {
    const over = new AbortController();
    const abort = (): void => over.abort();
    if (signal.aborted || this.#access.closing?.aborted === true) abort();
    signal.addEventListener('abort', abort);
    this.#waits.add(over);
    try {
      return await call(over.signal);
    } finally {
      this.#waits.delete(over);
      signal.removeEventListener('abort', abort);
    }
  }

  #nowMs(): number {
    const { admission } = this.#deps;
    return admission.epoch(admission.now());
  }
}

/** The client's key as the backend gets it with every attempt, as from the proxy; without one it gets the id. */
function keyField(key: string): readonly (readonly [string, string])[] {
  return key === '' ? [] : [['Idempotency-Key', `"${key.replaceAll(/["\\]/g, '\\$&')}"`]];
}

function checkId(id: string): Refusal | undefined {
  if (id === '') return malformed('`id` is missing; send the one that Submit gave.');
  return checkText('id', id, ID_BYTES_MAX);
}

function checkTime(field: string, at: number | undefined): Refusal | undefined {
  return at === undefined || Number.isFinite(at) ? undefined : malformed(`\`${field}\` is not a time; write for example \`2030-01-31T08:00:00Z\`.`);
}

/** Longest body taken, and by what. */
function bodyDetail(ofRoute: number, ofProtocol: number): string {
  if (ofRoute <= ofProtocol) return `The body may be at most ${ofRoute} bytes (\`body.max\` of the route).`;
  return `The body may be at most ${ofProtocol} bytes in this protocol; send a larger one by POST /v1/requests, or to the route on the proxy.`;
}

/** An answer needs 50 ms to reach its caller before its own deadline. */
function bounded(wait: Micros, { remaining }: CallContext): Micros {
  return remaining === undefined ? wait : Math.max(0, Math.min(wait, remaining - 50 * MILLISECOND));
}
