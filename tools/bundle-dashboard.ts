import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transform } from 'lightningcss';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'dashboard');
const packages = join(root, 'node_modules');

/** Whose code is in the bundle, and must be named with it. */
const LICENSES = ['preact', 'htm', 'uplot'] as const;

/**
 * Bundles the dashboard into an empty folder: `app.js` for the first page, `chart.js` for a group's chart, style sheets, the page and
 * the licenses of what is inside. The same sources and packages give the same bytes.
 */
export async function bundleDashboard(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const bundle = await rolldown({ input: { app: join(source, 'app.ts') }, platform: 'browser', cwd: root, logLevel: 'warn' });
  await bundle.write({ dir: folder, format: 'esm', minify: true, entryFileNames: '[name].js', chunkFileNames: '[name].js' });
  await bundle.close();
  // Minified code has line breaks in templates only, where htm drops those at the ends of a text with all blanks around them.
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), readFileSync(join(folder, name), 'utf8').replaceAll(/\n +/g, '\n'));
  for (const [from, to] of [
    [join(source, 'style.css'), 'style.css'],
    [join(packages, 'uplot/dist/uPlot.min.css'), 'chart.css'],
  ] as const) {
    writeFileSync(join(folder, to), transform({ filename: to, code: readFileSync(from), minify: true }).code);
  }
  writeFileSync(join(folder, 'index.html'), readFileSync(join(source, 'index.html')));
  writeFileSync(join(folder, 'licenses.txt'), LICENSES.map(licenseOf).join('\n\n'));
}

function licenseOf(name: string): string {
  const { version } = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8')) as { readonly version: string };
  return `${name} ${version}\n\n${readFileSync(join(packages, name, 'LICENSE'), 'utf8').trim()}\n`;
}
