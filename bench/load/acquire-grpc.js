// Acquire and release over gRPC at half of what the group lets pass: nobody is refused, nobody waits.
// k6 run bench/load/acquire-grpc.js      (the server: see sluice.yaml)
import { check } from 'k6';
import grpc from 'k6/net/grpc';

const client = new grpc.Client();
client.load(['../../proto'], 'sluice/v1/admission.proto');

export const options = {
  scenarios: {
    pairs: { executor: 'constant-arrival-rate', rate: 300, timeUnit: '1s', duration: __ENV.DURATION || '30s', preAllocatedVUs: 50, maxVUs: 200 },
  },
  thresholds: {
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
    grpc_req_duration: ['p(99)<50'],
  },
};

// One connection for each virtual user, kept.
let connected = false;

export default function () {
  if (!connected) {
    client.connect(__ENV.SLUICE_GRPC || '127.0.0.1:28490', { plaintext: true });
    connected = true;
  }
  const acquired = client.invoke('sluice.v1.AdmissionService/Acquire', { group: 'half', ttl: '5s', lease: '10s' });
  const admitted = check(acquired, { admitted: (response) => response.status === grpc.StatusOK && response.message.permit !== '' });
  if (!admitted) return;
  const released = client.invoke('sluice.v1.AdmissionService/Release', { permit: acquired.message.permit, outcome: 'OUTCOME_USED' });
  check(released, { released: (response) => response.status === grpc.StatusOK && response.message.ended === true });
}
