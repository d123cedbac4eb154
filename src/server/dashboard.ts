import { readdir, readFile } from 'node:fs/promises';
import { Dashboard, type DashboardFile } from '../api/dashboard.ts';

/** As `npm run gen` bundles them from `dashboard/`; `npm run build` copies them. */
const FOLDER = new URL('../gen/dashboard/', import.meta.url);

/** Reads the files of the dashboard. Rejects with the path of what is missing. */
export async function openDashboard(base: string): Promise<Dashboard> {
  const names = await readdir(FOLDER);
  const files = await Promise.all(names.map(async (name): Promise<DashboardFile> => ({ name, bytes: await readFile(new URL(name, FOLDER)) })));
  return new Dashboard(base, files);
}
