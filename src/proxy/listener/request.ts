import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Auth } from '../../api/auth.ts';
import { preferredWait, prefersAsync } from '../../api/rest/acquire.ts';
import type { Refusal } from '../../core/refusal.ts';
import { SECOND } from '../../core/time.ts';
import type { ProxyRoute } from '../../deferred/proxy-route.ts';
import { clientAddress } from '../../http/client-address.ts';
import type { FramingError } from '../../http/framing.ts';
import type { IncomingBody, IncomingRequest } from '../incoming.ts';
import { readValue } from '../request-values.ts';
import { createRouter, type RequestHead } from '../router.ts';
import type { RefusedRequest } from './error-response.ts';

/** Where a request goes; one that is refused may have been known already. */
export type RoutedRequest =
  | { readonly kind: 'nowhere'; readonly route?: undefined; readonly incoming?: undefined }
  | { readonly kind: 'refused'; readonly route: ProxyRoute | undefined; readonly incoming?: IncomingRequest | undefined; readonly refusal: Refusal }
  | { readonly kind: 'routed'; readonly route: ProxyRoute; readonly incoming: IncomingRequest };

/** Decides where a request goes; its framing was vouched for, `target` is in origin form. `wanted` is called once before its body is first read. */
export type RequestRouter = (request: IncomingMessage, target: string, wanted: () => void) => RoutedRequest;

/** The credential of a caller of the proxy; `Authorization` is the backend's, and passes. Removed before anything is sent on. */
const CREDENTIAL = 'sluice-authorization';

/** Methods whose requests have a body unless they declare otherwise. */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

const NOT_PASSED_ON: FramingError = { status: 501, detail: 'CONNECT and TRACE are not passed on.' };

/** What is wrong with the method of a request to be passed on, if anything: the parser knows the rest of them. */
export function checkForwardedMethod(method: string): FramingError | undefined {
  return method === 'CONNECT' || method === 'TRACE' || method === '' ? NOT_PASSED_ON : undefined;
}

/** An upgrade that is passed on: to websocket, by GET, without a body (RFC 6455 4.1). Others stay requests, without their Upgrade field. */
export function isWebSocket({ method, headers, httpVersion }: IncomingMessage): boolean {
  const bare = headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
  return method === 'GET' && httpVersion === '1.1' && bare && headers.upgrade?.trim().toLowerCase() === 'websocket';
}

/** Dependencies of a request router. */
export interface RequestRouterDeps {
  readonly routes: readonly ProxyRoute[];
  readonly auth: Pick<Auth, 'demanded' | 'identify'>;
  readonly scheme: 'http' | 'https';
  /** Refuses paths that servers read in different ways, where that makes another route of them. */
  readonly refusesAmbiguous: boolean;
}

/** Creates a request router from routes and credentials. */
export function createRequestRouter({ routes, auth, scheme, refusesAmbiguous }: RequestRouterDeps): RequestRouter {
  const router = createRouter(routes, refusesAmbiguous);
  return (request, target, wanted) => {
    const head = new Head(request, target);
    const routed = target === '*' ? undefined : router(head);
    if (routed === undefined) return UNROUTED;
    if (routed.kind === 'ambiguous') return { kind: 'refused', route: undefined, refusal: { reason: 'malformed', detail: routed.detail } };
    const { route } = routed;
    const credential = head.header(CREDENTIAL);
    const caller = credential === undefined && !route.needsCaller ? '' : auth.identify(credential);
    if (typeof caller !== 'string') return { kind: 'refused', route, refusal: auth.demanded && credential === undefined ? NO_CREDENTIAL : caller };
    const { clientIp, peerIp, peerTrusted } = clientAddress(request.socket.remoteAddress, head, route.trusted);
    const facts = { params: routed.names, caller, clientIp, peerIp, peerTrusted, scheme };
    const prefer = head.header('prefer');
    const seconds = prefer === undefined ? undefined : preferredWait(prefer);
    const wait = seconds === undefined ? undefined : seconds * SECOND;
    const incoming = {
      method: head.method,
      target,
      headers: request.rawHeaders,
      facts,
      wait,
      respondAsync: prefersAsync(prefer),
      body: bodyOf(request, wanted),
    };
    return { kind: 'routed', route, incoming };
  };
}

/** Whom a refusal is for. */
export function refusalTarget(entered: RoutedRequest, accept = ''): RefusedRequest {
  const { route, incoming } = entered;
  const admission = route?.route.admission;
  const key = incoming === undefined || admission?.key === undefined ? '' : readValue(admission.key, incoming);
  return { group: admission?.group, key, accept, refusal: route?.refusal };
}

/** A request that no route takes, or not yet known to be taken. */
export const UNROUTED: RoutedRequest = { kind: 'nowhere' };

const NO_CREDENTIAL: Refusal = { reason: 'unauthenticated', detail: 'Send `Sluice-Authorization: Bearer` with an API key of this server.' };

/** What routing looks at. */
class Head implements RequestHead {
  readonly method: string;
  readonly path: string;
  readonly host: string | undefined;
  readonly #headers: IncomingHttpHeaders;

  constructor({ method = '', headers }: IncomingMessage, target: string) {
    const mark = target.indexOf('?');
    this.method = method;
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.host = headers.host;
    this.#headers = headers;
  }

  header(name: string): string | undefined {
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }
}

function bodyOf(request: IncomingMessage, wanted: () => void): IncomingBody | undefined {
  const length = request.headers['content-length'];
  if (request.headers['transfer-encoding'] !== undefined) return { length: undefined, stream: request, wanted };
  if (length === undefined || (Number(length) === 0 && !WITH_BODY.has(request.method ?? ''))) return undefined;
  return { length: Number(length), stream: request, wanted };
}
