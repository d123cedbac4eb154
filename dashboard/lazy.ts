import { type ComponentType, h, type VNode } from 'preact';
import { useEffect, useReducer } from 'preact/hooks';

/** A screen whose code is loaded when it is shown for the first time; until then nothing is shown. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): (props: P) => VNode | null {
  let found: ComponentType<P> | undefined;
  return (props) => {
    const [, redraw] = useReducer((count: number) => count + 1, 0);
    useEffect(() => {
      if (found !== undefined) return;
      void load().then((component) => {
        found = component;
        redraw(undefined as never);
      });
    }, []);
    return found === undefined ? null : h(found as ComponentType<object>, props);
  };
}
