import { render, type VNode } from 'preact';
import { useEffect, useReducer } from 'preact/hooks';
import { link, usePoll } from './api.ts';
import { listenToKeys, useCommands } from './commands.ts';
import { DialogHost, dialogOpen, notice } from './dialog.ts';
import type { ApiServer } from './first-run.ts';
import { html } from './html.ts';
import { lazy } from './lazy.ts';
import { type GroupsPage, groupsPath, Overview } from './overview.ts';
import { key } from './parts.ts';
import { go, useRoute } from './route.ts';
import { type ApiSummary, Strip } from './strip.ts';
import { clockText, countText, readCount, spanText } from './text.ts';

/* The frame of every screen, and which one is shown. */

const GroupScreen = lazy(async () => (await import('./group-screen.ts')).GroupScreen);
const DeferredScreen = lazy(async () => (await import('./deferred-screen.ts')).DeferredScreen);
const ClusterScreen = lazy(async () => (await import('./cluster-screen.ts')).ClusterScreen);
const ActivityScreen = lazy(async () => (await import('./activity.ts')).ActivityScreen);
const FirstRun = lazy(async () => (await import('./first-run.ts')).FirstRun);
const KeyForm = lazy(async () => (await import('./key-form.ts')).KeyForm);
const openHelp = async (): Promise<void> => (await import('./help.ts')).openHelp();

const STALE_MS = 3000;
const OLD_MS = 15_000;
const TICK_MS = 1000;

interface ApiMe {
  readonly name?: string;
  readonly can?: readonly string[];
}

