import type { ServiceDeps } from '../../src/api/admission-service.ts';
import { type Auth, createAuth } from '../../src/api/auth.ts';
import { Connect } from '../../src/api/connect/handler.ts';
import type { FloodKind, GrpcBounds } from '../../src/api/grpc/guard.ts';
import { Grpc } from '../../src/api/grpc/server.ts';
import { nodeEngine } from '../../src/http/node/engine.ts';
import type { EngineFactory } from '../../src/http/select-engine.ts';
import { FakeAdmission } from '../support/fakes/admission.ts';

/** Front ends before a fake admission, on ports of their own; a fault of theirs fails the test by being thrown. */
export interface Started {
  readonly admission: FakeAdmission;
  stop(): Promise<void>;
}

function partsOf(admission: FakeAdmission, auth: Auth = createAuth([]), operators = true): ServiceDeps & { readonly operators: boolean } {
  const onError = (error: unknown): void => {
    throw error;
  };
  return { admission, auth, onError, operators };
}

/** As by default. */
export const GRPC_BOUNDS: GrpcBounds = {
  streamsMax: 1_000,
  opensPerSecondMax: 10_000,
  resetsMax: 950,
  bytesPerSecondMax: 4 << 20,
  firstMessageMs: 10_000,
  unreadMs: 60_000,
  unreadBytesMax: 4 << 20,
};

/** gRPC before a fake admission. */
export async function startGrpc(
  bounds: Partial<GrpcBounds> = {},
): Promise<Started & { readonly address: string; readonly grpc: Grpc; readonly floods: readonly FloodKind[] }> {
  const admission = new FakeAdmission();
  const floods: FloodKind[] = [];
  const onFlood = (kind: FloodKind): void => void floods.push(kind);
  const grpc = new Grpc({ ...partsOf(admission), host: '127.0.0.1', port: 0, bounds: { ...GRPC_BOUNDS, ...bounds }, onFlood });
  const { address } = await grpc.listen();
  return { admission, address, grpc, floods, stop: () => grpc.drain(100) };
}

/** What a test may want otherwise. */
export interface ApiOptions {
  readonly auth?: Auth;
  readonly operators?: boolean;
  readonly make?: EngineFactory;
}

/** Connect and gRPC-Web on node:http before a fake admission. */
export async function startApi({ auth, operators, make = nodeEngine }: ApiOptions = {}): Promise<Started & { readonly baseUrl: string }> {
  const admission = new FakeAdmission();
  const connect = new Connect(partsOf(admission, auth, operators));
  const problem = (status: number, detail: string) => ({ contentType: 'application/problem+json', body: JSON.stringify({ status, detail }) });
  const engine = make({ bodyBytesMax: 262_144, receiveMsMax: 10_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem }, (request, reply) =>
    connect.handle(request, reply),
  );
  const { host, port } = await engine.listen('127.0.0.1', 0);
  return { admission, baseUrl: `http://${host}:${port}`, stop: () => engine.close(100) };
}
