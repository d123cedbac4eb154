import { useEffect, useReducer } from 'preact/hooks';

/* Which screen the address names: `#/`, `#/groups/slots`, `#/deferred?error=connect`. */

/** A screen and what it is about. */
export interface Route {
  /** Parts of the path, decoded; none: the overview. */
  readonly parts: readonly string[];
  readonly query: Readonly<Record<string, string>>;
}

/** Reads the part of an address after `#`. What cannot be decoded is taken as it is. */
export function routeOf(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  return {
    parts: path
      .split('/')
      .filter((part) => part !== '')
      .map(decoded),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** Opens a screen. Fields that are empty are left out. */
export function go(path: string, query: Readonly<Record<string, string>> = {}): void {
  const fields = Object.entries(query).filter(([, value]) => value !== '');
  location.hash = `#/${path}${fields.length === 0 ? '' : `?${new URLSearchParams(fields)}`}`;
}

/** The screen that the address names now. */
export function useRoute(): Route {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const changed = (): void => redraw(undefined as never);
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return routeOf(location.hash);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
