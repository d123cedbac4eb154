import { writeFileSync } from 'node:fs';
import { dashboard } from './dashboard.ts';

// Writes the dashboard for Grafana. test/monitoring.test.ts checks that it was run.
writeFileSync('examples/monitoring/dashboard.json', `${JSON.stringify(dashboard(), undefined, 2)}\n`);