function App(): VNode {
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    // Ages go on while nothing arrives.
    const timer = setInterval(() => document.visibilityState === 'visible' && tick(undefined as never), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  const route = useRoute();
  const { data: summary } = usePoll<ApiSummary>('v1/ui/summary');
  const { me, server } = summary ?? {};
  const operator = me?.can === undefined || me.can.includes('manage');
  const [screen = '', name = '', part = ''] = route.parts;
  useCommands({
    ...{ 'g g': () => go(''), 'g d': () => go('deferred'), 'g c': () => go('cluster'), 'g a': () => go('activity') },
    ...{ '?': openHelp, t: switchTheme, '/': () => document.querySelector<HTMLInputElement>('#find')?.focus() },
  });
  useEffect(() => {
    document.title = `${name || (screen === '' ? 'Groups' : screen)} · Sluice`;
  }, [screen, name]);
  const silent = Date.now() - link.heardAt;
  const body = (): VNode => {
    if (link.needsKey) return html`<${KeyForm} />`;
    if (screen === 'groups' && name !== '') return html`<${GroupScreen} key=${name} ...${{ name, all: part === 'waiters', operator }} />`;
    if (screen === 'deferred') return html`<${DeferredScreen} ...${{ query: route.query, operator }} />`;
    if (screen === 'cluster') return html`<${ClusterScreen} />`;
    if (screen === 'activity') return html`<${ActivityScreen} />`;
    if (summary?.firstRun === true) return html`<${FirstGroups} server=${server} />`;
    return html`<${Overview} ...${{ state: route.query['state'] ?? 'all', q: route.query['q'] ?? '', operator, strip: html`<${Strip} summary=${summary} />` }} />`;
  };
  return html`<${Top} ...${{ screen, summary, server, me, operator, silent, q: route.query['q'] ?? '' }} />
    ${link.failing && silent > OLD_MS && html`<div class="band" role="status">Shown as of ${clockText(link.heardAt)}. The server does not answer; it is asked again.</div>`}
    <main class=${link.failing && silent > OLD_MS ? 'old' : ''}>${body()}</main>
    <${Foot} ...${{ screen, name, server }} />
    <${DialogHost} />`;
}

function FirstGroups({ server }: { readonly server: ApiServer | undefined }): VNode {
  const { data } = usePoll<GroupsPage>(groupsPath('name', 'all', '', 0, 10));
  return html`<${FirstRun} ...${{ groups: data?.groups ?? [], server }} />`;
}

interface TopProps {
  readonly screen: string;
  readonly summary: ApiSummary | undefined;
  readonly server: ApiServer | undefined;
  readonly me: ApiMe | undefined;
  readonly operator: boolean;
  readonly silent: number;
  readonly q: string;
}

function Top({ screen, summary, server, me, operator, silent, q }: TopProps): VNode {
  const stuck = readCount(summary?.counts?.['stuck']) ?? 0;
  const dead = readCount(summary?.deferred?.dead) ?? 0;
  const lost = readCount(summary?.cluster?.lost) ?? 0;
  const cluster = summary?.cluster !== undefined;
  const tabs: readonly (readonly [string, string, unknown])[] = [
    ['', 'Groups', stuck > 0 && countText(stuck)],
    ['deferred', 'Deferred', dead > 0 && countText(dead)],
    ['cluster', cluster ? 'Cluster' : 'Backends', lost > 0 && `${lost} lost`],
    ['activity', 'Activity', false],
  ];
  const fresh = link.heardAt === 0 ? '' : silent < STALE_MS ? 'Live, 1 s' : link.failing ? `Stale, ${spanText(silent)}` : `Live, ${spanText(silent)}`;
  const find = (event: Event): void => go('', { q: (event.target as HTMLInputElement).value.trim() });
  return html`<header>
    <a class="brand" href="#/"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M1 3h14M1 13h14M4 3v3h8V3M8 8v5" stroke="currentColor" stroke-width="2" fill="none" /></svg>Sluice</a>
    <span class="t2 env">${server?.env ?? location.hostname}</span>
    <nav aria-label="Screens">
      ${tabs.map(([path, label, count]) => html`<a href=${`#/${path}`} aria-current=${(screen === 'groups' ? '' : screen) === path ? 'page' : undefined}>${label} ${count && html`<span class="count">${count}</span>`}</a>`)}
    </nav>
    <i />
    <span class=${`fresh ${silent >= STALE_MS && link.failing ? 'stale' : ''}`}>${fresh}</span>
    <span class="find"><input key=${q}
        id="find" type="search" placeholder="Find group" aria-label="Find group" defaultValue=${q} maxlength="200" onChange=${find} onKeyDown=${leave} />${key('/')}</span>
    <span>${[me?.name, operator ? me?.name && 'operator' : 'read only'].filter(Boolean).join(', ')}</span>
    <button class="plain" aria-label="All keys" onClick=${openHelp}>${key('?')}</button>
  </header>`;
}

/** Enter finds (`change` does), and Escape leaves the field: both give the keys back to the page. */
function leave(event: KeyboardEvent): void {
  if (event.key === 'Enter' || event.key === 'Escape') (event.target as HTMLInputElement).blur();
}

const SCREEN_KEYS: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  '': [
    ['j k', 'move'],
    ['Enter', 'open'],
    ['/', 'find'],
    ['p', 'pause'],
    ['s', 'sort'],
    ['1–8', 'filter'],
  ],
  groups: [
    ['x', 'revoke'],
    ['p', 'pause'],
    ['o', 'override'],
    ['e', 'explain'],
    ['Tab', 'next table'],
    ['Esc', 'back'],
  ],
  deferred: [
    ['j k', 'move'],
    ['Enter', 'open'],
    ['r', 'redrive'],
    ['c', 'cancel'],
    ['f', 'filter'],
  ],
};

function Foot({ screen, name, server }: { readonly screen: string; readonly name: string; readonly server: ApiServer | undefined }): VNode {
  const keys = SCREEN_KEYS[screen === 'groups' && name === '' ? '' : screen] ?? [
    ['g g', 'groups'],
    ['g d', 'deferred'],
    ['?', 'all keys'],
  ];
  const said = Date.now() < notice.until ? notice.text : '';
  return html`<footer>
    ${keys.map(([of, what]) => html`<span>${key(of)} ${what}</span>`)}
    <i /><span role="status">${said}</span>
    <span>${server?.auth === false && 'No credentials are set: all who reach this address may operate.'}</span>
  </footer>`;
}

function switchTheme(): void {
  const { dataset } = document.documentElement;
  const dark = dataset['theme'] === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : dataset['theme'] === 'dark';
  dataset['theme'] = dark ? 'light' : 'dark';
  localStorage.setItem('sluice.theme', dataset['theme']);
}

const theme = localStorage.getItem('sluice.theme');
if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme;
listenToKeys(dialogOpen);
const root = document.getElementById('app');
if (root !== null) render(html`<${App} />`, root);
