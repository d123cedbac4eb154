import { badJson } from './runners.ts';
import type { Answer, Badness, Fields, Runner } from './table.ts';

/** Method and path of each call in plain HTTP; `{name}` is taken out of the fields. */
const PATHS: Readonly<Record<string, readonly [method: string, path: string]>> = {
  Acquire: ['POST', '/v1/groups/{group}/acquire'],
  Explain: ['GET', '/v1/groups/{group}/explain'],
  Renew: ['POST', '/v1/permits/{permit}/renew'],
  Release: ['POST', '/v1/permits/{permit}/release'],
  ListGroups: ['GET', '/v1/groups'],
  GetGroup: ['GET', '/v1/groups/{group}'],
  ListWaiters: ['GET', '/v1/groups/{group}/waiters'],
  ListLeases: ['GET', '/v1/groups/{group}/leases'],
  Pause: ['POST', '/v1/groups/{group}/pause'],
  Resume: ['POST', '/v1/groups/{group}/resume'],
  Override: ['POST', '/v1/groups/{group}/override'],
  EvictWaiter: ['DELETE', '/v1/groups/{group}/waiters/{waiter}'],
  RevokeLease: ['DELETE', '/v1/groups/{group}/leases/{permit}'],
};

/** Plain HTTP by fetch: fields as JSON, or, with `asQuery` and where there is no body, in the query. */
export function restRunner(baseUrl: string, asQuery: boolean, authorization?: string): Runner {
  // The address of operators takes no change that a page of another site could send.
  const credential: Record<string, string> = authorization === undefined ? { 'Sluice-Request': '1' } : { Authorization: authorization };
  const type: Record<string, string> = { 'Content-Type': 'application/json', ...credential };
  return {
    name: asQuery ? 'plain HTTP, query' : 'plain HTTP, JSON',
    async call(name, fields) {
      const [method, pattern] = PATHS[name] ?? ['GET', '/nowhere'];
      const rest: Record<string, unknown> = { ...fields, ...(fields['ask'] as object | undefined) };
      delete rest['ask'];
      const path = pattern.replaceAll(/\{(\w+)\}/g, (_, part: string) => {
        const value = encodeURIComponent(String(rest[part] ?? ''));
        delete rest[part];
        return value;
      });
      if (typeof rest['outcome'] === 'string') rest['outcome'] = rest['outcome'].replace('OUTCOME_', '').toLowerCase();
      const inQuery = method !== 'POST' || (asQuery && name !== 'Override');
      const query = inQuery ? queryOf(rest) : '';
      const body = inQuery || Object.keys(rest).length === 0 ? { headers: credential } : { body: JSON.stringify(rest), headers: type };
      return answerOf(name, await fetch(`${baseUrl}${path}${query}`, { method, ...body }));
    },
    async bad(badness: Badness) {
      const headers = badness === 'content_type' ? { 'Content-Type': 'text/plain' } : type;
      return answerOf('Acquire', await fetch(`${baseUrl}/v1/groups/open/acquire`, { method: 'POST', headers, body: badJson(badness) }));
    },
    close: () => Promise.resolve(),
  };
}

function queryOf(fields: Fields): string {
  const pairs: [string, string][] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (name !== 'costs') pairs.push([name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), String(value)]);
    else for (const [unit, cost] of Object.entries(value as Fields)) pairs.push([unit === 'requests' ? 'cost' : `cost.${unit}`, String(cost)]);
  }
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}

/** Codes by reason, as the other protocols have them; plain HTTP has only a status and the reason. */
const CODES: Readonly<Record<string, string>> = {
  malformed: 'invalid_argument',
  unknown_group: 'not_found',
  oversized: 'failed_precondition',
  too_large: 'resource_exhausted',
  shed: 'resource_exhausted',
  expired: 'resource_exhausted',
  infeasible: 'resource_exhausted',
  fenced: 'aborted',
  unknown_permit: 'not_found',
  unknown_request: 'not_found',
};

async function answerOf(name: string, response: Response): Promise<Answer> {
  const body = (await response.json()) as Record<string, unknown>;
  if (response.ok) return { ok: true, fields: name === 'GetGroup' ? { group: body } : body };
  const reason = String(body['reason'] ?? '');
  return {
    ok: false,
    code: CODES[reason],
    reason: reason === '' ? undefined : reason.toUpperCase(),
    limit: body['limit'] as string | undefined,
    retry: response.headers.has('retry-after'),
    message: String(body['detail']),
    http: response.status,
  };
}
