import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { Credential } from '../../../src/admission/credential.ts';
import { createAuth } from '../../../src/api/auth.ts';
import type { SubmitRoute } from '../../../src/api/deferred/submit-routes.ts';
import type { OperatorEvent } from '../../../src/api/operator-event.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { DeferredRequests } from '../../../src/deferred/deferred.ts';
import { openListeners } from '../../../src/server/listeners.ts';
import { createLog } from '../../../src/telemetry/log.ts';
import { FakeAdmission } from '../../support/fakes/admission.ts';
import { FakeDeferred, fakeAccess, submitRoute } from '../../support/fakes/deferred.ts';

/** Every listener as the server opens it, before a fake admission and fake deferred requests. */
export interface DeferredServer {
  readonly api: string;
  readonly admin: string;
  readonly proxy: string;
  readonly grpc: string;
  readonly requests: FakeDeferred;
  readonly operators: readonly OperatorEvent[];
  stop(graceMs?: number): Promise<void>;
}

/** The usual routes: of group `slots`, whose key is a header; of `open`; of one host. */
export const ROUTES: readonly SubmitRoute[] = [
  submitRoute('erp', '/erp/*', {
    key: { from: 'header', name: 'x-tenant' },
    costs: [{ unit: 'tokens', ask: { from: 'json', path: ['n'] }, fallback: 7, settle: undefined }],
  }),
  submitRoute('hooks', '/hooks/{shop}', { group: 'open', key: { from: 'path', name: 'shop' }, priorityClass: { from: 'header', name: 'x-class' } }),
  submitRoute('hosted', '/only/*', { group: 'open' }, 'shop.example.com', 10),
];

/** A credential whose key is its name. */
export function keyFor(name: string, more: Partial<Credential>): Credential {
  return { name, sha256: createHash('sha256').update(name).digest('hex'), can: ['acquire'], groups: undefined, key: undefined, classes: undefined, ...more };
}

/** The proxy listens only where something is forwarded. */
const FORWARD = 'backends: { erp: { urls: [ http://127.0.0.1:1 ] } }\nroutes: [ { match: { path: /none }, backend: erp } ]\n';

/** Starts it. `requests` undefined: deferred mode is off. */
export async function startDeferred(
  options: {
    readonly keys?: readonly Credential[];
    readonly routes?: readonly SubmitRoute[];
    readonly off?: boolean;
    readonly requests?: DeferredRequests;
    readonly config?: string;
  } = {},
): Promise<DeferredServer> {
  const { keys = [], routes = ROUTES, off = false, config: more = '' } = options;
  const listeners = ['api', 'grpc', 'proxy', 'admin'].map((name) => `${name}: "127.0.0.1:0"`).join(', ');
  const named = keys.map(({ name, sha256 }) => `{ name: ${name}, sha256: ${sha256}, can: [ acquire ] }`).join(', ');
  const text = `listen: { ${listeners}, health: none }\nhttp: { engine: node }\nstore: memory\nallowEmpty: true\n${FORWARD}${more}${keys.length === 0 ? '' : `auth: { keys: [ ${named} ] }\n`}`;
  const loaded = loadConfig({ text, name: 'deferred.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  const requests = new FakeDeferred();
  const operators: OperatorEvent[] = [];
  const auth = createAuth(keys);
  const onError = (error: unknown): void => {
    throw error;
  };
  const running = await openListeners(loaded.config, {
    ...{
      admission: new FakeAdmission(),
      auth,
      onError,
      refusalOf: () => undefined,
      version: '0',
      revision: () => 0,
      onShed: () => {},
      log: createLog('silent', new PassThrough().resume()),
    },
    onOperator: (event) => String(operators.push(event)),
    health: { notReady: () => undefined, remarks: () => [], metrics: async () => ({ contentType: 'text/plain', body: '' }), onError },
    proxy: { routes: [], forwarding: {} as never, auth, onClientLimit: () => {} },
    gatewayQueue: undefined,
    deferred: off ? undefined : fakeAccess(options.requests ?? requests, routes),
  });
  const http = (name: string): string => `http://${running.addresses[name]}`;
  return {
    ...{ api: http('api'), admin: http('admin'), proxy: http('proxy'), grpc: running.addresses['grpc'] ?? '', requests, operators },
    stop: (graceMs = 100) => running.drain(graceMs),
  };
}
