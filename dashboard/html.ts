import htm from 'htm';
import { h, type VNode } from 'preact';

/** Markup of the page, as a tagged template. Text is always escaped. */
export const html = htm.bind(h) as unknown as (strings: TemplateStringsArray, ...values: unknown[]) => VNode;
