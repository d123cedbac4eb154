/** Methods that some path answers to; HEAD is GET, OPTIONS lists them. */
export type RestMethod = 'GET' | 'POST' | 'DELETE';

/** Calls of plain HTTP about deferred requests. */
export type RequestCall = 'Submit' | 'ListRequests' | 'RedriveMany' | 'GetRequest' | 'GetResponse' | 'CancelRequest' | 'Redrive';

/** What is done: a call of the API by its name, or `Again` for the Location of a 202. */
export type RestCall =
  | 'Acquire'
  | 'Again'
  | 'Explain'
  | 'Renew'
  | 'Release'
  | 'ListGroups'
  | 'GetGroup'
  | 'ListWaiters'
  | 'ListLeases'
  | 'Pause'
  | 'Resume'
  | 'Override'
  | 'EvictWaiter'
  | 'RevokeLease'
  | 'ListActivity'
  | 'GetMe'
  | 'GetServer'
  | RequestCall;

/** Parts of a path by the names of fields. */
export type Path = Readonly<Record<string, string>>;

/** What a path answers to. */
export type Methods = Readonly<Partial<Record<RestMethod, RestCall>>>;

/** All paths of plain HTTP; `{name}` stands for one part of a path. */
export const PATHS: readonly (readonly [path: string, methods: Methods])[] = [
  ['/v1/groups/{group}/acquire', { POST: 'Acquire' }],
  ['/v1/groups/{group}/acquire/{ticket}', { GET: 'Again', DELETE: 'Again' }],
  ['/v1/groups/{group}/requests/{requestId}', { DELETE: 'Release' }],
  ['/v1/groups/{group}/explain', { GET: 'Explain' }],
  ['/v1/permits/{permit}/renew', { POST: 'Renew' }],
  ['/v1/permits/{permit}/release', { POST: 'Release' }],
  ['/v1/groups', { GET: 'ListGroups' }],
  ['/v1/groups/{group}', { GET: 'GetGroup' }],
  ['/v1/groups/{group}/waiters', { GET: 'ListWaiters' }],
  ['/v1/groups/{group}/waiters/{waiter}', { DELETE: 'EvictWaiter' }],
  ['/v1/groups/{group}/leases', { GET: 'ListLeases' }],
  ['/v1/groups/{group}/leases/{permit}', { DELETE: 'RevokeLease' }],
  ['/v1/groups/{group}/pause', { POST: 'Pause' }],
  ['/v1/groups/{group}/resume', { POST: 'Resume' }],
  ['/v1/groups/{group}/override', { POST: 'Override' }],
  ['/v1/activity', { GET: 'ListActivity' }],
  ['/v1/me', { GET: 'GetMe' }],
  ['/v1/server', { GET: 'GetServer' }],
  ['/v1/requests', { POST: 'Submit', GET: 'ListRequests' }],
  ['/v1/requests/redrive', { POST: 'RedriveMany' }],
  ['/v1/requests/{id}', { GET: 'GetRequest', DELETE: 'CancelRequest' }],
  ['/v1/requests/{id}/response', { GET: 'GetResponse' }],
  ['/v1/requests/{id}/cancel', { POST: 'CancelRequest' }],
  ['/v1/requests/{id}/redrive', { POST: 'Redrive' }],
];

const BY_LENGTH = new Map<number, { readonly parts: readonly string[]; readonly methods: Methods }[]>();
for (const [path, methods] of PATHS) {
  const parts = path.split('/');
  BY_LENGTH.set(parts.length, [...(BY_LENGTH.get(parts.length) ?? []), { parts, methods }]);
}

/** What answers at a path as it was sent; parts are still encoded. */
export function route(path: string): { readonly path: Path; readonly methods: Methods } | undefined {
  const parts = path.split('/');
  for (const { parts: pattern, methods } of BY_LENGTH.get(parts.length) ?? []) {
    const fields = matched(pattern, parts);
    if (fields !== undefined) return { path: fields, methods };
  }
  return undefined;
}

/** The Allow field of a path. */
export function allowed(methods: Methods): string {
  const names = Object.keys(methods);
  return [...names, ...(names.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
}

function matched(pattern: readonly string[], parts: readonly string[]): Path | undefined {
  for (let index = 0; index < pattern.length; index += 1) {
    if (pattern[index]?.charCodeAt(0) !== 0x7b && pattern[index] !== parts[index]) return undefined;
  }
  const fields: Record<string, string> = {};
  for (let index = 0; index < pattern.length; index += 1) {
    if (pattern[index]?.charCodeAt(0) === 0x7b) fields[pattern[index]?.slice(1, -1) ?? ''] = parts[index] ?? '';
  }
  return fields;
}
