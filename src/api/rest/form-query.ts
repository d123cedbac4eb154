/**
 * Returns the members of a query by name, without their encoding (WHATWG form: `+` is a space), the first of each name. Returns undefined if an
 * escape is malformed or its bytes are not UTF-8: URLSearchParams would put U+FFFD in their place, so that different keys became one.
 */
export function formQuery(query: string): ReadonlyMap<string, string> | undefined {
  const members = new Map<string, string>();
  for (const pair of query.split('&')) {
    const mark = pair.indexOf('=');
    const name = formText(mark < 0 ? pair : pair.slice(0, mark));
    const value = formText(mark < 0 ? '' : pair.slice(mark + 1));
    if (name === undefined || value === undefined) return undefined;
    if (pair !== '' && !members.has(name)) members.set(name, value);
  }
  return members;
}

/** Returns a part of a query without its encoding; undefined if it is malformed. */
export function formText(text: string): string | undefined {
  return decoded(text.includes('+') ? text.replaceAll('+', ' ') : text);
}

/** Returns a path segment or a query part without its percent encoding; undefined if an escape is malformed, or its bytes are not UTF-8. */
export function decoded(text: string): string | undefined {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
