// Acquire and release over plain HTTP at half of what the group lets pass: nobody is refused, nobody waits.
// k6 run bench/load/acquire-http.js      (the server: see sluice.yaml)
import { check } from 'k6';
import http from 'k6/http';

const base = __ENV.SLUICE_URL || 'http://127.0.0.1:28480';
const json = { headers: { 'Content-Type': 'application/json' } };

export const options = {
  scenarios: {
    pairs: { executor: 'constant-arrival-rate', rate: 500, timeUnit: '1s', duration: __ENV.DURATION || '30s', preAllocatedVUs: 50, maxVUs: 200 },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{name:acquire}': ['p(99)<50'],
    'http_req_duration{name:release}': ['p(99)<50'],
  },
};

export default function () {
  const acquired = http.post(`${base}/v1/groups/half/acquire?ttl=5s&lease=10s`, null, { tags: { name: 'acquire' } });
  const admitted = check(acquired, {
    admitted: (response) => response.status === 200,
    'has a fence': (response) => response.json('fence') !== undefined,
  });
  if (!admitted) return;
  const released = http.post(`${base}/v1/permits/${acquired.json('permit')}/release`, '{"outcome":"used"}', { ...json, tags: { name: 'release' } });
  check(released, { released: (response) => response.status === 200 && response.json('ended') === true });
}
