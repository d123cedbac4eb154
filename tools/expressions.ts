/** A regular expression literal of a source file. */
export interface Expression {
  /** From 1. */
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

/** After these a slash begins an expression, and does not divide. */
const BEFORE = new Set([...'([{,;:=!&|?+-*%<>~^', '=>', 'return', 'typeof', 'case', 'in', 'of', 'void', 'delete', 'throw', 'await', 'yield']);

/** Returns every regular expression literal of a TypeScript text, also those within templates. One pass; it knows tokens, no grammar. */
export function expressionsOf(text: string): readonly Expression[] {
  const found: Expression[] = [];
  /** Braces that are open within `${…}` of templates, the innermost last. */
  const templates: number[] = [];
  let last = '';
  let at = text.startsWith('#!') ? endOf(text, 0, '\n') : 0;
  while (at < text.length) {
    const char = text[at] as string;
    const two = text.slice(at, at + 2);
    if (two === '//') at = endOf(text, at, '\n');
    else if (two === '/*') at = endOf(text, at + 2, '*/') + 2;
    else if (char === '"' || char === "'") {
      at = afterQuoted(text, at, char);
      last = '"';
    } else if (char === '`' || (char === '}' && templates.at(-1) === 0)) {
      if (char === '}') templates.pop();
      at = afterTemplate(text, at + 1);
      last = '"';
      if (text[at - 1] === '{') {
        templates.push(0);
        last = '{';
      }
    } else if (char === '/' && (last === '' || BEFORE.has(last))) {
      const end = afterBody(text, at + 1);
      const flags = /[a-z]*/y;
      flags.lastIndex = end + 1;
      const said = flags.exec(text)?.[0] ?? '';
      found.push({ line: text.slice(0, at).split('\n').length, source: text.slice(at + 1, end), flags: said });
      at = end + 1 + said.length;
      last = '"';
    } else if (/[A-Za-z0-9_$]/.test(char)) {
      const word = /[A-Za-z0-9_$]+/y;
      word.lastIndex = at;
      last = word.exec(text)?.[0] ?? char;
      at += last.length;
    } else {
      if (char === '{' && templates.length > 0) templates.push((templates.pop() ?? 0) + 1);
      if (char === '}' && templates.length > 0) templates.push((templates.pop() ?? 0) - 1);
      if (char.trim() !== '') last = two === '=>' ? two : char;
      at += two === '=>' ? 2 : 1;
    }
  }
  return found;
}

function endOf(text: string, from: number, what: string): number {
  const end = text.indexOf(what, from);
  return end < 0 ? text.length : end;
}

function afterQuoted(text: string, from: number, quote: string): number {
  let at = from + 1;
  while (at < text.length && text[at] !== quote) at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** Behind the end of a template, or behind the `${` that opens the next part of it. */
function afterTemplate(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== '`') {
    if (text.startsWith('${', at)) return at + 2;
    at += text[at] === '\\' ? 2 : 1;
  }
  return at + 1;
}

/** The slash that ends an expression. */
function afterBody(text: string, from: number): number {
  let at = from;
  let within = false;
  while (at < text.length && (within || text[at] !== '/')) {
    if (text[at] === '[') within = true;
    else if (text[at] === ']') within = false;
    at += text[at] === '\\' ? 2 : 1;
  }
  return at;
}
