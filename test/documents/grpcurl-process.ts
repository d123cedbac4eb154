import { fromBinary, fromJsonString, toBinary, toJsonString } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { AdmissionService } from '../../src/gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../../src/gen/sluice/v1/deferred_pb.ts';
import { GroupService } from '../../src/gen/sluice/v1/group_pb.ts';

/* `grpcurl -plaintext -d JSON ADDRESS SERVICE/METHOD` for unary methods of Sluice, where grpcurl itself is not to be had. */

const [plaintext, data, json = '', address = '', target = '', ...more] = process.argv.slice(2);
const methods = [AdmissionService, DeferredService, GroupService].flatMap(({ methods: all }) => all);
const method = methods.find(({ parent, name }) => target === `${parent.typeName}/${name}`);
if (plaintext !== '-plaintext' || data !== '-d' || more.length > 0 || method?.methodKind !== 'unary') {
  process.stderr.write('the stand-in for grpcurl takes: -plaintext -d JSON ADDRESS SERVICE/METHOD, unary\n');
  process.exit(2);
}
const client = new Client(address, credentials.createInsecure());
client.makeUnaryRequest(
  `/${target}`,
  (bytes: Uint8Array) => Buffer.from(bytes),
  (bytes: Buffer) => fromBinary(method.output, bytes),
  toBinary(method.input, fromJsonString(method.input, json)),
  (error, answer) => {
    if (error !== null) process.stderr.write(`ERROR:\n  Code: ${error.code}\n  Message: ${error.details}\n`);
    else if (answer !== undefined) process.stdout.write(`${toJsonString(method.output, answer, { prettySpaces: 2 })}\n`);
    process.exitCode = error === null ? 0 : 64 + error.code;
    client.close();
  },
);
