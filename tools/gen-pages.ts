import { bundleDashboard } from './bundle-dashboard.ts';

// Writes what admin serves. `npm run check` says when it was not run.
await bundleDashboard('src/gen/dashboard');
