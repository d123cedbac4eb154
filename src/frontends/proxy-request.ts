import type { IncomingMessage } from 'node:http';
import type { Refusal } from '../core/refusal.ts';
import { SECOND } from '../core/time.ts';
import type { IncomingBody, IncomingRequest } from '../forward/incoming.ts';
import type { Route } from '../forward/route.ts';
import { createRouter, type RequestHead } from '../forward/routing.ts';
import { textOf } from '../forward/sources.ts';
import type { Auth } from './auth.ts';
import type { Fault } from './engines/framing.ts';
import { clientAddress } from './proxy-client.ts';
import type { RefusedRequest } from './proxy-refusal.ts';
import type { ProxyRoute } from './proxy-route.ts';
import { preferredWait } from './rest-acquire.ts';

/** Where a request goes. */
export type Entered =
  | { readonly kind: 'nowhere'; readonly whom: RefusedRequest }
  | { readonly kind: 'refused'; readonly whom: RefusedRequest; readonly refusal: Refusal }
  | {
      readonly kind: 'routed';
      readonly whom: RefusedRequest;
      readonly route: Route;
      readonly known: KnownRequest;
    };

/** A request for forwarding, but for its body. */
export type KnownRequest = Omit<IncomingRequest, 'body'>;

/** Decides where a request goes; its framing was vouched for, `target` is in origin form. */
export type Door = (request: IncomingMessage, target: string) => Entered;

/** The credential of a caller of the proxy; `Authorization` is the backend's, and passes. Removed before anything is sent on. */
const CREDENTIAL = 'sluice-authorization';

/** Methods whose requests have a body unless they say otherwise. */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

const NOT_PASSED_ON: Fault = { status: 501, detail: 'CONNECT and TRACE are not passed on.' };

/** What is wrong with the method of a request to be passed on, if anything: the parser knows the rest of them. */
export function forwardedMethodFault(method: string): Fault | undefined {
  return method === 'CONNECT' || method === 'TRACE' || method === '' ? NOT_PASSED_ON : undefined;
}

/** An upgrade that is passed on: to websocket, by GET, without a body (RFC 6455 4.1). Others stay requests, without their Upgrade field. */
export function isWebSocket({ method, headers, httpVersion }: IncomingMessage): boolean {
  const bare = headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
  return method === 'GET' && httpVersion === '1.1' && bare && headers.upgrade?.trim().toLowerCase() === 'websocket';
}

/** Joins routes and credentials to a door. */
export function createDoor(routes: readonly ProxyRoute[], auth: Pick<Auth, 'demanded' | 'identify'>, scheme: 'http' | 'https'): Door {
  const router = createRouter(routes);
  return (request, target) => {
    const head = new Head(request, target);
    const routed = target === '*' ? undefined : router(head);
    const accept = request.headers.accept ?? '';
    if (routed === undefined) return { kind: 'nowhere', whom: { group: undefined, key: '', accept, refusal: undefined } };
    const { route, refusal, trusted, needsCaller } = routed.route;
    const group = route.admission?.group;
    const credential = head.header(CREDENTIAL);
    const caller = credential === undefined && !needsCaller ? '' : auth.identify(credential);
    if (typeof caller !== 'string') {
      const whom = { group, key: '', accept, refusal };
      return { kind: 'refused', whom, refusal: auth.demanded && credential === undefined ? NO_CREDENTIAL : caller };
    }
    const { clientIp, peerIp, peerTrusted } = clientAddress(request.socket.remoteAddress, head.header, trusted);
    const facts = { params: routed.names, caller, clientIp, peerIp, peerTrusted, scheme };
    const prefer = head.header('prefer');
    const seconds = prefer === undefined ? undefined : preferredWait(prefer);
    const wait = seconds === undefined ? undefined : seconds * SECOND;
    const known = { method: head.method, target, headers: request.rawHeaders, facts, wait };
    const key = route.admission?.key === undefined ? '' : textOf(route.admission.key, known);
    return { kind: 'routed', whom: { group, key, accept, refusal }, route, known };
  };
}

/** The request for forwarding, whole; `wanted` is called once before its body is first read. */
export function incomingOf({ method, target, headers, facts, wait }: KnownRequest, request: IncomingMessage, wanted: () => void): IncomingRequest {
  return { method, target, headers, facts, wait, body: bodyOf(request, wanted) };
}

const NO_CREDENTIAL: Refusal = { reason: 'unauthenticated', detail: 'Send `Sluice-Authorization: Bearer` with an API key of this server.' };

/** What routing looks at. */
class Head implements RequestHead {
  readonly method: string;
  readonly path: string;
  readonly host: string | undefined;
  readonly header: (name: string) => string | undefined;

  constructor({ method = '', headers }: IncomingMessage, target: string) {
    const mark = target.indexOf('?');
    this.method = method;
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.host = headers.host;
    this.header = (name) => {
      const value = headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    };
  }
}

function bodyOf(request: IncomingMessage, wanted: () => void): IncomingBody | undefined {
  const length = request.headers['content-length'];
  if (request.headers['transfer-encoding'] !== undefined) return { length: undefined, stream: request, wanted };
  if (length === undefined || (Number(length) === 0 && !WITH_BODY.has(request.method ?? ''))) return undefined;
  return { length: Number(length), stream: request, wanted };
}
