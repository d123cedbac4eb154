import { createHash } from 'node:crypto';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { chromiumProgram, NO_CHROMIUM, startChromium } from '../support/fakes/chromium.ts';
import { until } from '../support/fakes/until.ts';
import { type DashboardRig, startDashboard } from './rig.ts';

/* The dashboard in a real browser before a whole server in this process. */

const GROUPS = `groups:
  slots:
    limits: [ { name: one, concurrency: 1 } ]
    ttl: { default: 5m, max: 10m }
    lease: { default: 5m, max: 10m }
    priority: { classes: { production: 1, staging: 2, batch: 3 }, default: batch }
  demo: { limits: [ { name: pace, spacing: 5s } ] }
  llm: { limits: [ { name: rpm, rate: 500/60s, burst: 20 }, { name: tpm, window: 200000/60s, unit: tokens } ] }
  indexing: { limits: [ { name: gentle, spacing: 250ms, scope: key } ], enforce: false }
`;
const WAITING = 300;

/** Findings of axe (WCAG 2.0 to 2.2 A and AA, best practices) on a page as it is. */
async function findings(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  const options = { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };
  const { violations } = await page.evaluate<axe.AxeResults>(`axe.run(${JSON.stringify(options)})`);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${page.url()} ${id}: ${html} ${failureSummary}`));
}

if (chromiumProgram === undefined) {
  describe('the dashboard in a browser', () => {
    it.skip(`is not run: ${NO_CHROMIUM}`, () => undefined);
  });
} else {
  describe('the dashboard in a browser', inBrowser);
}

function inBrowser(): void {
  let browser: Browser;
  let rig: DashboardRig;

  beforeAll(async () => {
    [browser, rig] = await Promise.all([startChromium(), startDashboard(GROUPS)]);
    await rig.acquire('slots', { holder: 'worker-7', key: 'acme', ttl: '1s', lease: '10m' });
    for (let caller = 0; caller < WAITING; caller += 1) {
      const of = { holder: `job-${caller}`, key: `tenant${caller % 7}`, class: ['production', 'staging', 'batch'][caller % 3] };
      rig.ask('slots', { ...of, ttl: '9m', lease: '10m' });
    }
    await until('all callers to wait', async () => (await rig.read('v1/groups/slots'))['waiting'] === String(WAITING));
  });

  afterAll(async () => {
    await browser?.close();
    await rig?.stop();
  });

  test('shows every group with what waits in it, as the API says', async () => {
    const page = await rig.open(browser, '#/');
    const row = page.locator('tr', { has: page.getByText('slots', { exact: true }) });
    await row.getByText('300', { exact: true }).waitFor();
    const { groups = [], counts } = (await rig.read('v1/ui/groups')) as { groups?: Record<string, unknown>[]; counts?: Record<string, number> };
    const rows = await page.locator('tbody tr[tabindex]').evaluateAll((lines) => lines.map((line) => line.textContent ?? ''));
    expect(rows).toHaveLength(groups.length);
    for (const [at, { name, waiting, binding, state }] of groups.entries()) {
      expect(rows[at]).toContain(name);
      expect(rows[at]?.toLowerCase()).toContain(state);
      expect(rows[at]).toContain(String(waiting));
      if (binding !== undefined) expect(rows[at]).toContain('worker-7 (acme) holds the only slot for');
    }
    for (const chip of ['All', 'Stuck', 'Waiting', 'Paused', 'Shadow']) {
      const text = await page.getByRole('button', { name: new RegExp(`^${chip} \\d`) }).textContent();
      expect(text?.replaceAll(/\s+/g, ' ').trim()).toBe(`${chip} ${counts?.[chip.toLowerCase()]}`);
    }
    await page.close();
  });

  test('the holder that 300 wait for is found and its lease revoked by keyboard alone, and the line moves', async () => {
    const page = await rig.open(browser, '#/');
    await page.locator('tr.on').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('slo');
    await page.keyboard.press('Enter');
    await page.locator('tr.on', { hasText: 'slots' }).waitFor();
    await page.keyboard.press('Enter');
    const holders = page.getByRole('table', { name: 'Holders' });
    await holders.getByText('worker-7').waitFor();
    await page.keyboard.press('x');
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Revoke worker-7’s lease on slots?').waitFor();
    // What the server says would follow: it was tried, and nothing was done.
    await dialog.getByText('worker-7: the next renewal or release is refused as fenced.').waitFor();
    expect(await rig.read('v1/groups/slots')).toMatchObject({ waiting: String(WAITING), leases: '1' });
    expect(await rig.read('v1/activity')).toMatchObject({ activity: [] });
    // Enter is with the harmless button; only Ctrl Enter confirms.
    expect(await page.evaluate('document.activeElement.textContent')).toContain('Keep it');
    await page.keyboard.press('Control+Enter');
    await holders.getByText('job-', { exact: false }).waitFor();
    await dialog.waitFor({ state: 'detached' });
    expect(await rig.read('v1/groups/slots')).toMatchObject({ waiting: String(WAITING - 1), leases: '1' });
    expect(await rig.read('v1/activity')).toMatchObject({ activity: [{ what: 'lease_revoked', group: 'slots' }] });
    await page.keyboard.press('Escape');
    await page.getByRole('table', { name: 'Groups' }).getByText('299', { exact: true }).waitFor();
    await page.close();
  });

  test.each(['light', 'dark'] as const)('axe finds nothing on any screen in %s colours', async (colorScheme) => {
    const page = await rig.open(browser, '#/', { colorScheme });
    const found: string[] = [];
    for (const [screen, text, key] of [
      ['#/', 'indexing', ''],
      ['#/groups/slots', 'Next in line', ''],
      ['#/groups/slots', 'Next in line', 'x'],
      ['#/groups/slots', 'Next in line', 'e'],
      ['#/deferred', 'Dead', ''],
      ['#/cluster', 'Backends', '?'],
      ['#/activity', 'What operators did', ''],
    ] as const) {
      await page.evaluate(`location.hash = '${screen}'`);
      await page.getByText(text, { exact: false }).first().waitFor();
      if (key !== '') {
        await page.keyboard.press(key);
        await page.getByRole('dialog').waitFor();
      }
      found.push(...(await findings(page)));
      if (key !== '') await page.keyboard.press('Escape');
    }
    await page.close();
    expect(found).toEqual([]);
  });

  test('a list of 10,000 groups has 60 rows in the page, and goes to its end and back', async () => {
    const many = Array.from({ length: 10_000 }, (_, at) => `  g${String(at).padStart(4, '0')}: { limits: [ { name: pace, spacing: 1s } ] }\n`);
    const large = await startDashboard(`groups:\n${many.join('')}`);
    await large.acquire('g0000', { ttl: '1s' });
    const page = await large.open(browser, '#/');
    const rows = page.locator('tbody tr[tabindex]');
    await rows.first().waitFor();
    expect(await rows.count()).toBe(60);
    expect(await page.getByRole('table').getAttribute('aria-rowcount')).toBe('10001');
    await page.keyboard.press('End');
    await page.locator('tr[aria-rowindex="10001"]', { hasText: 'g9999' }).waitFor();
    expect(await rows.count()).toBe(60);
    await page.keyboard.press('Home');
    await page.locator('tr[aria-rowindex="2"]', { hasText: 'g0000' }).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('nothing');
    await page.keyboard.press('Enter');
    await page.getByText('No group matches “nothing”. 10,000 groups without the filter.').waitFor();
    await page.close();
    await large.stop();
  });

  test('at 1280 pixels no cell but the reason loses its end', async () => {
    const page = await rig.open(browser, '#/', { viewport: { width: 1280, height: 900 } });
    await page.locator('tr.on').waitFor();
    const cut = await page
      .locator('td, th')
      .evaluateAll((cells) =>
        cells.filter((cell) => cell.scrollWidth > cell.clientWidth && cell.querySelector('.why') === null).map((cell) => cell.textContent),
      );
    expect(cut).toEqual([]);
    await page.close();
  });

  test('a key that may only read sees the groups and no action; without a key the page asks for one', async () => {
    const sha256 = createHash('sha256').update('reader').digest('hex');
    const guarded = await startDashboard(GROUPS, { more: `auth: { keys: [ { name: bo, sha256: "${sha256}", can: [ read ] } ] }\n` });
    const page = await guarded.open(browser, '#/');
    await page.getByText('This server asks for a key').waitFor();
    await page.getByLabel('Key', { exact: true }).fill('reader');
    await page.keyboard.press('Enter');
    await page.getByText('bo, read only').waitFor();
    await page.evaluate("location.hash = '#/groups/slots'");
    await page.getByText('1 at once').waitFor();
    await page.keyboard.press('p');
    await page.keyboard.press('o');
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(await page.getByRole('button', { name: /Pause|Override|Revoke|Evict/ }).count()).toBe(0);
    await page.close();
    await guarded.stop();
  });

  test('works below a path, and nothing on any screen breaks its own security policy', async () => {
    const below = await startDashboard(GROUPS, { path: '/ops/sluice' });
    const page = await below.open(browser, '#/');
    await page.getByText('indexing').waitFor();
    for (const [screen, text] of [
      ['#/groups/demo', 'one per 5 s'],
      ['#/deferred', 'Dead'],
      ['#/cluster', 'Backends'],
      ['#/activity', 'What operators did'],
      ['#/nothing', 'indexing'],
    ] as const) {
      await page.evaluate(`location.hash = '${screen}'`);
      await page.getByText(text, { exact: false }).first().waitFor();
    }
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('next sort').waitFor();
    await page.close();
    await below.stop();
    expect([...below.complaints, ...rig.complaints]).toEqual([]);
  });
}
