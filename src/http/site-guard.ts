import type { EngineHandler, EngineRequest } from './engine.ts';

/** What distinguishes a page of another site from an operator. */
export interface SiteGuardOptions {
  /** Names in `Host` that are taken beside those of loopback, in lower case and without a port; undefined: all, since callers show a key that a page does not have. */
  readonly hosts: ReadonlySet<string> | undefined;
  readonly problem: (status: number, detail: string) => { readonly contentType: string; readonly body: string };
}

/** Why a request is not let in. */
interface Objection {
  readonly status: 403 | 415 | 421;
  readonly detail: string;
}

const HOST = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?$/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Types that a page may send to another site without asking (Fetch, "CORS-safelisted request-header"). */
const SIMPLE_TYPES: ReadonlySet<string> = new Set(['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded', '']);
/** Fields that a page may not send to another site without asking. */
const OWN_FIELDS = ['sluice-operator', 'sluice-request', 'x-requested-with', 'authorization'] as const;

/**
 * Keeps pages of other sites away from a listener of operators, in a browser that reaches it: a page can send requests to any address
 * (cross-site request forgery), and give an address of its own a new meaning (DNS rebinding). Refuses a foreign `Host` with 421, a
 * foreign `Origin` with 403, and a change that any page could send with 415. Reads the head only.
 */
export function siteGuard(options: SiteGuardOptions, next: EngineHandler): EngineHandler {
  return (request, reply) => {
    const objection = objectionTo(request, options.hosts);
    if (objection === undefined) return next(request, reply);
    const { contentType, body } = options.problem(objection.status, objection.detail);
    reply.send(objection.status, [['Content-Type', contentType]], body);
  };
}

function objectionTo(request: EngineRequest, hosts: ReadonlySet<string> | undefined): Objection | undefined {
  const host = request.header('host')?.toLowerCase() ?? '';
  const [, name] = HOST.exec(host) ?? [];
  if (hosts !== undefined && (name === undefined || !(LOOPBACK.test(name) || hosts.has(name)))) {
    return {
      status: 421,
      detail: 'This address takes operators under the names of loopback; add the name in Host to listen.admin.hosts if it is one of yours.',
    };
  }
  const changes = !READS.has(request.method);
  const site = request.header('sec-fetch-site');
  const foreign = changes && site !== undefined && site !== 'same-origin' && site !== 'none';
  const origin = request.header('origin');
  if (foreign || (origin !== undefined && !isOriginOf(origin, host))) {
    return { status: 403, detail: 'This address takes no requests from pages of other sites.' };
  }
  if (!changes || request.method === 'DELETE' || isDeliberate(request)) return undefined;
  return { status: 415, detail: 'Send changes as application/json, or with the header `Sluice-Operator: 1`, which pages of other sites cannot send.' };
}

/** Whether a page of this origin came from this very listener, whichever scheme a proxy before it speaks. */
function isOriginOf(origin: string, host: string): boolean {
  const [scheme] = /^https?:\/\//.exec(origin) ?? [];
  if (scheme === undefined || !URL.canParse(origin) || !URL.canParse(`${scheme}${host}`)) return false;
  return new URL(origin).host === new URL(`${scheme}${host}`).host;
}

function isDeliberate(request: EngineRequest): boolean {
  const [type = ''] = (request.header('content-type') ?? '').split(';', 1);
  return !SIMPLE_TYPES.has(type.trim().toLowerCase()) || OWN_FIELDS.some((field) => request.header(field) !== undefined);
}
