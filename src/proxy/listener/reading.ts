import type { ServiceDeps } from '../../api/admission-service.ts';
import type { DeferredAccess } from '../../api/deferred/access.ts';
import { type LookUp, RequestReading } from '../../api/deferred/request-reading.ts';
import { DeferredApi } from '../../api/deferred/service.ts';
import { decoded } from '../../api/rest/form-query.ts';
import { type ResponseDeps, sendRefusal } from '../../api/rest/response.ts';
import { isRefusal } from '../../api/validation.ts';
import type { EngineReply, EngineRequest } from '../../http/engine.ts';

/** What the proxy's own path needs. */
export interface ProxyReadingDeps extends Pick<ServiceDeps, 'admission' | 'auth' | 'onError'> {
  readonly refusalOf: ResponseDeps['refusalOf'];
  readonly random: () => number;
}

const PATH = '/.sluice/requests/';
/** Where routes with `answer: { shape: lunar }` send their callers. */
const LUNAR = /^\/retrieve(?:$|\?)/;

/**
 * Deferred requests as their senders read them on the proxy: GET of `/.sluice/requests/{id}` and of its `/response`, as below
 * /v1/requests. A caller without `Sluice-Authorization` sees what was submitted without, by its id.
 */
export class ProxyReading {
  readonly #deps: ProxyReadingDeps;
  readonly #api: DeferredApi;
  readonly #reading: RequestReading;

  constructor(deps: ProxyReadingDeps, access: DeferredAccess) {
    this.#deps = deps;
    this.#api = new DeferredApi(deps, access);
    this.#reading = new RequestReading({ ...deps, path: PATH, foreign: false });
  }

  /** Whether a target in origin form is read here, and by no route. */
  takes(target: string, asLunar: boolean): boolean {
    return target.startsWith(PATH) || (asLunar && LUNAR.test(target));
  }

  /** Answers a GET or HEAD without a body. */
  handle(request: EngineRequest, reply: EngineReply): void {
    const { auth } = this.#deps;
    const asLunar = LUNAR.test(request.path);
    const [, asked] = /(?:^|&)sequence_id=([^&]{1,128})(?:&|$)/.exec(request.query) ?? [];
    if (asLunar && asked === undefined) return void sendRefusal(reply, this.#deps, { reason: 'malformed', detail: 'Say which: `/retrieve?sequence_id=ID`.' });
    const [, named, tail] = /^\/\.sluice\/requests\/([^/]{1,128})(\/response)?$/.exec(request.path) ?? [];
    const id = asLunar ? asked : named;
    const name = id === undefined ? undefined : decoded(id);
    if (name === undefined) return void sendRefusal(reply, this.#deps, { reason: 'unknown_request' });
    const credential = request.header('sluice-authorization');
    const caller = auth.demanded && credential === undefined ? undefined : auth.identify(credential);
    if (caller !== undefined && isRefused(caller)) return void sendRefusal(reply, this.#deps, caller);
    const lookUp: LookUp =
      caller === undefined
        ? (of, wait, signal) => this.#api.getOwn(of, wait, signal)
        : (of, wait, signal) => this.#api.get({ caller, remaining: undefined }, of, wait, signal);
    if (asLunar) this.#reading.showAsLunar(lookUp, name, request, reply);
    else if (tail === undefined) this.#reading.show(lookUp, name, request, reply);
    else this.#reading.showResponse(lookUp, name, request, reply);
  }
}

function isRefused<T extends object>(caller: string | T): caller is T {
  return typeof caller !== 'string' && isRefusal(caller);
}
