import { Counter, type Registry } from 'prom-client';

/** Counts answers of Envoy's rate limit service, and descriptors that no rule fits. */
export function createRateLimitMetrics(registry: Registry): (outcome: string, unmatched: number) => void {
  const answers = new Counter({
    name: 'sluice_envoy_answers_total',
    help: 'Requests that the rate limit service answered: ok, shadow (ok only because a group is not enforced), over_limit, or error (a gRPC status).',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const unknown = new Counter({
    name: 'sluice_envoy_descriptors_unmatched_total',
    help: 'Descriptors of requests that no item of envoy.descriptors fits.',
    registers: [registry],
  });
  return (outcome, unmatched) => {
    answers.inc({ outcome });
    if (unmatched > 0) unknown.inc(unmatched);
  };
}
