import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readFileSync, rmSync } from 'node:fs';

/* `npm run build`: what is published. Node strips no types inside node_modules, so the package holds JavaScript. */

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

cpSync('src/gen/dashboard', 'dist/gen/dashboard', { recursive: true });

const bin = 'dist/main.js';
if (!existsSync(bin) || !readFileSync(bin, 'utf8').startsWith('#!/usr/bin/env node\n')) {
  process.stderr.write(`${bin} has to begin with #!/usr/bin/env node, or the installed \`sluice\` does not start.\n`);
  process.exit(1);
}
chmodSync(bin, 0o755);
