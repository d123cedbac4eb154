import type { Refusal } from '../../core/refusal.ts';
import { MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import type { RequestView } from '../../deferred/deferred.ts';
import type { EngineReply, EngineRequest } from '../../http/engine.ts';
import { RETRY_UNKNOWN_SECONDS, toRetrySeconds } from '../../http/retry-after.ts';
import { responseHeaders } from '../../proxy/headers.ts';
import { preferredWait } from '../rest/acquire.ts';
import { type Header, NO_STORE, type ResponseDeps, sendJson, sendRefusal } from '../rest/response.ts';
import { isRefusal } from '../validation.ts';
import { pairsOf } from './proto-messages.ts';
import { requestJson } from './request-json.ts';
import { END_WAIT_MAX } from './service.ts';

/** Looks up a request as one credential may see it. */
export type LookUp = (id: string, wait: Micros, signal: AbortSignal) => Promise<RequestView | Refusal>;

/** What reading needs. */
export interface RequestReadingDeps extends ResponseDeps {
  readonly admission: ResponseDeps['admission'] & { epoch(at: ReturnType<ResponseDeps['admission']['now']>): number };
  /** Before the id: `/v1/requests/`, or the proxy's own path. */
  readonly path: string;
  /** The address is not the backends' own: what they answer may not act in its name in a browser. */
  readonly foreign: boolean;
  readonly onError: (error: unknown) => void;
}

/** How an ended request is answered: by a redirect to its response (default), by the response itself, or by its state as JSON. */
type ResponseForm = 'redirect' | 'direct' | 'state';

const RESPONSE_FORMS: ReadonlySet<string> = new Set(['redirect', 'direct', 'state']);
/** Fields of a stored answer that are written anew, or are not true of it any more. */
const REPLACED: ReadonlySet<string> = new Set(['content-length', 'cache-control', 'expires', 'age', 'date', 'x-content-type-options']);
/** Fields that speak for an address, which is not the backend's. */
const OF_ADDRESS: ReadonlySet<string> = new Set([
  'set-cookie',
  'content-security-policy',
  'strict-transport-security',
  'clear-site-data',
  'alt-svc',
  'service-worker-allowed',
]);

/**
 * Reads requests over plain HTTP: GET of the id answers 200 and the state, with Retry-After, until it is done (`Prefer: wait=N`
 * waits for that, 60 s at most); then 303 to its response, or as `?response=direct` or `?response=state` asks.
 */
export class RequestReading {
  readonly #deps: RequestReadingDeps;

  constructor(deps: RequestReadingDeps) {
    this.#deps = deps;
  }

  /** Answers a GET of a request. */
  show(lookUp: LookUp, id: string, request: EngineRequest, reply: EngineReply): void {
    const form = parseResponseForm(request.query);
    if (form === undefined) {
      const detail = 'The query may be `response=redirect`, `response=direct` or `response=state`, and nothing else.';
      return void sendRefusal(reply, this.#deps, { reason: 'malformed', detail });
    }
    this.#read(lookUp, id, request, reply, (view, headers) => {
      const ended = view.state === 'done' && view.response !== undefined;
      if (ended && form === 'direct') return this.#sendStored(view, headers, reply);
      const { path } = this.#deps;
      const json = JSON.stringify(requestJson(view, path));
      if (ended && form === 'redirect') return void sendJson(reply, 303, json, [...headers, ['Location', `${path}${id}/response`]]);
      const retry: readonly Header[] = isPending(view) ? [['Retry-After', String(this.#retrySeconds(view))]] : [];
      sendJson(reply, 200, json, [...headers, ...retry]);
    });
  }

  /** Answers a GET of a request's response: the backend's answer as it is kept. */
  showResponse(lookUp: LookUp, id: string, request: EngineRequest, reply: EngineReply): void {
    this.#read(lookUp, id, request, reply, (view, headers) => {
      if (view.response !== undefined) return this.#sendStored(view, headers, reply);
      if (isPending(view)) {
        const { admission } = this.#deps;
        const retryAt = admission.now() + this.#retrySeconds(view) * SECOND;
        const detail = 'This request has no response yet; try again later, or wait for it with `Prefer: wait=30`.';
        return void sendRefusal(reply, this.#deps, { reason: 'conflict', detail, retryAt: retryAt as ReturnType<typeof admission.now> });
      }
      sendRefusal(reply, this.#deps, {
        reason: 'gone',
        detail: `This request is ${view.state}${view.error === '' ? '' : ` (${view.error})`}; no response is kept of it.`,
      });
    });
  }

  /** Answers as the asynchronous queue of Lunar does: 202 until there is an answer, then that answer; 500 where there will be none. */
  showAsLunar(lookUp: LookUp, id: string, request: EngineRequest, reply: EngineReply): void {
    this.#read(lookUp, id, request, reply, (view, headers) => {
      if (view.response !== undefined) return this.#sendStored(view, headers, reply);
      if (!isPending(view)) return void sendJson(reply, 500, JSON.stringify({ msg: `The request is ${view.state}, without an answer.` }), headers);
      const retry: Header = ['Retry-After', String(this.#retrySeconds(view))];
      const own: readonly Header[] = [...headers, retry, ['Location', `/retrieve?sequence_id=${view.id}`], ['X-Lunar-Enqueued', 'true']];
      sendJson(reply, 202, JSON.stringify({ msg: 'The request has no answer yet; get it at Location.' }), own);
    });
  }

  #read(lookUp: LookUp, id: string, request: EngineRequest, reply: EngineReply, show: (view: RequestView, headers: readonly Header[]) => void): void {
    const { onError } = this.#deps;
    const preferred = preferredWait(request.header('prefer'));
    const seconds = preferred === undefined ? 0 : Math.min(preferred, END_WAIT_MAX / SECOND);
    const headers: readonly Header[] = preferred === undefined ? [] : [['Preference-Applied', `wait=${seconds}`]];
    const left = new AbortController();
    reply.onGone(() => left.abort());
    lookUp(id, seconds * SECOND, left.signal)
      .then((view) => {
        if (left.signal.aborted) return;
        if (isRefusal(view)) sendRefusal(reply, this.#deps, view);
        else show(view, headers);
      })
      .catch((error: unknown) => {
        onError(error);
        sendRefusal(reply, this.#deps, { reason: 'fault' });
      });
  }

  /** Whole seconds until something may have changed. */
  #retrySeconds({ nextAttemptAt }: RequestView): number {
    const { admission } = this.#deps;
    return Math.max(RETRY_UNKNOWN_SECONDS, toRetrySeconds((nextAttemptAt - admission.epoch(admission.now())) * MILLISECOND));
  }

  #sendStored({ id, attempts, response }: RequestView, more: readonly Header[], reply: EngineReply): void {
    if (response === undefined) return;
    const { foreign } = this.#deps;
    const kept = pairsOf(responseHeaders(response.headers) ?? []).filter(([name]) => {
      const lower = name.toLowerCase();
      return !REPLACED.has(lower) && !(foreign && OF_ADDRESS.has(lower)) && !lower.startsWith('sluice-');
    });
    const headers: Header[] = [
      ...kept,
      NO_STORE,
      ['Sluice-Request-Id', id],
      ['Sluice-Attempts', String(attempts)],
      ['X-Content-Type-Options', 'nosniff'],
      ...more,
    ];
    if (foreign) headers.push(['Content-Security-Policy', 'sandbox']);
    if (response.truncated) headers.push(['Sluice-Truncated', 'true']);
    const status = response.status >= 200 && response.status <= 599 ? response.status : 502;
    const bodiless = status === 204 || status === 205 || status === 304;
    reply.send(status, headers, bodiless ? '' : response.body);
  }
}

function isPending({ state }: RequestView): boolean {
  return state === 'pending' || state === 'sending';
}

function parseResponseForm(query: string): ResponseForm | undefined {
  if (query === '') return 'redirect';
  const [, form = ''] = /^response=([a-z]+)$/.exec(query) ?? [];
  return RESPONSE_FORMS.has(form) ? (form as ResponseForm) : undefined;
}
