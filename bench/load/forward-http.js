// Requests of 64 KiB through the proxy, and answers of as many, at far less than the group lets pass: nobody is refused, nobody waits.
// k6 run bench/load/forward-http.js      (the server: see sluice.yaml; the backend: node bench/proxy/backend.ts 28484 65536 5 100000)
import { check } from 'k6';
import http from 'k6/http';

const base = __ENV.SLUICE_PROXY_URL || 'http://127.0.0.1:28483';
const BYTES = 65536;
const body = 'x'.repeat(BYTES);

export const options = {
  scenarios: {
    uploads: { executor: 'constant-arrival-rate', rate: 200, timeUnit: '1s', duration: __ENV.DURATION || '30s', preAllocatedVUs: 50, maxVUs: 200 },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    // The backend takes 5 ms of it.
    http_req_duration: ['p(99)<60'],
  },
};

export default function () {
  const answer = http.post(`${base}/uploads/1`, body, { headers: { 'Content-Type': 'application/octet-stream' } });
  check(answer, {
    'of the backend': (response) => response.status === 200 && response.headers['Via'] === '1.1 sluice',
    whole: (response) => response.body !== null && response.body.length === BYTES,
  });
}
