/**
 * Holds many callers over gRPC on a few connections; as holder-http.
 * `node bench/api/holder-grpc.ts PORT GROUP WAITERS SECONDS FILE CONNECTIONS`
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { toProto } from '../../src/api/duration.ts';
import { AcquireRequestSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { Stamps, stamp } from './stamps.ts';

const [port = '', group = '', waiters = '', seconds = '', file = '', connections = '8'] = process.argv.slice(2);
const request = Buffer.from(toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { group, ttl: toProto(600_000_000) })));
const clients = Array.from(
  { length: Number(connections) },
  // One connection each: else grpc-js shares one between clients of one address.
  () => new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_concurrent_streams': 100_000 }),
);
const stamps = new Stamps(file);
const same = (bytes: Buffer): Buffer => bytes;
let over = false;

function ask(client: Client): void {
  const asked = stamp();
  client.makeUnaryRequest('/sluice.v1.AdmissionService/Acquire', same, same, request, (error: ServiceError | null) => {
    const at = stamp();
    if (error === null) stamps.add(asked, at);
    else stamps.refused(error.message);
    if (!over && error === null) ask(client);
  });
}

for (let at = 0; at < Number(waiters); at++) {
  ask(clients[at % clients.length] as Client);
  if (at % 500 === 499) await new Promise((done) => void setTimeout(done, 50));
}
// The last ones are on their way still.
setTimeout(() => process.send?.('held'), 1_000);
if (Number(seconds) > 0) {
  setTimeout(() => {
    over = true;
    stamps.write();
    process.exit(0);
  }, Number(seconds) * 1_000);
} else setInterval(() => {}, 1_000);
