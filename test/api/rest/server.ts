import { createAuth } from '../../../src/api/auth.ts';
import { engineProblem } from '../../../src/api/problem.ts';
import { Rest, type RestOptions } from '../../../src/api/rest/handler.ts';
import { type EngineFactory, selectEngine } from '../../../src/http/select-engine.ts';
import { FakeAdmission } from '../../support/fakes/admission.ts';

/** Plain HTTP before a fake admission, on an engine. */
export interface RestServer {
  readonly admission: FakeAdmission;
  readonly baseUrl: string;
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts plain HTTP; a fault of its own fails the test by being thrown. */
export async function startRest(options: Partial<RestOptions> = {}, make?: EngineFactory): Promise<RestServer> {
  const admission = new FakeAdmission();
  const onError = (error: unknown): void => {
    throw error;
  };
  const rest = new Rest({ admission, auth: createAuth([]), onError, operators: true, refusalOf: () => undefined, ...options });
  const engineOf = make ?? (await selectEngine('node', { clientCa: false })).make;
  const engine = engineOf(
    { bodyBytesMax: 262_144, receiveMsMax: 10_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem: engineProblem },
    (request, reply) => rest.handle(request, reply),
  );
  const { host, port } = await engine.listen('127.0.0.1', 0);
  return { admission, baseUrl: `http://${host}:${port}`, port, stop: () => engine.close(100) };
}
