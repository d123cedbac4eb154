import type { Answer, Fields, Runner } from './table.ts';

/** DeferredService as plain HTTP has it, in the words of the table: fields and answers as proto3 JSON. */
export function restRequestsRunner(baseUrl: string, authorization?: string): Runner {
  const credential: Record<string, string> = authorization === undefined ? {} : { Authorization: authorization };
  const send = (method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<Response> => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    return fetch(baseUrl + path, {
      method,
      ...sent,
      headers: { ...credential, ...(body && { 'Content-Type': 'application/json' }), ...headers },
      redirect: 'manual',
    });
  };
  const call = async (name: string, fields: Fields): Promise<Answer> => {
    const id = encodeURIComponent(String(fields['id'] ?? ''));
    switch (name) {
      case 'Submit':
        return answerOf(await send('POST', '/v1/requests', submitOf(fields)));
      case 'GetRequest': {
        const wait = fields['wait'] === undefined ? {} : { Prefer: `wait=${Number.parseInt(String(fields['wait']), 10)}` };
        const state = await answerOf(await send('GET', `/v1/requests/${id}?response=state`, undefined, wait));
        return state.ok ? { ok: true, fields: { request: await requestOf(state.fields, await send('GET', `/v1/requests/${id}/response`)) } } : state;
      }
      case 'CancelRequest':
        return answerOf(await send('DELETE', `/v1/requests/${id}`));
      case 'ListRequests': {
        const state = String(fields['state'] ?? '')
          .replace('REQUEST_STATE_', '')
          .toLowerCase();
        const { pageSize, pageToken, ...filter } = fields;
        const query = { ...filter, page_size: pageSize ?? 0, page_token: pageToken ?? '', state };
        return answerOf(await send('GET', `/v1/requests?${new URLSearchParams(query as unknown as Record<string, string>)}`));
      }
      default:
        return answerOf(id === '' ? await send('POST', '/v1/requests/redrive', fields) : await send('POST', `/v1/requests/${id}/redrive`, {}));
    }
  };
  return { name: 'plain HTTP', call, bad: () => Promise.reject(new Error('Not asked here.')), close: () => Promise.resolve() };
}

function submitOf({ body, headers, retryDelays, ...rest }: Fields): object {
  const pairs = (headers as { name: string; value: string }[] | undefined)?.map(({ name, value }) => [name, value] as const);
  const { delays } = (retryDelays ?? {}) as { delays?: readonly string[] };
  return {
    ...rest,
    ...(body !== undefined && { bodyBase64: body }),
    ...(pairs && { headers: Object.fromEntries(pairs) }),
    ...(delays && { retryDelays: delays }),
  };
}

/** The state with its response, as the other protocols have both in one. */
async function requestOf(state: Record<string, unknown>, response: Response): Promise<object> {
  const { error, callback, nextAttemptAt, waitsFor, bodyBytes, tries = [], response: shown, ...rest } = state;
  const after = typeof nextAttemptAt === 'string' ? `${(Date.parse(nextAttemptAt) - 1_000_000_000_000) / 1000}s` : undefined;
  const { headers = [], truncated } = (shown ?? {}) as { headers?: [string, string][]; truncated?: boolean };
  return {
    ...rest,
    state: `REQUEST_STATE_${String(state['state']).toUpperCase()}`,
    bodyBytes: String(bodyBytes),
    failure: error,
    nextAttemptAfter: after,
    ...(waitsFor !== undefined && { waitsFor: `REQUEST_WAIT_${String(waitsFor).toUpperCase()}` }),
    callbackState: `CALLBACK_STATE_${String(callback).toUpperCase()}`,
    tries: (tries as { firstBytes: string }[]).map((each) => ({ ...each, firstBytes: Buffer.from(each.firstBytes ?? '').toString('base64') })),
    response: {
      status: response.status,
      headers: headers.map(([name, value]) => ({ name, value })),
      body: Buffer.from(await response.arrayBuffer()).toString('base64'),
      truncated,
    },
  };
}

const CODES: Readonly<Record<string, string>> = {
  ...{ malformed: 'invalid_argument', unknown_group: 'not_found', too_large: 'resource_exhausted', unknown_request: 'not_found', gone: 'not_found' },
  ...{ conflict: 'already_exists', unstored: 'unavailable', forbidden: 'permission_denied', unauthenticated: 'unauthenticated' },
};

async function answerOf(response: Response): Promise<Answer & { fields: Record<string, unknown> }> {
  const body = (await response.json()) as Record<string, unknown>;
  if (response.ok) return { ok: true, fields: body };
  const reason = String(body['reason']);
  return {
    ...{ ok: false, fields: {}, code: CODES[reason], reason: reason.toUpperCase(), limit: undefined, retry: response.headers.has('retry-after') },
    ...{ message: String(body['detail']), http: response.status },
  } as Answer & { fields: Record<string, unknown> };
}
