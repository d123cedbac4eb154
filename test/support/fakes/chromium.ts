import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'] as const;
const FOLDERS = (process.env['PATH'] ?? '').split(delimiter);

/** Where a Chromium is: on the PATH, or where playwright itself has put one. undefined: there is none, and what needs it is left out. */
export const chromiumProgram: string | undefined = [...NAMES.flatMap((name) => FOLDERS.map((folder) => join(folder, name))), chromium.executablePath()].find(
  (path) => path !== '' && existsSync(path),
);

/** Why what needs a browser is left out. */
export const NO_CHROMIUM = 'Chromium is not installed (apt-get install chromium)';

/** Starts a headless browser. Rejects where there is none. */
export function startChromium(): Promise<Browser> {
  if (chromiumProgram === undefined) throw new Error(NO_CHROMIUM);
  // Without its sandbox: in a container that root runs there is none, and it opens pages of this repository only.
  return chromium.launch({ executablePath: chromiumProgram, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}
