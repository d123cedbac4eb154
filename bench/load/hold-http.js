// Twice as many asks as the group lets pass, for ten seconds: all are held and all are admitted, each when its slot opens.
// Ask k comes at k/100 s and its slot opens at k/50 s, so it is held k/100 s, ten at most; nobody may wait longer than that.
// k6 run bench/load/hold-http.js         (the server: see sluice.yaml)
import { check } from 'k6';
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const base = __ENV.SLUICE_URL || 'http://127.0.0.1:28480';
const held = new Trend('held', true);

export const options = {
  scenarios: {
    // A held ask keeps its virtual user: asks a second times the longest wait.
    asks: { executor: 'constant-arrival-rate', rate: 100, timeUnit: '1s', duration: '10s', preAllocatedVUs: 600, maxVUs: 1200, gracefulStop: '30s' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    // The last waits 10 s: 1000 asks in 10 s, of which 500 passed meanwhile.
    held: ['max<10500', 'p(50)>4000', 'p(50)<6000'],
  },
};

export default function () {
  const response = http.post(`${base}/v1/groups/above/acquire?ttl=60s`, null, { timeout: '70s' });
  check(response, { admitted: (answer) => answer.status === 200 });
  held.add(response.timings.waiting);
}
